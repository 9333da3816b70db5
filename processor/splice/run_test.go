package splice

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// run drives one Machine and keeps what its client got. Every Step goes through
// the invariants that hold in any run whatsoever.
type run struct {
	t      rapidTB
	m      *Machine
	now    time.Time
	got    []byte
	closed *Close
	notes  []NoteKind
	saves  int
}

// rapidTB is what *testing.T, *testing.B and *rapid.T have in common, as far as
// a run needs it.
type rapidTB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// epoch0 is when every test begins.
func epoch0() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func newRun(t rapidTB, p Policy, s Start) *run {
	if s.Seed == 0 {
		s.Seed = 1
	}
	return &run{t: t, m: New(epoch0(), &p, s), now: epoch0()}
}

func (r *run) step(in Input) Ready {
	r.t.Helper()
	wasClosed := r.m.Phase() == Closed
	rd := r.m.Step(r.now, in)
	r.got = append(r.got, rd.ToClient...)
	for _, n := range rd.Notes {
		r.notes = append(r.notes, n.Kind)
	}
	if rd.Save {
		r.saves++
	}
	if err := r.check(in, &rd, wasClosed); err != nil {
		r.t.Fatalf("after %T: %v", in, err)
	}
	return rd
}

// check is what holds after every Step.
func (r *run) check(in Input, rd *Ready, wasClosed bool) error {
	if wasClosed {
		if len(rd.ToClient)+len(rd.Commands)+len(rd.Notes) != 0 || rd.Save || !rd.Deadline.IsZero() {
			return fmt.Errorf("a closed Machine asks for work: %+v", rd)
		}
		return nil
	}
	for i, c := range rd.Commands {
		cl, ok := c.(Close)
		if !ok || i != len(rd.Commands)-1 || r.closed != nil {
			return fmt.Errorf("commands %+v: want at most one Close in a life, and last", rd.Commands)
		}
		r.closed = &cl
	}
	if (r.closed != nil) != (r.m.Phase() == Closed) {
		return fmt.Errorf("phase %v with Close %v", r.m.Phase(), r.closed)
	}
	if _, ok := in.(Gone); ok && r.closed == nil {
		return fmt.Errorf("Gone was not answered by Close")
	}
	if e, ok := in.(Ended); ok && e.Attempt == 0 && r.closed == nil {
		// Nothing would ever wake it again.
		return fmt.Errorf("the only attempt has ended, and the Machine is still %v", r.m.Phase())
	}
	if r.m.Phase() == Draining && rd.Deadline.IsZero() {
		return fmt.Errorf("draining without a deadline")
	}
	if held, most := len(r.m.Held()), r.m.policy.eventBytes()+3; held > max(most, 11) {
		return fmt.Errorf("%d bytes held back, limit %d", held, most)
	}
	if n, most := r.m.window.len(), r.m.policy.window(); n > most {
		return fmt.Errorf("%d entries, window %d", n, most)
	}
	c := r.m.Counts()
	if c.BytesOut != uint64(len(r.got)) {
		return fmt.Errorf("BytesOut %d, client has %d", c.BytesOut, len(r.got))
	}
	return nil
}

func (r *run) chunk(s string) Ready { return r.step(Chunk{Bytes: []byte(s)}) }

// feed gives s in chunks that end at the given offsets. Every chunk is
// overwritten once its Ready is done with, as a driver's buffer would be.
func (r *run) feed(s string, cuts ...int) {
	for i := 0; i <= len(cuts); i++ {
		from, to := 0, len(s)
		if i > 0 {
			from = cuts[i-1]
		}
		if i < len(cuts) {
			to = cuts[i]
		}
		b := []byte(s[from:to])
		r.step(Chunk{Bytes: b})
		for j := range b {
			b[j] = '#'
		}
	}
}

func (r *run) end() *run { r.step(Ended{Cause: CleanEnd}); return r }

func (r *run) pass(d time.Duration) Ready {
	r.now = r.now.Add(d)
	return r.step(Tick{})
}

func (r *run) wantGot(want string) {
	r.t.Helper()
	if string(r.got) != want {
		r.t.Fatalf("client got\n%q\nwant\n%q", r.got, want)
	}
}

func (r *run) wantClose(o Outcome, abort bool) {
	r.t.Helper()
	if r.closed == nil || *r.closed != (Close{o, abort}) {
		r.t.Fatalf("closed %v, want %v abort=%t", r.closed, o, abort)
	}
}

// back is the same client's next stream of the line, with its cursor.
func (r *run) back(cursor string) *run {
	return newRun(r.t, *r.m.policy, Start{
		Seed: 2, HasCursor: true, LastEventID: cursor, Repeatable: true, Earlier: r.m.State(),
	})
}

// event is one event as an origin would write it.
func event(id, data string) string {
	if id == "" {
		return "data: " + data + "\n\n"
	}
	return "id: " + id + "\ndata: " + data + "\n\n"
}

// dispatched is an event as a client's script sees it.
type dispatched struct{ Type, Data, LastID string }

// readStream is a client: a slow and literal reading of the standard.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
func readStream(stream []byte) (events []dispatched, lastID string, midBlock bool) {
	s := string(bytes.TrimPrefix(stream, []byte(byteOrderMark)))
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	lines := strings.Split(s, "\n")
	rest := lines[len(lines)-1]
	lines = lines[:len(lines)-1]

	var data []string
	var typ, idBuffer string
	for _, line := range lines {
		if line == "" {
			lastID = idBuffer
			if data != nil {
				if typ == "" {
					typ = "message"
				}
				events = append(events, dispatched{typ, strings.Join(data, "\n"), lastID})
			}
			data, typ, midBlock = nil, "", false
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if name != "" {
			midBlock = true
		}
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = append(data, value)
		case "event":
			typ = value
		case "id":
			if !strings.Contains(value, "\x00") {
				idBuffer = value
			}
		}
	}
	return events, lastID, midBlock || rest != ""
}

// withoutKeepAlives takes our comments out again.
func withoutKeepAlives(stream []byte) string {
	return strings.ReplaceAll(string(stream), ": "+keepAlive+"\n\n", "")
}

func count(notes []NoteKind, k NoteKind) int {
	n := 0
	for _, x := range notes {
		if x == k {
			n++
		}
	}
	return n
}

// sortedCuts returns the distinct cuts within n bytes, in order.
func sortedCuts(cuts []int, n int) []int {
	out := cuts[:0:0]
	for _, c := range cuts {
		out = append(out, c%(n+1))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
