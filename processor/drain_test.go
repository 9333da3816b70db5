package processor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

func (w *world) drain(o DrainOptions) <-chan error {
	done := make(chan error, 1)
	go func() { done <- w.srv.Drain(context.Background(), o) }()
	synctest.Wait()
	return done
}

func TestDrain(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		health := grpc_health_v1.NewHealthClient(w.conn)
		check := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
			r, err := health.Check(w.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return r.GetStatus()
		}
		if s := check(); s != grpc_health_v1.HealthCheckResponse_SERVING || w.srv.Ready() != nil {
			t.Errorf("before: %v, %v", s, w.srv.Ready())
		}
		idle := w.stream("GET", "/idle")
		idle.chunk("data: 1\n\n")
		idle.wantBody("data: 1\n\n")
		busy := w.stream("GET", "/busy")
		busy.chunk("data: 1\n\ndata")
		busy.wantBody("data: 1\n\n")
		post := w.stream("POST", "/post")
		post.chunk("data: 1\n\n")
		post.wantBody("data: 1\n\n")

		began := time.Now()
		done := w.drain(DrainOptions{Deadline: 30 * time.Second, Spread: 10 * time.Second})
		if s := check(); s != grpc_health_v1.HealthCheckResponse_NOT_SERVING || !errors.Is(w.srv.Ready(), ErrDraining) {
			t.Errorf("draining: %v, %v", s, w.srv.Ready())
		}
		fresh := w.dial()
		if a := fresh.ask(requestMessage("GET", "/")); a.GetModeOverride() == nil {
			t.Errorf("a new request is not left alone: %v", a)
		}
		fresh.wantClosed()

		wantDrained := func(e *envoy, want string) {
			t.Helper()
			if b, end := e.body(); b != want || !end {
				t.Errorf("%q (end: %v)", b, end)
			}
			e.leave() // as Envoy does with what has ended
			w.wantOutcome("drained")
		}
		wantDrained(idle, "")
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("told after %v", d)
		}
		pass(10 * time.Second)
		busy.chunk(": 2\n\ndata: 3")
		wantDrained(busy, "data: 2\n\n")
		// A POST cannot be had again: it gets all the time there is, and its
		// client must not take the end for the origin's.
		post.chunk("data: 2\n\n")
		post.wantBody("data: 2\n\n")
		post.wantReset()
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("cut after %v", d)
		}
		w.wantOutcome("drained")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// An end of the origin's that comes during a drain is the origin's, with whatever
// it says last.
func TestEndWhileDraining(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/")
		e.chunk("data: 1\n\ndata")
		e.wantBody("data: 1\n\n")
		done := w.drain(DrainOptions{Deadline: time.Minute})
		e.end(": 2\n\ndata: 3")
		e.wantEnd("data: 2\n\ndata: 3")
		w.wantOutcome("complete")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Whatever a peer does not do, Drain comes back.
func TestDrainIsBounded(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		waiting := w.dial() // for its response headers
		waiting.ask(requestMessage("GET", "/"))
		defer waiting.leave()
		began := time.Now()
		err := <-w.drain(DrainOptions{Deadline: time.Second, Spread: time.Hour})
		if err == nil || !strings.Contains(err.Error(), "1 requests") {
			t.Errorf("err: %v", err)
		}
		if d := time.Since(began); d != time.Second+drainGrace {
			t.Errorf("came back after %v", d)
		}
	})
	inWorld(t, inline, func(w *world) {
		waiting := w.dial()
		waiting.ask(requestMessage("GET", "/"))
		defer waiting.leave()
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		if err := w.srv.Drain(ctx, DrainOptions{Deadline: time.Hour}); !errors.Is(err, context.Canceled) {
			t.Errorf("err: %v", err)
		}
	})
}

// An event stream whose headers arrive during a drain is not taken on.
func TestDrainBetweenHeaders(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.dial()
		e.ask(requestMessage("GET", "/"))
		done := w.drain(DrainOptions{Deadline: time.Second})
		if a := e.ask(responseMessage(":status: 200", "content-type: text/event-stream")); a.GetModeOverride() != nil {
			t.Errorf("answered with %v", a)
		}
		e.wantClosed()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.wantMetric(1, "bypassed_total", "draining")
	})
}

// slowStore is a store whose Claim takes as long as a drain.
type slowStore struct{ *memory.Store }

func (s slowStore) Claim(ctx context.Context, k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, error) {
	pass(50 * time.Millisecond)
	return s.Store.Claim(ctx, k)
}

// A stream that was being opened when the drain began is not taken on either: the
// drain may have looked for streams before there was one.
func TestDrainWhileOpening(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.dial()
		e.ask(requestMessage("GET", "/"))
		e.send(responseMessage(":status: 200", "content-type: text/event-stream"))
		synctest.Wait()
		began := time.Now()
		done := w.drain(DrainOptions{Deadline: time.Minute})
		if a := e.recv(); a.GetResponseHeaders() == nil || a.GetModeOverride() != nil {
			t.Errorf("answered with %v", a)
		}
		e.wantClosed()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("the drain took %v", d)
		}
		w.wantMetric(1, "bypassed_total", "draining")
		w.wantMetric(0, "streams_active", "inline")
		w.wantMetric(1, "store_operations_total", "release", "ok")
		if n := w.srv.Live().Len(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	}, func(o *Options) { o.Store = slowStore{memory.New(memory.Options{})} })
}
