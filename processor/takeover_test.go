package processor

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"holdfast/processor/keyfile"
	"holdfast/processor/pass"
	"holdfast/processor/upstream"
	"holdfast/sessionstore/memory"
)

const inlined30 = `- {name: p, mode: inline, heartbeat: 0}`

// An inline stream that ends early goes on with what we fetch ourselves.
func TestTakeoverAfterEnd(t *testing.T) {
	o := answering(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/events?q=1" || r.Header.Get("Authorization") != "Bearer t" || r.Host != "example.test" {
			t.Errorf("%v %v", r.URL, r.Header)
		}
		sends(ev(3, 4))(w, r)
	})
	inHolding(t, inlined30, o.serve, func(h *holding) {
		e := h.stream("GET", "/events?q=1", "authorization: Bearer t")
		e.chunk(ev(1, 2) + "id: 3\nda")
		e.wantBody(ev(1, 2))
		e.end("")
		e.wantEndFetched(ev(3, 4))
		o.want(t, "GET 2", "GET 4")
		line := h.ended()
		if line["outcome"] != "resumed" || line["mode"] != "inline" || line["resumes"] != uint64(1) {
			t.Errorf("%v", line)
		}
		if n := h.dialer.Stats().Live; n != 0 {
			t.Errorf("%d fetches are open", n)
		}
	})
}

// wantEndFetched reads until the clean end of a body that we have fetched.
func (e *envoy) wantEndFetched(want string) {
	e.Helper()
	got := ""
	for {
		b, end := e.body()
		if got += b; !end {
			continue
		}
		if got != want {
			e.Errorf("%q, want %q", got, want)
		}
		e.leave() // as Envoy does with what has ended
		return
	}
}

func TestTakeoverConfirmsTheEnd(t *testing.T) {
	o := answering()
	inHolding(t, inlined30, o.serve, func(h *holding) {
		e := h.stream("GET", "/")
		e.chunk(ev(1))
		e.wantBody(ev(1))
		e.send(trailersMessage())
		if m := e.recv(); m.GetResponseTrailers() == nil {
			t.Errorf("want trailers, got %v", m)
		}
		e.leave()
		h.wantOutcome("complete")
		o.want(t, "GET 1")
	})
}

// A silent upstream is left for one that speaks. What it says after all is late.
func TestTakeoverAfterStall(t *testing.T) {
	o := answering(mute(ev(2)), sends(ev(3)))
	inHolding(t, inlined30, o.serve, func(h *holding) {
		e := h.stream("GET", "/")
		e.chunk(ev(1))
		e.wantBody(ev(1))
		begun := time.Now()
		e.wantBody(ev(2))
		if d := time.Since(begun); d != 30*time.Second {
			t.Errorf("after %v", d)
		}
		e.chunk("id: 9\ndata: late\n\n")
		e.nothing()
		e.end("")
		e.nothing()
		e.wantBody(ev(3)) // the fetch fell silent too
		e.wantEndFetched("")
		h.wantOutcome("resumed")
	})
}

func TestTakeoverClientLeaves(t *testing.T) {
	gone := make(chan struct{})
	o := answering(func(w http.ResponseWriter, r *http.Request) { mute(ev(2))(w, r); close(gone) })
	inHolding(t, inlined30, o.serve, func(h *holding) {
		e := h.stream("GET", "/")
		e.chunk(ev(1))
		e.wantBody(ev(1))
		e.end("")
		e.wantBody(ev(2))
		e.leave()
		<-gone
		h.wantOutcome("client_gone")
	})
}

// When Envoy resets its client, nothing can be done, whoever sends the bytes.
func TestTakeoverThenReset(t *testing.T) {
	o := answering(mute(ev(2)))
	inHolding(t, inlined30, o.serve, func(h *holding) {
		e := h.dial(reportedKey, "1").open("GET", "/")
		e.chunk(ev(1))
		e.wantBody(ev(1))
		e.wantBody(ev(2))
		id := h.srv.live.Snapshot(0, 1)[0].ID
		e.leave()
		synctest.Wait()
		h.logsEntry(id, &accesslogdata.ResponseFlags{UpstreamRemoteReset: true}, accesslogdata.AccessLogType_DownstreamEnd)
		h.wantOutcome("cut")
	})
}

// An attempt that is under way then has come to nothing, and is counted so.
func TestTakeoverAbandoned(t *testing.T) {
	o := answering(mute(""))
	inHolding(t, inlined30, o.serve, func(h *holding) {
		e := h.dial(reportedKey, "1").open("GET", "/")
		e.chunk(ev(1))
		e.wantBody(ev(1))
		elapse(40 * time.Second)
		id := h.srv.live.Snapshot(0, 1)[0].ID
		e.leave()
		synctest.Wait()
		h.logsEntry(id, &accesslogdata.ResponseFlags{UpstreamRemoteReset: true}, accesslogdata.AccessLogType_DownstreamEnd)
		h.wantOutcome("cut")
		h.wantMetric(1, "resumes_total", "p", "abandoned")
	})
}

// Nothing is fetched where nothing may be.
func TestNoTakeover(t *testing.T) {
	for _, policy := range []string{`- {name: p, mode: inline, resume: none}`, `- {name: p, mode: observe}`} {
		o := answering()
		inHolding(t, policy, o.serve, func(h *holding) {
			e := h.stream("GET", "/")
			e.chunk(ev(1))
			e.wantBody(ev(1))
			e.end("")
			e.wantEnd("")
			o.want(t)
		})
	}
}

// Our own fetch comes through a listener with the filter.
func TestWayBack(t *testing.T) {
	passes, err := pass.New([][]byte{keyfile.New()}, pass.Options{})
	if err != nil {
		t.Fatal(err)
	}
	inHolding(t, quiet, nil, func(h *holding) {
		claims := pass.Claims{Policy: "p", Method: "GET", Authority: "example.test", Path: "/"}
		token, err := passes.Sign(time.Now(), pass.Pass, claims)
		if err != nil {
			t.Fatal(err)
		}
		e := h.dial()
		// What it is marked with stays: it leads on to where its tries are seen.
		a := e.ask(requestMessage("GET", "/", pass.PassHeader+": "+token, upstream.PeekHeader+": p"))
		wantDisarmed(t, a)
		if a.GetModeOverride() == nil {
			t.Errorf("want to see no more, got %v", a)
		}
		e.wantClosed()
		h.wantMetric(1, "bypassed_total", "own_fetch")

		// The same again is a replay: it is stripped, and the request is like any other.
		if got := h.ticket("GET", "/", pass.PassHeader+": "+token); got == "" {
			t.Error("no ticket")
		}
		if n := h.logs.FilterMessageSnippet("a pass that does not hold").Len(); n != 1 {
			t.Errorf("%d complaints", n)
		}
	}, func(o *Options) { o.Passes = passes })
}

func wantDisarmed(t *testing.T, a *extproc.ProcessingResponse, also ...string) {
	t.Helper()
	c := a.GetRequestHeaders().GetResponse()
	removed := c.GetHeaderMutation().GetRemoveHeaders()
	if !slices.Equal(removed, append([]string{pass.TicketHeader, pass.PassHeader}, also...)) || !c.GetClearRouteCache() {
		t.Errorf("want our headers removed and the route chosen anew, got %v", a)
	}
}

// Whatever a policy does, a client's ticket leads nowhere.
func TestForgedTicket(t *testing.T) {
	for _, policy := range []string{
		`- {name: p, mode: off}`, inlined30, `- {name: p, mode: inline, rollout: 0}`, `- {name: p, match: {path_prefix: /x}}`,
	} {
		inHolding(t, policy, nil, func(h *holding) {
			e := h.dial()
			wantDisarmed(t, e.ask(requestMessage("GET", "/", pass.TicketHeader+": x")), upstream.PeekHeader)
			e.leave()
		})
	}
}

// A request that comes back to the one that fetched it is let through, and told of.
func TestLoop(t *testing.T) {
	var h *holding
	serve := func(w http.ResponseWriter, r *http.Request) {
		// The listener runs the filter, and goes on as it says.
		e := h.dial()
		if a := e.ask(requestMessage("GET", "/", upstream.HopsHeader+": "+r.Header.Get(upstream.HopsHeader))); a.GetModeOverride() == nil || a.GetRequestHeaders().GetResponse() != nil {
			t.Errorf("want to be let through, got %v", a)
		}
		e.wantClosed()
		beginEvents(w)
		say(w, "data: 1\n\n")
	}
	inHolding(t, quiet, func(w http.ResponseWriter, r *http.Request) { serve(w, r) }, func(made *holding) {
		h = made
		for range 3 {
			h.open("/").wantEnd("data: 1\n\n")
		}
		h.wantMetric(3, "bypassed_total", "loop")
		if n := h.logs.FilterMessageSnippet("came back to the filter").Len(); n != 1 {
			t.Errorf("%d complaints", n)
		}
	})
}

func TestAutoHolds(t *testing.T) {
	inHolding(t, `- {name: p, heartbeat: 0}`, nil, func(h *holding) {
		h.ticket("GET", "/")
		h.stream("POST", "/").leave()
		e := h.dial()
		m := requestMessage("GET", "/")
		m.GetRequestHeaders().Headers = headerList(":method: GET", ":authority: x", ":path: /", "accept: */*").GetHeaders()
		if a := e.ask(m); a.GetModeOverride() != nil {
			t.Errorf("want to go on, got %v", a)
		}
		e.leave()
	})
}

func TestRelayNeedsAWay(t *testing.T) {
	if _, err := NewServer(Options{Policies: compile(t, inline), Store: memory.New(memory.Options{}), Relay: true}); err == nil {
		t.Error("a relay without a way back")
	}
}
