// Package storetest is what every session store must pass: the contract of
// package sessionstore as tests, and a comparison with a simple model over
// random histories.
//
// A store's own test says how to open it:
//
//	func TestContract(t *testing.T) {
//		storetest.Run(t, func(t testing.TB, o storetest.Options) storetest.Fixture { … })
//	}
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"holdfast/sessionstore"
)

// Options are the bounds a test wants of its store.
type Options struct {
	Sessions int
	TTL      time.Duration
	Memory   int64 // of all logs together; zero: no bound
}

// Fixture is a new, empty store.
type Fixture struct {
	Store     sessionstore.Store
	Log       sessionstore.Log
	Directory sessionstore.Directory
	// Wait moves the store's clock. The suite never sleeps.
	Wait func(time.Duration)
}

// Open makes an empty store, and cleans up after it with t.Cleanup.
type Open func(t testing.TB, o Options) Fixture

// contractTest is one clause of the contract.
type contractTest struct {
	name string
	run  func(h *harness)
	opt  Options
}

// Run tests a store. Each subtest opens its own.
func Run(t *testing.T, open Open) {
	tests := []contractTest{
		{name: "claim begins a session", run: claimBegins},
		{name: "claim tells of earlier streams, newest first", run: claimOrder},
		{name: "a fresh claim is told nothing", run: claimFresh},
		{name: "lines and sessions do not see each other", run: isolation},
		{name: "save and advance", run: progress},
		{name: "nothing given or taken is shared", run: copies},
		{name: "the window keeps the newest entries", run: windows},
		{name: "an id no client could return is no cursor", run: hugeIDs},
		{name: "a continued stream is forgotten", run: continues},
		{name: "a lease ends with its stream", run: released},
		{name: "a dropped session fences its streams", run: dropped},
		{name: "an expired session is gone", run: expired, opt: Options{TTL: time.Minute}},
		{name: "a live stream does not expire", run: liveStays, opt: Options{TTL: time.Minute}},
		{name: "a full store evicts the longest unused", run: evictsIdle, opt: Options{Sessions: 3}},
		{name: "a full store of live sessions fences one", run: evictsLive, opt: Options{Sessions: 3}},
		{name: "a line keeps 8 streams", run: lineBound},
		{name: "a session keeps 64 streams", run: sessionBound},
		{name: "of live streams the oldest goes", run: liveBound},
		{name: "sessions come in pages", run: paging},
		{name: "the directory shows no window and no key", run: directory},
		{name: "concurrent use", run: concurrent, opt: Options{Sessions: 16}},
	}
	tests = append(tests, logTests()...)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := test.opt
			if o.Sessions == 0 {
				o.Sessions = 10_000
			}
			if o.TTL == 0 {
				o.TTL = time.Hour
			}
			test.run(&harness{T: t, Fixture: open(t, o)})
		})
	}
	t.Run("random histories match the model", func(t *testing.T) { histories(t, open) })
}

// harness is the suite's vocabulary.
type harness struct {
	*testing.T
	Fixture
}

// sessionID and lineID name things by small numbers. IDs are in the order of
// their numbers. Some have their first byte in common and some do not, for a
// store may sort them by it.
func sessionID(n int) (id sessionstore.SessionID) {
	id[0], id[1], id[15] = byte(n/4), byte(n%4), 1
	return id
}

func number(id sessionstore.SessionID) int { return int(id[0])*4 + int(id[1]) }

func lineID(n int) (id sessionstore.LineID) {
	id[0] = byte(n)
	return id
}

func key(session, line int) sessionstore.Key {
	return sessionstore.Key{
		Session: sessionID(session), Line: lineID(line),
		Info: sessionstore.Info{Policy: "p", Principal: "8a1f", Session: fmt.Sprint("header:id ", session)},
	}
}

func (h *harness) claim(session, line int) (sessionstore.Lease, []sessionstore.Stream) {
	h.Helper()
	return h.claimKey(key(session, line))
}

func (h *harness) claimKey(k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream) {
	h.Helper()
	l, earlier, err := h.Store.Claim(context.Background(), k)
	if err != nil {
		h.Fatalf("Claim: %v", err)
	}
	return l, earlier
}

// ended runs a stream whose last event had this id, and returns its lease.
func (h *harness) ended(session, line int, id string) sessionstore.Lease {
	h.Helper()
	l, _ := h.claim(session, line)
	h.save(l, sessionstore.State{LastSent: id})
	h.release(l)
	return l
}

func (h *harness) save(l sessionstore.Lease, s sessionstore.State) {
	h.Helper()
	if err := h.Store.Save(context.Background(), l, &s); err != nil {
		h.Fatalf("Save: %v", err)
	}
}

func (h *harness) advance(l sessionstore.Lease, p sessionstore.Progress) {
	h.Helper()
	if err := h.Store.Advance(context.Background(), l, p); err != nil {
		h.Fatalf("Advance: %v", err)
	}
}

func (h *harness) release(l sessionstore.Lease) {
	h.Helper()
	if err := h.Store.Release(context.Background(), l); err != nil {
		h.Fatalf("Release: %v", err)
	}
}

func (h *harness) drop(session int) {
	h.Helper()
	if err := h.Directory.Drop(context.Background(), sessionID(session)); err != nil {
		h.Fatalf("Drop: %v", err)
	}
}

func (h *harness) session(session int) sessionstore.Session {
	h.Helper()
	s, err := h.Directory.Session(context.Background(), sessionID(session))
	if err != nil {
		h.Fatalf("Session(%d): %v", session, err)
	}
	return s
}

// wantFenced says that a lease can do nothing any more.
func (h *harness) wantFenced(l sessionstore.Lease) {
	h.Helper()
	ctx := context.Background()
	for name, err := range map[string]error{
		"Save":    h.Store.Save(ctx, l, &sessionstore.State{LastSent: "late"}),
		"Advance": h.Store.Advance(ctx, l, sessionstore.Progress{LastSent: []byte("late")}),
		"Append":  h.Log.Append(ctx, l, time.Time{}, []sessionstore.Record{{Seq: 1 << 40, Wire: []byte("late")}}),
		"Finish":  h.Log.Finish(ctx, l, sessionstore.EndCut),
		"Release": h.Store.Release(ctx, l),
	} {
		if !errors.Is(err, sessionstore.ErrFenced) {
			h.Errorf("%s with a lost lease: got %v, want ErrFenced", name, err)
		}
	}
}

func (h *harness) wantHeld(l sessionstore.Lease) {
	h.Helper()
	h.advance(l, sessionstore.Progress{LastSent: []byte("held")})
}

func (h *harness) wantNoSession(session int) {
	h.Helper()
	ctx := context.Background()
	if _, err := h.Directory.Session(ctx, sessionID(session)); !errors.Is(err, sessionstore.ErrNotFound) {
		h.Errorf("Session(%d): got %v, want ErrNotFound", session, err)
	}
	if err := h.Directory.Drop(ctx, sessionID(session)); !errors.Is(err, sessionstore.ErrNotFound) {
		h.Errorf("Drop(%d): got %v, want ErrNotFound", session, err)
	}
}

// wantSessions says which sessions there are.
func (h *harness) wantSessions(want ...int) {
	h.Helper()
	list, err := h.Directory.Sessions(context.Background(), sessionstore.SessionID{}, 1_000)
	if err != nil {
		h.Fatalf("Sessions: %v", err)
	}
	var got []int
	for _, s := range list {
		got = append(got, number(s.ID))
	}
	h.wantEqual("sessions", got, want)
	if n := h.Directory.Len(); n != len(want) {
		h.Errorf("Len: got %d, want %d", n, len(want))
	}
}

// wantEarlier says which last IDs the earlier streams of a line have.
func (h *harness) wantEarlier(earlier []sessionstore.Stream, want ...string) {
	h.Helper()
	var got []string
	for _, s := range earlier {
		got = append(got, s.State.LastSent)
	}
	h.wantEqual("earlier streams", got, want)
}

func (h *harness) wantEqual(what string, got, want any) {
	h.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		h.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
