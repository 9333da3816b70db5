package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"holdfast/sessionstore"
)

// Linearizable has several clients use the streams of one line at once, each through
// one of some processes, and checks that there is an order in which their calls, done
// one after the other, would have been answered the same. A process is a store of its
// own; stores that share what they keep have to be such that they store before they
// return. What a claim tells of several streams need not be of one moment; atomic says
// that it is.
func Linearizable(t *testing.T, atomic bool, open func(testing.TB) []Process) {
	t.Helper()
	const rounds, clients, calls = 40, 4, 14
	for round := range rounds {
		processes := open(t)
		h := &history{began: time.Now(), session: sessionID(round + 1)}
		var wg sync.WaitGroup
		for client := range clients {
			wg.Go(func() {
				c := &caller{history: h, client: client, process: processes[client%len(processes)], random: rand.New(rand.NewPCG(uint64(round), uint64(client)))}
				for range calls {
					c.call()
				}
			})
		}
		wg.Wait()
		result := porcupine.CheckOperationsTimeout(lineModel(atomic), h.operations, time.Minute)
		if result != porcupine.Ok {
			t.Fatalf("round %d: %v; the calls, by their begin:\n%s", round, result, h.suspects())
		}
	}
}

// Process is a store as one process has it.
type Process struct {
	Store sessionstore.Store
	Log   sessionstore.Log
}

// history is all calls of a round.
type history struct {
	began   time.Time
	session sessionstore.SessionID

	mu         sync.Mutex
	operations []porcupine.Operation
	numbers    []uint64 // of the streams that somebody knows
}

type callKind uint8

const (
	callClaim callKind = iota
	callTakeover
	callAppend
	callRead
	callRelease
)

// asked is a call.
type asked struct {
	kind   callKind
	number uint64 // of the stream
	token  uint64
	seq    uint64
	text   string
}

// answered is what it returned.
type answered struct {
	failed  error // not a sentinel: whatever happened may have
	fenced  bool
	number  uint64
	token   uint64
	live    bool
	records string   // of the stream, in a row
	newest  uint64   // takeover: the last record
	earlier []string // claim: streams, newest first
}

func (h *history) String() string {
	var b strings.Builder
	slices.SortFunc(h.operations, func(x, y porcupine.Operation) int { return int(x.Call - y.Call) })
	for _, op := range h.operations {
		fmt.Fprintf(&b, "%d to %d, client %d: %+v: %+v\n", op.Call, op.Return, op.ClientId, op.Input, op.Output)
	}
	return b.String()
}

// suspects is the calls on a stream that alone cannot be put in order, or, if there is
// none, all.
func (h *history) suspects() *history {
	for _, number := range h.numbers {
		one := &history{operations: slices.DeleteFunc(slices.Clone(h.operations), func(op porcupine.Operation) bool {
			return op.Input.(asked).number != number && op.Output.(answered).number != number
		})}
		if !porcupine.CheckOperations(lineModel(false), one.operations) {
			return one
		}
	}
	return h
}

// caller is one client. It has one lease at a time, and goes on using one that it
// does not know to have lost.
type caller struct {
	*history
	client  int
	process Process
	random  *rand.Rand

	lease sessionstore.Lease
	next  uint64 // Seq of its next record
}

func (c *caller) call() {
	number := uint64(0)
	c.mu.Lock()
	if n := len(c.numbers); n > 0 {
		number = c.numbers[c.random.IntN(n)]
	}
	few := len(c.numbers) < sessionstore.StreamsPerLine-4 // none is pushed out
	c.mu.Unlock()
	switch roll := c.random.IntN(10); {
	case number == 0, roll == 0 && few:
		c.do(asked{kind: callClaim}, c.claim)
	case roll == 1:
		c.do(asked{kind: callTakeover, number: number}, c.takeover)
	case roll == 2 && c.lease.Number != 0:
		c.do(asked{kind: callRelease, number: c.lease.Number, token: c.lease.Token}, c.release)
	case roll < 8 && c.lease.Number != 0:
		in := asked{
			kind: callAppend, number: c.lease.Number, token: c.lease.Token, seq: c.next,
			text: fmt.Sprintf("%d/%d ", c.client, c.next),
		}
		c.do(in, c.append)
	default:
		c.do(asked{kind: callRead, number: number}, c.read)
	}
}

// do makes a call and writes it down.
func (c *caller) do(in asked, f func(asked) answered) {
	op := porcupine.Operation{ClientId: c.client, Input: in, Call: time.Since(c.began).Nanoseconds()}
	out := f(in)
	op.Output, op.Return = out, time.Since(c.began).Nanoseconds()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.operations = append(c.operations, op)
	if in.kind == callClaim && out.number != 0 {
		c.numbers = append(c.numbers, out.number)
	}
}

func (c *caller) key() sessionstore.Key {
	return sessionstore.Key{Session: c.session, Line: lineID(1), Log: sessionstore.LogLimits{Events: 1000, Bytes: 1 << 20}}
}

func (c *caller) position(number uint64) sessionstore.Position {
	return sessionstore.Position{Session: c.session, Line: lineID(1), Number: number}
}

func (c *caller) claim(asked) (out answered) {
	lease, earlier, err := c.process.Store.Claim(context.Background(), c.key())
	if err != nil {
		return answered{failed: err}
	}
	c.lease, c.next = lease, 1
	for _, s := range earlier {
		out.earlier = append(out.earlier, shown(s.Lease.Number, s.Live, s.Log.Newest))
	}
	out.number, out.token = lease.Number, lease.Token
	return out
}

// shown is a stream as a claim tells of it.
func shown(number uint64, live bool, newest uint64) string {
	return fmt.Sprintf("%d live %t to %d", number, live, newest)
}

func (c *caller) takeover(in asked) answered {
	lease, known, err := c.process.Log.Takeover(context.Background(), c.position(in.number))
	if err != nil {
		return answered{failed: err}
	}
	c.lease, c.next = lease, known.Log.Newest+1
	return answered{token: lease.Token, newest: known.Log.Newest, live: known.Live}
}

func (c *caller) append(in asked) answered {
	err := c.process.Log.Append(context.Background(), c.lease, time.Time{}, []sessionstore.Record{{Seq: in.seq, Wire: []byte(in.text)}})
	if err == nil {
		c.next++
	}
	return c.wrote(err)
}

func (c *caller) release(asked) answered {
	return c.wrote(c.process.Store.Release(context.Background(), c.lease))
}

// wrote is the answer to somebody with a lease, who loses it with an error.
func (c *caller) wrote(err error) answered {
	switch {
	case err == nil:
		return answered{}
	case errors.Is(err, sessionstore.ErrFenced):
		return answered{fenced: true}
	}
	return answered{failed: err}
}

func (c *caller) read(in asked) (out answered) {
	page, err := c.process.Log.After(context.Background(), c.position(in.number), sessionstore.PageLimits{})
	if err != nil {
		return answered{failed: err}
	}
	for _, r := range page.Records {
		out.records += string(r.Wire)
	}
	out.token, out.live, out.newest = page.Token, page.Live, page.Newest
	return out
}

// lineState is what a line is, by the contract alone.
type lineState []streamState

type streamState struct {
	number, token, newest uint64
	live                  bool
	records               string
}

// lineModel is the contract, for who makes one call at a time.
func lineModel(atomic bool) porcupine.Model {
	return porcupine.Model{
		Init:  func() any { return lineState(nil) },
		Equal: func(a, b any) bool { return slices.Equal(a.(lineState), b.(lineState)) },
		Step: func(state, input, output any) (bool, any) {
			return state.(lineState).step(input.(asked), output.(answered), atomic)
		},
	}
}

// step says whether an answer is right, and what the line is like then. Every call
// of this test has to succeed, or be fenced.
func (l lineState) step(in asked, out answered, atomic bool) (bool, lineState) {
	if out.failed != nil {
		return false, l
	}
	if in.kind == callClaim {
		return l.claimed(out, atomic)
	}
	i := slices.IndexFunc(l, func(s streamState) bool { return s.number == in.number })
	if i < 0 {
		return false, l
	}
	s := l[i]
	switch in.kind {
	case callRead:
		return out.records == s.records && out.token == s.token && out.live == s.live && out.newest == s.newest, l
	case callTakeover:
		if out.token <= s.token || out.newest != s.newest || out.live != s.live {
			return false, l
		}
		s.token, s.live = out.token, true
	case callAppend, callRelease:
		if holds := s.live && in.token == s.token; holds == out.fenced {
			return false, l
		} else if !holds {
			return true, l
		}
		if in.kind == callRelease {
			s.live = false
			break
		}
		if in.seq != s.newest+1 {
			return false, l
		}
		s.newest++
		s.records += in.text
	case callClaim:
	}
	next := slices.Clone(l)
	next[i] = s
	return true, next
}

func (l lineState) claimed(out answered, atomic bool) (bool, lineState) {
	next := append(slices.Clone(l), streamState{number: out.number, token: out.token, live: true})
	slices.SortFunc(next, func(a, b streamState) int { return cmp.Compare(a.number, b.number) })
	if !atomic {
		return true, next
	}
	var earlier []string
	for _, s := range slices.Backward(l) {
		if s.number >= out.number {
			return false, l
		}
		earlier = append(earlier, shown(s.number, s.live, s.newest))
	}
	return slices.Equal(earlier, out.earlier), next
}
