package processor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"holdfast/processor/wire"
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
			b, end := e.body()
			if got := sentAwayFrom(t, b, sentAway); got != want || !end {
				t.Errorf("%q (end: %v)", b, end)
			}
			e.leave() // as Envoy does with what has ended
			w.wantOutcome("drained")
		}
		wantDrained(idle, "")
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("told after %v", d)
		}
		elapse(10 * time.Second)
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

// sentAwayFrom takes off what tells a client when to come back: some time around the
// usual one.
func sentAwayFrom(t *testing.T, body string, usual time.Duration) string {
	t.Helper()
	rest, hint, found := strings.Cut(body, "retry: ")
	ms, err := strconv.Atoi(strings.TrimSuffix(hint, "\n\n"))
	if wait := time.Duration(ms) * time.Millisecond; !found || err != nil || wait < usual/2 || wait >= usual*3/2 {
		t.Errorf("%q says nothing of when to come back (%v)", body, err)
	}
	return rest
}

// Clients are told to come back at different times, around the one that their origin
// has named. It is nothing that a replay would bring.
func TestDrainHints(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, ids: sealed, heartbeat: 0}`, nil, func(h *holding) {
		h.serve = func(w http.ResponseWriter, r *http.Request) {
			beginEvents(w)
			say(w, "retry: 10000\n\n%s", ev(1, 2))
			<-r.Context().Done()
		}
		var clients []*reading
		var id string
		for range 8 {
			c := h.open("/events", "authorization: A")
			c.want("retry: 10000\n\n")
			id = c.takes(data(1, 2))[0]
			clients = append(clients, c)
		}
		if err := h.srv.Drain(h.Context(), DrainOptions{Deadline: time.Minute}); err != nil {
			t.Error(err)
		}
		hints := map[string]bool{}
		for _, c := range clients {
			b, err := io.ReadAll(c.Body)
			if rest := sentAwayFrom(t, string(b), 10*time.Second); rest != "" || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			hints[string(b)] = true
		}
		if len(hints) < 7 {
			t.Errorf("only %d different hints for 8 clients", len(hints))
		}
		key := sealedPlace(t, h, id)
		page, err := h.srv.store.after(h.Context(), key)
		if err != nil || len(page.Records) != 1 || page.End != sessionstore.EndNone || page.Live {
			t.Errorf("%d records after the first event, end %d, live: %v, %v", len(page.Records), page.End, page.Live, err)
		}
	})
}

// sealedPlace is where in the log an id of principal A says that its client is.
func sealedPlace(t *testing.T, h *holding, id string) sessionstore.Position {
	t.Helper()
	r := newRequest(requestMessageFields("GET", "/events", "authorization: A"))
	who := identify(h.srv.policies.Load().named("p").Policy, &r)
	scope := who.scope()
	place, ok := h.srv.sealer.Open(id, &scope)
	if !ok {
		t.Fatal("an id that cannot be read")
	}
	return who.position(&place)
}

func requestMessageFields(method, path string, more ...string) headers {
	var fields headers
	for _, f := range requestMessage(method, path, more...).GetRequestHeaders().GetHeaders().GetHeaders() {
		fields = append(fields, wire.Field{Name: []byte(f.GetKey()), Value: f.GetRawValue()})
	}
	return fields
}

// A reader of a log is sent away as well.
func TestDrainOfAReader(t *testing.T) {
	bothWays(t, keptOn, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		c := ask(h, "POST", "/chat", strings.NewReader("question"))
		o.say <- data(1, 1)
		id := c.takes(data(1, 1))[0]
		c.leave()
		c = ask(h, "GET", "/chat", nil, "last-event-id: "+id)
		synctest.Wait()
		done := h.drain(DrainOptions{Deadline: 10 * time.Second})
		b, err := io.ReadAll(c.Body)
		if rest := sentAwayFrom(t, string(b), sentAway); rest != "" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		<-o.gone // which cannot be had again, and so had its time
		if err := <-done; err != nil {
			t.Error(err)
		}
	}, detached)
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
	elapse(50 * time.Millisecond)
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
