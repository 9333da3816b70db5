package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"holdfast/sessionstore"
)

// model is the contract at its most literal: a list of sessions, oldest use
// first, each with a list of streams, oldest first.
type model struct {
	Options
	now      time.Duration // since the beginning
	number   uint64
	sessions []*modelSession
}

type modelSession struct {
	id      sessionstore.SessionID
	used    time.Duration
	streams []*modelStream
}

type modelStream struct {
	sessionstore.Stream
	window int
	log    *modelLog
}

func (s *modelSession) live() (n int) {
	for _, st := range s.streams {
		if st.Live {
			n++
		}
	}
	return n
}

// use makes s the session used last.
func (m *model) use(s *modelSession) {
	s.used = m.now
	m.remove(s)
	m.sessions = append(m.sessions, s)
}

func (m *model) remove(s *modelSession) {
	m.sessions = slices.DeleteFunc(m.sessions, func(o *modelSession) bool { return o == s })
}

func (m *model) expire() {
	m.sessions = slices.DeleteFunc(m.sessions, func(s *modelSession) bool {
		return s.live() == 0 && m.now-s.used >= m.TTL
	})
}

func (m *model) find(id sessionstore.SessionID) *modelSession {
	for _, s := range m.sessions {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (m *model) claim(k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream) {
	m.expire()
	s := m.find(k.Session)
	if s == nil {
		s = &modelSession{id: k.Session}
	}
	var earlier []sessionstore.Stream
	for _, st := range slices.Backward(s.streams) {
		if st.Lease.Line == k.Line && !k.Fresh {
			earlier = append(earlier, m.copyOf(st))
		}
	}
	s.pushOut(sessionstore.StreamsPerLine, func(st *modelStream) bool { return st.Lease.Line == k.Line })
	s.pushOut(sessionstore.StreamsPerSession, func(*modelStream) bool { return true })
	m.number++
	l := sessionstore.Lease{Session: k.Session, Line: k.Line, Number: m.number, Token: 1}
	s.streams = append(s.streams, &modelStream{
		window: k.Window, log: newModelLog(k), Stream: sessionstore.Stream{Lease: l, Live: true},
	})
	m.use(s)

	if len(m.sessions) > m.Sessions {
		i := slices.IndexFunc(m.sessions, func(s *modelSession) bool { return s.live() == 0 })
		m.remove(m.sessions[max(i, 0)])
	}
	return l, earlier
}

// pushOut makes place for one more stream that matches.
func (s *modelSession) pushOut(limit int, match func(*modelStream) bool) {
	var matching []*modelStream
	for _, st := range s.streams {
		if match(st) {
			matching = append(matching, st)
		}
	}
	if len(matching) < limit {
		return
	}
	victim := matching[0]
	if i := slices.IndexFunc(matching, func(st *modelStream) bool { return !st.Live }); i >= 0 {
		victim = matching[i]
	}
	s.streams = slices.DeleteFunc(s.streams, func(st *modelStream) bool { return st == victim })
}

// copyOf is a stream as a Claim tells of it.
func (m *model) copyOf(st *modelStream) sessionstore.Stream {
	copied := st.Stream
	copied.State.Window = slices.Clone(st.State.Window)
	copied.Log = st.log.info(m.now)
	return copied
}

func (m *model) leased(l sessionstore.Lease) (*modelSession, *modelStream) {
	if s := m.find(l.Session); s != nil {
		for _, st := range s.streams {
			if st.Lease == l && st.Live {
				m.use(s)
				return s, st
			}
		}
	}
	return nil, nil
}

func (st *modelStream) trim() {
	w := st.State.Window
	st.State.Window = append([]uint64(nil), w[max(0, len(w)-st.window):]...)
	st.Tracked = len(st.State.Window)
}

// histories runs random calls against a store and the model, and compares every
// answer and, after each call, everything an operator sees.
func histories(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{Sessions: rapid.IntRange(1, 4).Draw(rt, "sessions"), TTL: time.Minute}
		f := open(t, o)
		r := &run{model: model{Options: o}, Fixture: f, saved: make(map[uint64]time.Duration)}
		rt.Repeat(map[string]func(*rapid.T){
			"claim":   r.claim,
			"claim2":  r.claim, // twice as often: bounds are reached by claims
			"save":    r.save,
			"advance": r.advance,
			"release": r.release,
			"drop":    r.drop,
			"wait":    r.wait,

			"append":   r.append,
			"append2":  r.append,
			"finish":   r.finish,
			"seek":     r.seek,
			"after":    r.after,
			"takeover": r.takeover,

			"": r.compare,
		})
	})
}

// run is one random history.
type run struct {
	Fixture
	model  model
	leases []sessionstore.Lease
	saved  map[uint64]time.Duration // by stream's number
}

// tick moves both clocks a little, so that no two uses are at the same moment:
// which of two such sessions is the older is not the contract's to say.
func (r *run) tick(d time.Duration) {
	r.Wait(d)
	r.model.now += d
}

func (r *run) claim(t *rapid.T) {
	r.tick(time.Millisecond)
	k := key(rapid.IntRange(1, 6).Draw(t, "session"), rapid.IntRange(1, 2).Draw(t, "line"))
	k.Window = rapid.IntRange(1, 12).Draw(t, "window")
	k.Fresh = rapid.Bool().Draw(t, "fresh")
	k.Log = drawLimits(t)
	k.Head = fmt.Append(nil, "head ", rapid.IntRange(0, 9).Draw(t, "head"))
	l, earlier, err := r.Store.Claim(context.Background(), k)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	wantLease, wantEarlier := r.model.claim(k)
	// Numbers need only rise: give the model the store's.
	if l.Number < wantLease.Number {
		t.Fatalf("Claim: number %d after %d", l.Number, wantLease.Number-1)
	}
	if s := r.model.find(k.Session); s != nil {
		s.streams[len(s.streams)-1].Lease.Number = l.Number
	}
	r.model.number, wantLease.Number = l.Number, l.Number
	same(t, "lease", l, wantLease)
	earlier = r.withoutTimes(t, earlier)
	lenient(earlier, wantEarlier)
	same(t, "earlier streams", earlier, wantEarlier)
	r.leases = append(r.leases, l)
}

// lease draws one of the leases ever given, recent ones more often.
func (r *run) lease(t *rapid.T) sessionstore.Lease {
	if len(r.leases) == 0 {
		t.Skip("no lease yet")
	}
	return r.leases[max(0, len(r.leases)-1-rapid.IntRange(0, 20).Draw(t, "lease"))]
}

var entries = rapid.SliceOfN(rapid.Uint64(), 0, 15)

func (r *run) save(t *rapid.T) {
	r.tick(time.Millisecond)
	l := r.lease(t)
	state := sessionstore.State{
		Acked:     rapid.StringN(0, 3, -1).Draw(t, "acked"),
		LastSent:  rapid.StringN(0, 3, -1).Draw(t, "last sent"),
		Window:    entries.Draw(t, "window"),
		Key:       [2]uint64{rapid.Uint64().Draw(t, "key"), 1},
		Epoch:     rapid.Uint32().Draw(t, "epoch"),
		Events:    rapid.Uint64().Draw(t, "events"),
		Continues: r.lease(t).Number,
	}
	err := r.Store.Save(context.Background(), l, &state)
	s, st := r.model.leased(l)
	wantFence(t, "Save", err, st == nil)
	if st == nil {
		return
	}
	if _, again := r.saved[l.Number]; !again {
		s.streams = slices.DeleteFunc(s.streams, func(o *modelStream) bool {
			return o.Lease.Number == state.Continues && o.Lease.Line == l.Line && !o.Live && o.log.empty(r.model.now)
		})
	}
	st.State = state
	st.trim()
	r.saved[l.Number] = r.model.now
}

func (r *run) advance(t *rapid.T) {
	r.tick(time.Millisecond)
	l := r.lease(t)
	p := sessionstore.Progress{
		LastSent:   []byte(rapid.StringN(0, 3, -1).Draw(t, "last sent")),
		Seen:       entries.Draw(t, "seen"),
		Trust:      rapid.Uint8().Draw(t, "trust"),
		Duplicates: rapid.Uint64().Draw(t, "duplicates"),
	}
	err := r.Store.Advance(context.Background(), l, p)
	_, st := r.model.leased(l)
	wantFence(t, "Advance", err, st == nil)
	if st == nil {
		return
	}
	st.State.LastSent = string(p.LastSent)
	st.State.Window = append(st.State.Window, p.Seen...)
	st.State.Epoch, st.State.Trust = p.Epoch, p.Trust
	st.State.Events, st.State.Duplicates = p.Events, p.Duplicates
	st.trim()
	r.saved[l.Number] = r.model.now
}

func (r *run) release(t *rapid.T) {
	r.tick(time.Millisecond)
	l := r.lease(t)
	err := r.Store.Release(context.Background(), l)
	_, st := r.model.leased(l)
	wantFence(t, "Release", err, st == nil)
	if st != nil {
		st.Live = false
	}
}

func (r *run) drop(t *rapid.T) {
	id := sessionID(rapid.IntRange(1, 6).Draw(t, "session"))
	err := r.Directory.Drop(context.Background(), id)
	r.model.expire()
	s := r.model.find(id)
	if found := !errors.Is(err, sessionstore.ErrNotFound); found != (s != nil) || (found && err != nil) {
		t.Fatalf("Drop: got %v, the model has it: %t", err, s != nil)
	}
	r.model.remove(s)
}

func (r *run) wait(t *rapid.T) {
	r.tick(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
}

// compare is called after every step.
func (r *run) compare(t *rapid.T) {
	r.model.expire()
	var want []sessionstore.Session
	for _, m := range r.model.sessions {
		s := sessionstore.Session{ID: m.id, Live: m.live()}
		for _, st := range slices.Backward(m.streams) {
			shown := r.model.copyOf(st)
			shown.State.Window, shown.State.Key = nil, [2]uint64{}
			s.Streams = append(s.Streams, shown)
		}
		want = append(want, s)
	}
	slices.SortFunc(want, func(a, b sessionstore.Session) int { return slices.Compare(a.ID[:], b.ID[:]) })

	got, err := r.Directory.Sessions(context.Background(), sessionstore.SessionID{}, 100)
	if err != nil {
		t.Fatalf("Sessions: %v", err)
	}
	for i := range got {
		got[i].Streams = r.withoutTimes(t, got[i].Streams)
		if m := r.model.find(got[i].ID); m != nil && got[i].Used.Sub(got[i].Created) < 0 {
			t.Fatalf("session used before it was created")
		}
		got[i].Info, got[i].Created, got[i].Used = sessionstore.Info{}, time.Time{}, time.Time{}
	}
	for i := range min(len(got), len(want)) {
		lenient(got[i].Streams, want[i].Streams)
	}
	same(t, "sessions", got, want)
	if n := r.Directory.Len(); n != len(want) {
		t.Fatalf("Len: got %d, want %d", n, len(want))
	}
}

// lenient lets streams tell of records that have expired, as LogInfo says they may
// while others are left.
func lenient(got, want []sessionstore.Stream) {
	for i := range min(len(got), len(want)) {
		g, w := &got[i].Log, want[i].Log
		if g.Oldest < w.Oldest && w.Oldest <= w.Newest {
			g.Oldest, g.Bytes = w.Oldest, w.Bytes
		}
	}
}

// withoutTimes checks that a stream has a time of saving exactly if it was
// saved, and takes it out: the model has no calendar.
func (r *run) withoutTimes(t *rapid.T, streams []sessionstore.Stream) []sessionstore.Stream {
	out := slices.Clone(streams)
	for i := range out {
		_, saved := r.saved[out[i].Lease.Number]
		if out[i].Saved.IsZero() == saved {
			t.Fatalf("stream %d: saved at %v, was saved: %t", out[i].Lease.Number, out[i].Saved, saved)
		}
		out[i].Saved = time.Time{}
	}
	return out
}

func wantFence(t *rapid.T, call string, err error, fenced bool) {
	if fenced != errors.Is(err, sessionstore.ErrFenced) || (!fenced && err != nil) {
		t.Fatalf("%s: got %v, want fenced: %t", call, err, fenced)
	}
}

// same asks DeepEqual first: cmp is far too slow for every step of every history.
func same(t *rapid.T, what string, got, want any) {
	if reflect.DeepEqual(got, want) {
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(fmt.Sprintf("%s (-want +got):\n%s", what, diff))
	}
}
