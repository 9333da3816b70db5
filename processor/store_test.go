package processor

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// badStore fails, or does not answer, when told to.
type badStore struct {
	*memory.Store
	err  error
	hang bool
}

func (b *badStore) fail(ctx context.Context) error {
	if b.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return b.err
}

func (b *badStore) Claim(ctx context.Context, k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, error) {
	if err := b.fail(ctx); err != nil {
		return sessionstore.Lease{}, nil, err
	}
	return b.Store.Claim(ctx, k)
}

func (b *badStore) Save(ctx context.Context, l sessionstore.Lease, s *sessionstore.State) error {
	if err := b.fail(ctx); err != nil {
		return err
	}
	return b.Store.Save(ctx, l, s)
}

// Without its store a stream has no memory, and is otherwise as ever.
func TestStoreFails(t *testing.T) {
	for name, bad := range map[string]*badStore{
		"error": {err: errors.New("disk full")},
		"hangs": {hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			bad.Store = memory.New(memory.Options{})
			inWorld(t, inline, func(w *world) {
				began := time.Now()
				e := w.stream("GET", "/", "last-event-id: 1")
				if d := time.Since(began); d > defaultStoreTimeout {
					t.Errorf("the client waits %v for its headers", d)
				}
				e.chunk("id: 1\ndata: 1\n\n")
				e.wantBody("id: 1\ndata: 1\n\n")
				if w.srv.Ready() == nil {
					t.Error("still ready")
				}
				e.end("")
				if meta := e.wantEnd(""); meta["stored"] != false {
					t.Errorf("the access log learns %v", meta)
				}
				if line := w.ended(); line["outcome"] != "complete" || line["stored"] != false {
					t.Errorf("the log says %v", line)
				}
				w.wantMetric(1, "store_operations_total", "claim", "error")
				w.wantMetric(0, "store_operations_total", "save", "error")

				synctest.Wait()
				bad.err, bad.hang = nil, false
				e = w.stream("GET", "/")
				e.end("data: 2\n\n")
				if meta := e.wantEnd("data: 2\n\n"); meta["stored"] != true {
					t.Errorf("the access log learns %v", meta)
				}
				if err := w.srv.Ready(); err != nil {
					t.Errorf("not ready: %v", err)
				}
				if n := w.logs.FilterMessageSnippet("session store").Len(); n != 2 {
					t.Errorf("%d log lines, want one for the failure and one for its end", n)
				}
			}, func(o *Options) { o.Store = bad })
		})
	}
}

// However many streams of the line have to be saved before a returning client's
// begins, and however slowly, it waits once.
func TestReturnToHangingStore(t *testing.T) {
	bad := &badStore{Store: memory.New(memory.Options{})}
	inWorld(t, inline, func(w *world) {
		for range sessionstore.StreamsPerLine {
			e := w.stream("GET", "/")
			defer e.leave()
		}
		bad.hang = true
		began := time.Now()
		back := w.stream("GET", "/", "last-event-id: 1")
		if d := time.Since(began); d > defaultStoreTimeout {
			t.Errorf("the client waits %v for its headers", d)
		}
		bad.hang = false
		back.leave()
	}, func(o *Options) { o.Store = bad })
}

// A client that leaves while the store is being asked is no failure of the store.
func TestClientLeavesDuringClaim(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.dial()
		e.ask(requestMessage("GET", "/"))
		e.send(responseMessage(":status: 200", "content-type: text/event-stream"))
		synctest.Wait()
		e.leave()
		elapse(time.Second)
		if err := w.srv.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		w.wantOutcome("client_gone")
		w.wantMetric(1, "store_operations_total", "claim", "ok")
		w.wantMetric(1, "store_operations_total", "release", "ok")
	}, func(o *Options) { o.Store = distantStore{memory.New(memory.Options{})} })
}

// distantStore is a store at the other end of a network.
type distantStore struct{ *memory.Store }

func (s distantStore) Claim(ctx context.Context, k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, error) {
	answer := time.NewTimer(50 * time.Millisecond)
	defer answer.Stop()
	select {
	case <-ctx.Done():
		return sessionstore.Lease{}, nil, ctx.Err()
	case <-answer.C:
		return s.Store.Claim(ctx, k)
	}
}

// A save that fails is made up for by the next.
func TestSaveFails(t *testing.T) {
	bad := &badStore{Store: memory.New(memory.Options{})}
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/", "mcp-session-id: s")
		bad.err = errors.New("disk full")
		e.chunk("id: 1\ndata: 1\n\n")
		e.wantBody("id: 1\ndata: 1\n\n")
		synctest.Wait()
		bad.err = nil
		e.leave()
		w.wantOutcome("client_gone")
		e = w.stream("GET", "/", "mcp-session-id: s", "last-event-id: 1")
		e.chunk("id: 1\ndata: 1\n\n")
		e.nothing()
		e.leave()
	}, func(o *Options) { o.Store = bad })
}

// While it runs, a stream is saved a few times a second, and nothing it knows
// stays unsaved in a silence.
func TestSavesAreSpaced(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/")
		for range 100 { // one second
			e.chunk("id: 1\ndata: 1\n\n")
			e.wantBody("id: 1\ndata: 1\n\n")
			elapse(10 * time.Millisecond)
		}
		synctest.Wait()
		if n := w.metric("store_operations_total", "save", "ok"); n < 5 || n > 15 {
			t.Errorf("%v saves in a second", n)
		}
		e.leave()
	})
}

// What is stored first is stored before the client has it, event by event.
func TestStoredFirst(t *testing.T) {
	store := &seenStore{Store: memory.New(memory.Options{})}
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/")
		for n := range 5 {
			id := strconv.Itoa(n)
			e.chunk("id: " + id + "\ndata: 1\n\n")
			e.wantBody("id: " + id + "\ndata: 1\n\n")
			if got := *store.last.Load(); got != id {
				t.Errorf("the client has %s, the store %s", id, got)
			}
		}
		e.leave()
	}, func(o *Options) { o.Store, o.StoreFirst = store, true })
}

// A store that is slow holds up what has to be stored first, and is not given up.
func TestStoredFirstSlowly(t *testing.T) {
	store := &seenStore{Store: memory.New(memory.Options{}), slow: time.Second}
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/")
		for n := range 3 {
			id := strconv.Itoa(n)
			e.chunk("id: " + id + "\ndata: 1\n\n")
			e.wantBody("id: " + id + "\ndata: 1\n\n")
			if got := *store.last.Load(); got != id {
				t.Errorf("the client has %s, the store %s", id, got)
			}
		}
		if err := w.srv.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		e.leave()
		elapse(2 * store.slow)
	}, func(o *Options) { o.Store, o.StoreFirst = store, true })
}

// seenStore tells how far a stream is stored.
type seenStore struct {
	*memory.Store
	last atomic.Pointer[string]
	slow time.Duration
}

func (s *seenStore) Save(ctx context.Context, l sessionstore.Lease, state *sessionstore.State) error {
	if s.slow > 0 {
		answer := time.NewTimer(s.slow)
		defer answer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-answer.C:
		}
	}
	err := s.Store.Save(ctx, l, state)
	s.last.Store(&state.LastSent)
	return err
}

func TestSessionDropped(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/mcp", "mcp-session-id: s")
		e.chunk("id: 1\ndata: 1\n\n")
		e.wantBody("id: 1\ndata: 1\n\n")
		remove := func(status string, more ...string) {
			t.Helper()
			d := w.dial()
			d.ask(requestMessage("DELETE", "/mcp", more...))
			d.ask(responseMessage(":status: " + status))
			d.wantClosed()
		}
		remove("405", "mcp-session-id: s")
		remove("200", "mcp-session-id: t")
		remove("200", "cookie: session=s") // any REST service's DELETE
		w.wantMetric(1, "sessions")
		remove("204", "mcp-session-id: s")
		w.wantMetric(0, "sessions")
		elapse(time.Second)
		e.chunk("id: 2\ndata: 2\n\n") // the stream itself goes on
		e.wantBody("id: 2\ndata: 2\n\n")
		elapse(time.Second)
		e.end("")
		e.wantEnd("")
		w.wantMetric(1, "store_operations_total", "save", "fenced")
		w.wantMetric(0, "sessions")
	})
}

// However the DELETE is sent to the origin.
func TestSessionDroppedWhereHeld(t *testing.T) {
	serve := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		mute(ev(1))(w, r)
	}
	t.Run("relay", func(t *testing.T) {
		inHolding(t, heldOn, serve, func(h *holding) {
			r := h.ask("GET", "/mcp", nil, "mcp-session-id: s")
			r.want(ev(1))
			r.leave()
			h.wantMetric(1, "sessions")
			h.ask("DELETE", "/mcp", nil, "mcp-session-id: s").wantEnd("")
			h.wantMetric(0, "sessions")
		})
	})
	t.Run("immediate", func(t *testing.T) {
		inHolding(t, direct, serve, func(h *holding) {
			e := h.dial()
			e.hold("GET", "/mcp", "mcp-session-id: s")
			e.wantHeaders("200")
			e.wantImmediate(ev(1), false)
			elapse(time.Second)
			e.leave()
			h.wantMetric(1, "sessions")
			e = h.dial()
			m := requestMessage("DELETE", "/mcp", "mcp-session-id: s")
			m.GetRequestHeaders().EndOfStream = true
			e.ask(m)
			e.wantHeaders("204")
			e.wantImmediate("", true)
			h.wantMetric(0, "sessions")
		})
	})
}

// The first answer of an MCP session brings its key.
func TestSessionAssignedByResponse(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.dial()
		e.ask(requestMessage("POST", "/mcp"))
		e.ask(responseMessage(":status: 200", "content-type: text/event-stream", "mcp-session-id: s"))
		e.end("data: 1\n\n")
		e.wantEnd("data: 1\n\n")
		e = w.stream("POST", "/mcp", "mcp-session-id: s")
		e.end("data: 2\n\n")
		e.wantEnd("data: 2\n\n")
		w.wantMetric(1, "sessions")
	})
}
