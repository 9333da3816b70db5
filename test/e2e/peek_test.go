package e2e

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/test/harness"
)

// goodness is what the good host of two says.
var goodness = events(1, 3)

// badStarts are hosts that nobody is to see anything of.
func badStarts() map[string]func(*harness.Exchange) {
	stream := func(body string) func(*harness.Exchange) {
		return func(x *harness.Exchange) {
			x.Stream()
			x.Send(body)
			<-x.Gone()
		}
	}
	return map[string]func(*harness.Exchange){
		"first event is an error": stream("event: error\ndata: {\"message\":\"overloaded\"}\n\n"),
		"error after comments":    stream(": hello\n\nretry: 100\n\nevent: error\ndata: no\n\nid: 9\ndata: more\n\n"),
		"error and the end": func(x *harness.Exchange) {
			x.Stream()
			x.Send("event: error\ndata: no\n\n")
		},
		"error and trailers": func(x *harness.Exchange) {
			x.Stream()
			x.Send("event: error\ndata: no\n\n")
			x.Trailer("x-trailer", "1")
		},
		"never answers":      func(x *harness.Exchange) { <-x.Gone() },
		"no event":           stream(""),
		"nothing but a word": stream(": hello\n\n"),
		"status 500": func(x *harness.Exchange) {
			x.Answer(http.StatusInternalServerError, "content-type", "text/plain")
			x.Send("no")
		},
		"status 503, as a stream": func(x *harness.Exchange) {
			x.Answer(http.StatusServiceUnavailable, "content-type", "text/event-stream")
			x.Send("event: error\ndata: no\n\n")
		},
		"JSON": func(x *harness.Exchange) {
			x.Answer(http.StatusOK, "content-type", "application/json")
			x.Send(`{"error":"no"}`)
		},
	}
}

// seen is a policy by which the first event decides, and silence soon.
const seen = `retry_when: [{event: error}], health: {connect_timeout: 400ms, eject_after: 0}, heartbeat: 0s, resume: none`

// bothModes holds what is below /held, and lets the rest run inline.
const bothModes = "policies:\n- {name: held, match: {path_prefix: /held}, mode: hold, " + seen + "}\n- {name: inline, mode: inline, " + seen + "}\n"

// TestOnlyTheGoodHostIsSeen: of two hosts one begins badly, in every way there is.
func TestOnlyTheGoodHostIsSeen(t *testing.T) {
	t.Parallel()
	for name, bad := range badStarts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyPair(t, bothModes,
				func(t *testing.T, pair *pair, client harness.Protocol) {
					for _, prefix := range []string{"/held", "/inline"} {
						path := pair.handle(prefix, bad)
						asked := 0
						for n := 0; n < 40 && asked == 0; n++ {
							s := pair.gw.Open(t, path, harness.Request{Protocol: client})
							s.WantBody(t, goodness)
							wantNothingOfOurs(t, s.Response(t))
							asked = len(pair.bad.Requests(path))
						}
						if asked == 0 {
							t.Error("the bad host was never asked")
						}
					}
				})
		})
	}
}

func wantNothingOfOurs(t *testing.T, r *http.Response) {
	t.Helper()
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Holdfast-") || strings.HasPrefix(name, "X-Envoy-") {
			t.Errorf("the client got %s", name)
		}
	}
}

// pair is two hosts behind one gateway, of which one is bad.
type pair struct {
	good, bad *harness.Origin
	gw        *harness.Gateway
}

func newPair(t *testing.T, h2 bool, config string) *pair {
	t.Helper()
	p := &pair{good: harness.NewOrigin(t), bad: harness.NewOrigin(t)}
	url := func(o *harness.Origin) string {
		if h2 {
			return o.H2URL()
		}
		return o.URL
	}
	p.gw = harness.Run(t, url(p.bad), config, "--upstream", url(p.good))
	return p
}

// handle makes a path that is there on both: the paths of origins are numbered,
// and nothing else makes any here.
func (p *pair) handle(prefix string, bad func(*harness.Exchange)) string {
	p.bad.Handle(prefix, bad)
	return p.good.Body(prefix, goodness)
}

// everyPair runs a test with HTTP/1.1 on both sides, and with HTTP/2. Each has a
// gateway of its own: after five bad answers Envoy itself would leave a host alone.
func everyPair(t *testing.T, config string, test func(t *testing.T, p *pair, client harness.Protocol)) {
	t.Helper()
	for _, protocol := range []harness.Protocol{harness.H1, harness.H2} {
		t.Run(string(protocol), func(t *testing.T) {
			test(t, newPair(t, protocol == harness.H2, config), protocol)
		})
	}
}

// TestHostIsLostWhileAnotherLives: a host that dies in the middle of streams, and
// then answers with errors, is made up for by the other one.
func TestHostIsLostWhileAnotherLives(t *testing.T) {
	t.Parallel()
	everyPair(t, "policies:\n- {name: default, mode: hold, retry_when: [{event: error}], heartbeat: 0s, backoff: {base: 20ms, max: 200ms, retries: 50}}\n",
		func(t *testing.T, p *pair, client harness.Protocol) {
			path := p.bad.Path("")
			p.good.Path("")
			s := p.gw.Open(t, path, harness.Request{Protocol: client})
			lost, other := p.bad, p.good
			var x *harness.Exchange
			select {
			case x = <-p.bad.Accepts(path):
			case x = <-p.good.Accepts(path):
				lost, other = p.good, p.bad
			}
			x.Stream()
			x.Send(events(1, 2))
			s.Want(t, events(1, 2))
			lost.Replace(path, func(x *harness.Exchange) {
				x.Stream()
				x.Send("event: error\ndata: starting\n\n")
			})
			x.Abort()
			x = resumed(t, other, path, "2")
			x.Stream()
			x.Send(events(3, 4))
			s.Want(t, events(3, 4))
			finish(t, other, path, "4", x, s)
		})
}

// TestPostIsRepeatedWhereAllowed: retry_when in a policy for POST is what allows it.
func TestPostIsRepeatedWhereAllowed(t *testing.T) {
	t.Parallel()
	everyPair(t, "policies:\n- {name: may, match: {path_prefix: /may, methods: [POST]}, "+seen+"}\n- {name: held, match: {path_prefix: /held, methods: [POST]}, mode: hold, "+seen+"}\n- {name: not, heartbeat: 0s}\n",
		func(t *testing.T, p *pair, client harness.Protocol) {
			refuse := func(x *harness.Exchange) {
				x.Stream()
				x.Send("event: error\ndata: overloaded\n\n")
			}
			ask := func(path string) *harness.Stream {
				return p.gw.Open(t, path, harness.Request{
					Method: http.MethodPost, Protocol: client, Body: `{"stream":true}`, Header: []string{"accept", "application/json"},
				})
			}
			for _, prefix := range []string{"/may", "/held"} {
				path := p.handle(prefix, refuse)
				for n := 0; n < 40 && len(p.bad.Requests(path)) == 0; n++ {
					ask(path).WantBody(t, goodness)
				}
				if len(p.bad.Requests(path)) == 0 {
					t.Errorf("%s: the bad host was never asked", prefix)
				}
			}
			path := p.handle("/not", refuse)
			for range 40 {
				if body, err := ask(path).All(t); err != nil {
					t.Fatal(err)
				} else if body != goodness {
					return // what the first one said is what the client gets
				}
			}
			t.Error("a POST was made again, although nobody allowed it")
		})
}

// TestEveryHostIsBad: then the client gets what a host says, as without us.
func TestEveryHostIsBad(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(*harness.Exchange){
		"error": func(x *harness.Exchange) {
			x.Stream()
			x.Send("event: error\ndata: overloaded\n\n")
		},
		"status": func(x *harness.Exchange) {
			x.Answer(http.StatusInternalServerError, "content-type", "text/plain")
			x.Send("it is me")
		},
		"JSON": func(x *harness.Exchange) {
			x.Answer(http.StatusOK, "content-type", "application/json")
			x.Send(`{"it":"is me"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyPair(t, bothModes,
				func(t *testing.T, p *pair, client harness.Protocol) {
					for _, prefix := range []string{"/held", "/inline"} {
						p.bad.Handle(prefix, bad)
						path := p.good.Handle(prefix, bad)
						got := p.gw.Open(t, path, harness.Request{Protocol: client})
						body, err := got.All(t)
						if err != nil || body == "" || body == "event: error" {
							t.Errorf("%s: got %q, %v", prefix, body, err)
						}
						if want := map[string]int{"error": 200, "status": 500, "JSON": 200}[name]; got.Response(t).StatusCode != want {
							t.Errorf("%s: status %d, want %d", prefix, got.Response(t).StatusCode, want)
						}
						wantNothingOfOurs(t, got.Response(t))
						if n := len(p.bad.Requests(path)) + len(p.good.Requests(path)); n != 3 {
							t.Errorf("%s: the hosts were asked %d times, want 3", prefix, n)
						}
					}
				})
		})
	}
}

// TestEjectedHostRecovers: a host that begins badly three times is left alone, and
// after its time is up it is tried, and used again. It is our own judgement: Envoy
// itself leaves a host alone after five refusals in a row, which are not reached.
func TestEjectedHostRecovers(t *testing.T) {
	t.Parallel()
	p := newPair(t, false, "policies:\n- {name: default, mode: hold, retry_when: [{event: error}], heartbeat: 0s, resume: none, health: {eject_after: 3, eject_for: 3s, check_interval: 100ms}}\n")
	var mended atomic.Bool
	path := p.handle("", func(x *harness.Exchange) {
		x.Stream()
		if mended.Load() {
			x.Send(goodness)
		} else {
			x.Send("event: error\ndata: no\n\n")
		}
	})
	target := strings.TrimPrefix(p.bad.URL, "http://")
	state := func() string {
		var got struct {
			Targets []struct {
				Policy, Cluster, Address, State string
				LastFailure                     string `json:"last_failure"`
			}
		}
		p.gw.FetchJSON(t, "/api/v1/targets", &got)
		for _, x := range got.Targets {
			if x.Address == target {
				if x.Policy != "default" || x.Cluster != "upstream" || x.LastFailure != "bad_start" {
					t.Errorf("the target is shown as %+v", x)
				}
				return x.State
			}
		}
		return ""
	}
	harness.Eventually(t, "the host to be ejected", func() bool {
		p.gw.Get(t, path).WantBody(t, goodness)
		return state() == "open"
	})
	if n := len(p.bad.Requests(path)); n != 3 {
		t.Errorf("it was ejected after %d requests, want 3", n)
	}
	if n := p.gw.Metric(t, "holdfast_upstream_ejected", "target="+target); n != 1 {
		t.Errorf("holdfast_upstream_ejected is %v", n)
	}
	refused := func() float64 { return p.gw.Metric(t, "holdfast_envoy_retries_total", "reason=ejected") }
	for state() == "open" && refused() == 0 {
		p.gw.Get(t, path).WantBody(t, goodness)
	}
	if refused() != 1 {
		t.Errorf("%v answers of the ejected host were refused, want 1", refused())
	}
	harness.Eventually(t, "the ejection to be over", func() bool { return state() == "half_open" })
	mended.Store(true)
	harness.Eventually(t, "the host to be used again", func() bool {
		p.gw.Get(t, path).WantBody(t, goodness)
		return state() == "closed"
	})
	if n := p.gw.Metric(t, "holdfast_upstream_ejected", "target="+target); n != 0 {
		t.Errorf("holdfast_upstream_ejected is %v", n)
	}
}
