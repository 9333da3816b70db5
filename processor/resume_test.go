package processor

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/processor/live"
)

// attempts is an origin that answers its n-th request with its n-th handler, and
// every further one with 204: there is no more.
type attempts struct {
	mu   sync.Mutex
	do   []func(w http.ResponseWriter, r *http.Request)
	seen []string // method and cursor
}

func (a *attempts) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	n := len(a.seen)
	a.seen = append(a.seen, r.Method+" "+r.Header.Get("Last-Event-Id"))
	a.mu.Unlock()
	w.Header().Set(UpstreamHeader, fmt.Sprintf("cluster 10.0.0.%d:80", n+1))
	if n >= len(a.do) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	a.do[n](w, r)
}

func (a *attempts) want(t testing.TB, seen ...string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if got := strings.Join(a.seen, ", "); got != strings.Join(seen, ", ") {
		t.Errorf("the origin was asked: %s; want %s", got, strings.Join(seen, ", "))
	}
}

func answering(do ...func(w http.ResponseWriter, r *http.Request)) *attempts {
	return &attempts{do: do}
}

// sends is a handler that sends events and then does something.
func sends(text string, then ...func()) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		beginEvents(w)
		say(w, "%s", text)
		for _, f := range then {
			f()
		}
	}
}

// mute sends events and is silent from then on.
func mute(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		beginEvents(w)
		say(w, "%s", text)
		<-r.Context().Done()
	}
}

func answers503(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "5")
	http.Error(w, "no", http.StatusServiceUnavailable)
}

// ev is events with ids.
func ev(ids ...int) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "id: %d\ndata: event %d\n\n", id, id)
	}
	return b.String()
}

const quiet = `- {name: p, mode: hold, heartbeat: 0, backoff: {jitter: 0}}`

func TestHoldReset(t *testing.T) {
	o := answering(sends(ev(1, 2)+"id: 3\nda", reset), sends(ev(2, 3, 4)))
	inHolding(t, quiet, o.serve, func(h *holding) {
		r := h.open("/")
		r.wantEnd(ev(1, 2, 3, 4))
		o.want(t, "GET ", "GET 2", "GET 4")
		line := h.ended()
		if line["outcome"] != "resumed" || line["resumes"] != uint64(1) || line["duplicates"] != uint64(1) || line["upstream"] != "10.0.0.2:80" {
			t.Errorf("%v", line)
		}
		if r.Header.Get(UpstreamHeader) != "" {
			t.Errorf("header %v", r.Header)
		}
		h.wantMetric(1, "resumes_total", "p", "resumed")
		h.wantMetric(1, "resumes_total", "p", "confirmed")
		h.wantMetric(1, "envoy_retries_total", "p", "reset")
		h.wantMetric(1, "envoy_retries_total", "p", "early_end")
		h.wantMetric(1, "resume_seconds")
		h.wantMetric(0, "upstream_ejected", "10.0.0.1:80")
		if n := h.dialer.Stats().Live; n != 0 {
			t.Errorf("%d fetches are open", n)
		}
	})
}

func TestHoldImmediateReset(t *testing.T) {
	o := answering(sends(ev(1, 2)+"id: 3\nda", reset), sends(ev(2, 3, 4)))
	inHolding(t, `- {name: p, mode: hold, via: immediate}`, o.serve, func(h *holding) {
		e := h.dial()
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.wantImmediate(ev(1, 2, 3, 4), true)
		e.wantClosed()
		o.want(t, "GET ", "GET 2", "GET 4")
		h.wantOutcome("resumed")
	})
}

// While the upstream is away the client hears from us, and nothing else.
func TestHoldWaitsForTheUpstream(t *testing.T) {
	o := answering(sends(ev(1), reset), answers503, answers503, mute(ev(2)))
	inHolding(t, `- {name: p, mode: hold, heartbeat: 4s, backoff: {jitter: 0}}`, o.serve, func(h *holding) {
		begun := time.Now()
		r := h.open("/")
		r.want(ev(1))
		r.want(": keep-alive\n\n")
		r.want(": keep-alive\n\n")
		r.want(ev(2))
		if d := time.Since(begun); d != 10*time.Second {
			t.Errorf("resumed after %v, want twice Retry-After", d)
		}
		h.wantMetric(2, "resumes_total", "p", "unavailable")
		s := h.srv.live.Snapshot(0, 10)
		if len(s) != 1 || s[0].Resumes != 1 || s[0].Mode != "hold" || s[0].Upstream != "10.0.0.4:80" {
			t.Errorf("live: %+v", s)
		}
		r.leave()
		h.wantOutcome("client_gone")
	})
}

// A silent upstream is asked again by a second fetch, which the handler takes over
// once the first one is given up.
func TestHoldStall(t *testing.T) {
	gone := make(chan struct{})
	o := answering(
		func(w http.ResponseWriter, r *http.Request) { mute(ev(1, 2))(w, r); close(gone) },
		mute(ev(3)),
		sends(ev(4), reset),
		sends(ev(5)),
	)
	inHolding(t, quiet, o.serve, func(h *holding) {
		begun := time.Now()
		r := h.open("/")
		r.want(ev(1, 2, 3))
		<-gone
		if d := time.Since(begun); d != 30*time.Second {
			t.Errorf("after %v", d)
		}
		r.wantEnd(ev(4, 5))
		o.want(t, "GET ", "GET 2", "GET 3", "GET 4", "GET 5")
		h.wantOutcome("resumed")
		h.wantMetric(2, "envoy_retries_total", "p", "stall")
	})
}

// A stream whose origin is quiet, and takes no second connection to be asked whether it
// lives, goes on.
func TestQuietIsNotDead(t *testing.T) {
	for _, status := range []int{409, 429, 500, 503} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			asked := 0
			inHolding(t, quiet, func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked > 1 {
					w.WriteHeader(status)
					return
				}
				beginEvents(w)
				say(w, "%s", ev(1))
				select {
				case <-time.After(time.Hour):
					say(w, "%s", ev(2))
				case <-r.Context().Done():
				}
				<-r.Context().Done()
			}, func(h *holding) {
				r := h.open("/")
				r.want(ev(1))
				begun := time.Now()
				r.want(ev(2))
				if d := time.Since(begun); d != time.Hour || asked < 2 || asked > 100 {
					t.Errorf("after %v, and %d requests", d, asked)
				}
				r.leave()
				h.wantOutcome("client_gone")
			})
		})
	}
	t.Run("no way back", func(t *testing.T) {
		inHolding(t, inlined30, nil, func(h *holding) {
			_ = h.loop.Close()
			e := h.stream("GET", "/")
			e.chunk(ev(1))
			e.wantBody(ev(1))
			elapse(time.Hour)
			e.chunk(ev(2))
			e.wantBody(ev(2))
			e.leave()
		})
	})
	// And if it does end, it is asked as if it had never been.
	t.Run("conflict, then a reset", func(t *testing.T) {
		o := answering(func(w http.ResponseWriter, r *http.Request) {
			beginEvents(w)
			say(w, "%s", ev(1))
			elapse(time.Minute)
			reset()
		}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) }, sends(ev(2)))
		inHolding(t, quiet, o.serve, func(h *holding) {
			h.open("/").wantEnd(ev(1, 2))
			o.want(t, "GET ", "GET 1", "GET 1", "GET 2")
			h.wantOutcome("resumed")
		})
	})
}

func TestHoldGivesUp(t *testing.T) {
	o := answering(sends(ev(1), reset))
	refuse := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }
	for range 20 {
		o.do = append(o.do, refuse)
	}
	inHolding(t, `- {name: p, mode: hold, heartbeat: 0, hold_for: 20s}`, o.serve, func(h *holding) {
		begun := time.Now()
		h.open("/").wantCut(ev(1))
		if d := time.Since(begun); d > 20*time.Second || d < 5*time.Second {
			t.Errorf("after %v", d)
		}
		h.wantOutcome("cut")
	})
}

func TestHoldNever(t *testing.T) {
	for _, policy := range []string{
		`- {name: p, mode: hold, resume: none}`,
		`- {name: p, mode: hold, hold_for: 0}`,
		`- {name: p, mode: hold, backoff: {retries: 0}}`,
	} {
		o := answering(sends(ev(1), reset))
		inHolding(t, policy, o.serve, func(h *holding) {
			h.open("/").wantCut(ev(1))
			o.want(t, "GET ")
		})
	}
}

// The attempt is given up with the client.
func TestHoldClientLeavesWhileFetching(t *testing.T) {
	asked, gone := make(chan struct{}), make(chan struct{})
	o := answering(sends(ev(1), reset), func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(gone)
	})
	inHolding(t, quiet, o.serve, func(h *holding) {
		r := h.open("/")
		r.want(ev(1))
		<-asked
		r.leave()
		<-gone
		h.wantOutcome("client_gone")
		h.wantMetric(1, "resumes_total", "p", "abandoned")
	})
}

// A stream that began with a POST is resumed by GET where a protocol says so.
func TestHoldPost(t *testing.T) {
	o := answering(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); string(b) != `{"x":1}` {
			t.Errorf("body %q", b)
		}
		sends(ev(1), reset)(w, r)
	}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Session-Id") != "s" || r.Header.Get("Authorization") != "Bearer t" || r.ContentLength > 0 {
			t.Errorf("%v", r.Header)
		}
		sends(ev(2))(w, r)
	})
	inHolding(t, `- {name: p, mode: hold, heartbeat: 0}`, o.serve, func(h *holding) {
		r := h.ask("POST", "/mcp", strings.NewReader(`{"x":1}`), "mcp-session-id: s", "authorization: Bearer t")
		r.wantEnd(ev(1, 2))
		o.want(t, "POST ", "GET 1", "GET 2")
	})
}

// A client that does not read slows the origin down, and no clock runs meanwhile.
func TestHoldSlowClient(t *testing.T) {
	const events = 2000
	wrote := make(chan int, events)
	event := func(i int) string { return fmt.Sprintf("id: %d\ndata: %s\n\n", i, strings.Repeat("x", 1000)) }
	o := answering(func(w http.ResponseWriter, _ *http.Request) {
		beginEvents(w)
		for i := range events {
			say(w, "%s", event(i))
			wrote <- i
		}
	})
	inHolding(t, quiet, o.serve, func(h *holding) {
		r := h.open("/")
		r.want(event(0))
		synctest.Wait()
		stopped := len(wrote)
		elapse(5 * time.Minute)
		if n := len(wrote); n != stopped || n > 1000 {
			t.Errorf("the origin got rid of %d events, then of %d", stopped, n)
		}
		for i := 1; i < events; i++ {
			r.want(event(i))
		}
		r.wantEnd("")
		h.wantMetric(0, "envoy_retries_total", "p", "stall")
		h.wantOutcome("complete")
	})
}

func TestHoldDrain(t *testing.T) {
	o := answering(mute(ev(1)), sends(ev(1), reset), answers503, answers503)
	inHolding(t, `- {name: p, mode: hold, heartbeat: 0}`, o.serve, func(h *holding) {
		idle := h.open("/idle")
		idle.want(ev(1))
		away := h.open("/away")
		away.want(ev(1))
		synctest.Wait()
		if err := h.srv.Drain(h.Context(), DrainOptions{Deadline: time.Minute}); err != nil {
			t.Error(err)
		}
		for _, c := range []*reading{idle, away} {
			b, err := io.ReadAll(c.Body)
			if rest := sentAwayFrom(t, string(b), sentAway); rest != "" || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
		}
		for _, l := range h.logs.FilterMessage("stream ended").All() {
			if got := l.ContextMap()["outcome"]; got != "drained" {
				t.Errorf("outcome %v", got)
			}
		}
	})
}

func TestTargets(t *testing.T) {
	o := answering(sends(ev(1), reset), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, sends(ev(2)))
	inHolding(t, `- {name: p, mode: hold, heartbeat: 0, health: {eject_after: 1}}`, o.serve, func(h *holding) {
		h.open("/").wantEnd(ev(1, 2))
		got := h.srv.Targets()
		want := []live.Target{
			{Policy: "p", Cluster: "cluster", Address: "10.0.0.1:80", State: "open", LastFailure: "reset", Successes: 1, Failures: 1, Ejections: 1},
			{Policy: "p", Cluster: "cluster", Address: "10.0.0.2:80", State: "open", LastFailure: "bad_status", Failures: 1, Ejections: 1},
			{Policy: "p", Cluster: "cluster", Address: "10.0.0.3:80", State: "closed", Successes: 1},
		}
		for i := range got {
			got[i].Seen, got[i].Until = time.Time{}, time.Time{}
		}
		if len(got) != len(want) {
			t.Fatalf("%+v", got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%+v, want %+v", got[i], want[i])
			}
		}
		h.wantMetric(1, "upstream_ejected", "10.0.0.1:80")
		h.wantMetric(0, "upstream_ejected", "10.0.0.3:80")
	})
}

// Envoy's end is not the hosts'.
func TestConnectionLossEjectsNobody(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, heartbeat: 0, health: {eject_after: 1}}`, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(UpstreamHeader, "cluster 10.0.0.1:80")
		mute(ev(1))(w, r)
	}, func(h *holding) {
		r := h.open("/")
		r.want(ev(1))
		_ = h.origin.Close() // with the connection
		elapse(time.Second)
		got := h.srv.Targets()
		if len(got) != 1 || got[0].Failures != 0 || got[0].State != "closed" {
			t.Errorf("%+v", got)
		}
		r.leave()
	})
}

// A response of OpenAI's Responses API has no ids, but numbers and a name.
func TestHoldOpenAIResponses(t *testing.T) {
	event := func(kind string, n int, more string) string {
		return fmt.Sprintf("event: %s\ndata: {\"type\":%q,\"sequence_number\":%d%s}\n\n", kind, kind, n, more)
	}
	created := event("response.created", 0, `,"response":{"id":"resp_1","background":true}`)
	delta := func(n int) string { return event("response.output_text.delta", n, `,"delta":"x"`) }
	done := event("response.completed", 4, "")
	asked := ""
	o := answering(sends(created+delta(1)+delta(2), reset), func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		sends(delta(3)+done)(w, r)
	})
	inHolding(t, `- {name: p, mode: hold, heartbeat: 0, complete_when: [{event: response.completed}]}`, o.serve, func(h *holding) {
		r := h.ask("POST", "/v1/responses", strings.NewReader(`{"stream":true,"background":true}`))
		r.wantEnd(created + delta(1) + delta(2) + delta(3) + done)
		if want := "/v1/responses/resp_1?stream=true&starting_after=2"; asked != want {
			t.Errorf("asked for %q, want %q", asked, want)
		}
		h.wantOutcome("resumed")
	})
}

// What is repeated in answer to the question whether that was all, and nothing else,
// counts for nothing: nobody but us has asked for it.
func TestHoldQuestionIsNotCounted(t *testing.T) {
	o := answering(sends(ev(1, 2)), sends(ev(1, 2)))
	inHolding(t, quiet, o.serve, func(h *holding) {
		h.open("/").wantEnd(ev(1, 2))
		line := h.ended()
		if line["outcome"] != "complete" || line["events"] != uint64(2) || line["duplicates"] != uint64(0) {
			t.Errorf("%v", line)
		}
		h.wantMetric(2, "events_total", "p")
		h.wantMetric(0, "duplicates_dropped_total", "p")
	})
	o = answering(sends(ev(1, 2)), sends(ev(1, 2, 3), reset), sends(ev(3, 4)))
	inHolding(t, quiet, o.serve, func(h *holding) {
		h.open("/").wantEnd(ev(1, 2, 3, 4))
		line := h.ended() // there was more: all of that has come
		if line["outcome"] != "resumed" || line["events"] != uint64(7) || line["duplicates"] != uint64(3) {
			t.Errorf("%v", line)
		}
		h.wantMetric(7, "events_total", "p")
		h.wantMetric(3, "duplicates_dropped_total", "p")
	})
}
