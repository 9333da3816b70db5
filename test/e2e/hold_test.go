package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// quick makes what hold mode waits for short, and leaves out heartbeats so that
// bytes can be compared.
const quick = `
policies:
- {name: default, heartbeat: 0s, backoff: {base: 20ms, max: 200ms, retries: 50}}
`

// resumed accepts the next request of a stream and wants it to go on behind the
// event with this id.
func resumed(t *testing.T, origin *harness.Origin, path, id string) *harness.Exchange {
	t.Helper()
	x := origin.Accept(t, path)
	if got := x.Request.Header.Get("last-event-id"); got != id {
		t.Fatalf("the stream is resumed behind event %q, want %q", got, id)
	}
	return x
}

// finish ends a stream for good: the end is believed when the origin has nothing
// more.
func finish(t *testing.T, origin *harness.Origin, path, id string, x *harness.Exchange, s *harness.Stream) {
	t.Helper()
	x.End()
	resumed(t, origin, path, id).Answer(http.StatusNoContent)
	s.WantEnd(t)
}

// everyWay runs a test for upstreams and clients on HTTP/1.1 and HTTP/2.
func everyWay(t *testing.T, config string, test func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol)) {
	t.Helper()
	for _, up := range []string{"http/1.1", "h2c"} {
		t.Run("upstream "+up, func(t *testing.T) {
			t.Parallel()
			origin := harness.NewOrigin(t)
			url := origin.URL
			if up == "h2c" {
				url = origin.H2URL()
			}
			gw := harness.Run(t, url, config)
			for _, client := range []harness.Protocol{harness.H1, harness.H2} {
				t.Run("client "+string(client), func(t *testing.T) { test(t, origin, gw, client) })
			}
		})
	}
}

// TestLargeHeaderHarmsNobody: a request that Envoy's HTTP/2 codec would not take a second
// time goes through, and costs nobody else a stream.
func TestLargeHeaderHarmsNobody(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("")
		s := gw.Open(t, path, harness.Request{Protocol: client})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send("data: a\n\n") // without ids: what is cut is lost
		s.Want(t, "data: a\n\n")
		for _, header := range [][]string{
			{"X-Large", strings.Repeat("x", 48<<10)},
			{"X-Large", strings.Repeat("x", 58<<10)},
			{"X-Large", strings.Repeat("+", 64<<10)},
			{"X-1", strings.Repeat("+", 50<<10), "X-2", strings.Repeat("+", 50<<10), "X-3", strings.Repeat("+", 50<<10)},
		} {
			large := origin.Path("")
			other := gw.Open(t, large, harness.Request{Protocol: client, Header: header})
			y := origin.Accept(t, large)
			y.Stream()
			y.Send("data: large\n\n")
			other.Want(t, "data: large\n\n")
			y.End()
			other.WantEnd(t)
		}
		x.Send("data: b\n\n")
		s.Want(t, "data: b\n\n")
		x.End()
		s.WantEnd(t)
	})
}

// TestHeldThroughFailures: whatever happens to the upstream, the client keeps one
// connection and gets every event once.
func TestHeldThroughFailures(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		for name, fail := range map[string]func(*harness.Exchange){
			"reset":           (*harness.Exchange).Reset,
			"abort":           (*harness.Exchange).Abort,
			"clean early end": (*harness.Exchange).End,
		} {
			t.Run(name, func(t *testing.T) {
				path := origin.Path("")
				s := gw.Open(t, path, harness.Request{Protocol: client})
				x := origin.Accept(t, path)
				x.Stream()
				x.Send(events(1, 3))
				s.Want(t, events(1, 3))
				fail(x)
				// The first that is resumed sends again what the client has.
				x = resumed(t, origin, path, "3")
				x.Stream()
				x.Send(events(2, 5))
				s.Want(t, events(4, 5))
				fail(x)
				x = resumed(t, origin, path, "5")
				x.Stream()
				x.Send(events(6, 6))
				s.Want(t, events(6, 6))
				finish(t, origin, path, "6", x, s)
			})
		}
		t.Run("inside an event", func(t *testing.T) {
			path := origin.Path("")
			s := gw.Open(t, path, harness.Request{Protocol: client})
			x := origin.Accept(t, path)
			x.Stream()
			x.Send(events(1, 3) + "id: 4\ndata: ev")
			s.Want(t, events(1, 3))
			x.Abort()
			x = resumed(t, origin, path, "3")
			x.Stream()
			x.Send(events(4, 5))
			s.Want(t, events(4, 5))
			finish(t, origin, path, "5", x, s)
		})
		t.Run("status 503 for a while", func(t *testing.T) {
			path := origin.Path("")
			s := gw.Open(t, path, harness.Request{Protocol: client})
			x := origin.Accept(t, path)
			x.Stream()
			x.Send(events(1, 1))
			s.Want(t, events(1, 1))
			x.Abort()
			for range 3 {
				x = resumed(t, origin, path, "1")
				x.Answer(http.StatusServiceUnavailable)
				x.End()
			}
			x = resumed(t, origin, path, "1")
			x.Stream()
			x.Send(events(2, 2))
			s.Want(t, events(2, 2))
			finish(t, origin, path, "2", x, s)
		})
	})
}

// TestHeldThroughRestarts: an origin that is gone and comes back.
func TestHeldThroughRestarts(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("")
		s := gw.Open(t, path, harness.Request{Protocol: client})
		x := origin.Accept(t, path)
		const restarts = 20
		for n := 1; n <= restarts; n++ {
			x.Stream()
			x.Send(events(n, n))
			s.Want(t, events(n, n))
			before := gw.Metric(t, "holdfast_envoy_retries_total")
			origin.Down()
			// It stays away until it was asked for in vain more than once.
			harness.Eventually(t, "attempts to resume", func() bool {
				return gw.Metric(t, "holdfast_envoy_retries_total") >= before+2
			})
			origin.Up(t)
			x = resumed(t, origin, path, fmt.Sprint(n))
		}
		x.Stream()
		x.Send(events(restarts+1, restarts+1))
		s.Want(t, events(restarts+1, restarts+1))
		finish(t, origin, path, fmt.Sprint(restarts+1), x, s)
	})
}

// TestHeldThroughStall: an upstream that is silent for too long is asked again.
func TestHeldThroughStall(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, `
policies:
- {name: default, heartbeat: 0s, health: {idle_timeout: 300ms, check_interval: 50ms}}
`)
	path := origin.Path("")
	s := gw.Get(t, path)
	silent := origin.Accept(t, path)
	silent.Stream()
	silent.Send(events(1, 2))
	s.Want(t, events(1, 2))
	x := resumed(t, origin, path, "2")
	x.Stream()
	x.Send(events(3, 4))
	s.Want(t, events(3, 4))
	silent.WantGone(t)
	gw.WantMetric(t, 1, "holdfast_envoy_retries_total", "reason=stall")
	finish(t, origin, path, "4", x, s)
}

// TestHeartbeatsWhileAway: the client hears from us while nobody is behind us.
func TestHeartbeatsWhileAway(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "policies:\n- {name: default, heartbeat: 50ms, backoff: {base: 20ms, max: 100ms, retries: 1000}}\n")
	path := origin.Path("")
	s := gw.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 1))
	s.Want(t, events(1, 1))
	origin.Down()
	clock{s}.tick(t, 6)
	origin.Up(t)
	x = resumed(t, origin, path, "1")
	x.Stream()
	x.Send(events(2, 2))
	rest := s.WantUntil(t, events(2, 2))
	if other := withoutHeartbeats(strings.TrimSuffix(rest, events(2, 2))); other != "" {
		t.Errorf("between the events the client got %q", other)
	}
	s.Close()
}

// TestUnresumableStreamsAreCut: without ids nothing can be taken up again, and the
// client is told so.
func TestUnresumableStreamsAreCut(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		before := gw.Metric(t, "holdfast_streams_total", "mode=hold", "outcome=cut")
		path := origin.Path("")
		s := gw.Open(t, path, harness.Request{Protocol: client})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(event("", "a") + event("", "b"))
		s.Want(t, event("", "a")+event("", "b"))
		x.Abort()
		s.WantAbort(t)
		gw.WantMetric(t, before+1, "holdfast_streams_total", "mode=hold", "outcome=cut")
		if n := len(origin.Requests(path)); n != 1 {
			t.Errorf("the origin saw %d requests, want 1", n)
		}
	})
}

// TestHeldRequestsAreTheClients: the origin sees the request that the client made,
// once more, and nothing of ours.
func TestHeldRequestsAreTheClients(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("/a%2Fb//c")
		s := gw.Open(t, path+"?q=%20&q=//", harness.Request{Protocol: client, Header: []string{
			"authorization", "Bearer secret", "x-request-id", "client-chose-this", "x-custom", "Ä",
			"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate", "vendor=a,other=b", "baggage", "user=1",
			// Forged: they must neither lead anywhere nor arrive.
			"x-holdfast-ticket", "forged", "x-holdfast-pass", "forged", "x-holdfast-hops", "forged", "x-holdfast-peek", "default",
		}})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(events(1, 1))
		s.Want(t, events(1, 1))
		x.Abort()
		x = resumed(t, origin, path, "1")
		x.Stream()
		x.Send(events(2, 2))
		s.Want(t, events(2, 2))
		finish(t, origin, path, "2", x, s)

		host := strings.TrimPrefix(gw.URL, "http://")
		for i, r := range origin.Requests(path) {
			if r.RequestURI != path+"?q=%20&q=//" || r.Host != host || r.Method != http.MethodGet {
				t.Errorf("request %d is %s %s%s", i, r.Method, r.Host, r.RequestURI)
			}
			for name, want := range map[string]string{
				"authorization": "Bearer secret", "x-request-id": "client-chose-this", "x-custom": "Ä",
				"accept": "text/event-stream", "accept-encoding": "identity",
				"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=a,other=b", "baggage": "user=1",
			} {
				if got := strings.Join(r.Header.Values(name), ","); got != want {
					t.Errorf("request %d has %s: %q, want %q", i, name, got, want)
				}
			}
			// It passes through Envoy twice, and is noted once.
			if from := r.Header.Values("x-forwarded-for"); len(from) != 1 || strings.Contains(from[0], ",") {
				t.Errorf("request %d is from %q", i, from)
			}
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Holdfast-") {
					t.Errorf("request %d has %s", i, name)
				}
			}
		}
	})
}

// TestClientLeavingCancelsHeld: at once, and nothing is asked of the origin after.
func TestClientLeavingCancelsHeld(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("")
		s := gw.Open(t, path, harness.Request{Protocol: client})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(events(1, 1))
		s.Want(t, events(1, 1))
		s.Close()
		x.WantGone(t)
		gw.WantIdle(t)

		// Before there is an answer, too.
		path = origin.Path("")
		s = gw.Open(t, path, harness.Request{Protocol: client})
		x = origin.Accept(t, path)
		s.Close()
		x.WantGone(t)
		gw.WantIdle(t)
		if n := len(origin.Requests(path)); n != 1 {
			t.Errorf("the origin saw %d requests, want 1", n)
		}
	})
}

// TestNoStreamIsRelayedAsItIs: what asks for an event stream and gets something
// else gets just that.
func TestNoStreamIsRelayedAsItIs(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		large := strings.Repeat("0123456789abcdef", 1<<16)
		for name, c := range map[string]struct {
			status int
			header []string
			body   string
		}{
			"error":        {http.StatusTeapot, []string{"content-type", "application/json", "x-why", "because"}, `{"error":1}`},
			"redirect":     {http.StatusFound, []string{"location", "/elsewhere?x=1"}, ""},
			"JSON":         {http.StatusOK, []string{"content-type", "application/json", "set-cookie", "a=1", "set-cookie", "b=2"}, `{"a":1}`},
			"no content":   {http.StatusNoContent, nil, ""},
			"download":     {http.StatusOK, []string{"content-type", "application/octet-stream"}, large},
			"error stream": {http.StatusInternalServerError, []string{"content-type", "text/event-stream"}, events(1, 2)},
			"encoded":      {http.StatusOK, []string{"content-type", "text/event-stream", "content-encoding", "br"}, "\x00\x01\x02"},
		} {
			t.Run(name, func(t *testing.T) {
				path := origin.Handle("", func(x *harness.Exchange) {
					x.Answer(c.status, c.header...)
					x.Send(c.body)
					if c.body != "" {
						x.Trailer("x-trailer", "at the end")
					}
				})
				s := gw.Open(t, path, harness.Request{Protocol: client, Header: []string{"te", "trailers"}})
				got := s.Response(t)
				s.WantBody(t, c.body)
				if got.StatusCode != c.status {
					t.Errorf("status %d, want %d", got.StatusCode, c.status)
				}
				want := http.Header{}
				for i := 0; i+1 < len(c.header); i += 2 {
					want.Add(c.header[i], c.header[i+1])
				}
				for name, values := range want {
					if fmt.Sprint(got.Header[name]) != fmt.Sprint(values) {
						t.Errorf("%s: %q, want %q", name, got.Header[name], values)
					}
				}
				for name := range got.Header {
					if strings.HasPrefix(name, "X-Holdfast-") || strings.HasPrefix(name, "X-Envoy-") {
						t.Errorf("the client got %s", name)
					}
				}
				if c.body != "" && got.Trailer.Get("x-trailer") != "at the end" {
					t.Errorf("trailers %v", got.Trailer)
				}
				if n := len(origin.Requests(path)); n != 1 {
					t.Errorf("the origin saw %d requests, want 1", n)
				}
			})
		}
		t.Run("broken off", func(t *testing.T) {
			path := origin.Handle("", func(x *harness.Exchange) {
				x.Answer(http.StatusOK, "content-type", "application/octet-stream")
				x.Send("half")
				x.Abort()
			})
			s := gw.Open(t, path, harness.Request{Protocol: client})
			s.Want(t, "half")
			s.WantAbort(t)
		})
	})
}

// TestPostsStayInline: auto holds what may be asked for again.
func TestPostsStayInline(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("")
		s := gw.Open(t, path, harness.Request{Protocol: client, Method: http.MethodPost, Body: `{"stream":true}`})
		x := origin.Accept(t, path)
		if body := x.ReadBody(t); body != `{"stream":true}` {
			t.Errorf("the origin got %q", body)
		}
		x.Stream()
		x.Send(event("", "a"))
		s.Want(t, event("", "a"))
		gw.WantMetric(t, 1, "holdfast_streams_active", "mode=inline")
		x.End()
		s.WantEnd(t)
	})
}

// TestTermEndsHeldStreams: a held stream ends between two events, also one whose
// upstream is away at that moment.
func TestTermEndsHeldStreams(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, now+quick)
	path := origin.Path("")
	s := gw.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 2))
	s.Want(t, events(1, 2))
	before := gw.Metric(t, "holdfast_envoy_retries_total")
	origin.Down()
	harness.Eventually(t, "an attempt to resume", func() bool {
		return gw.Metric(t, "holdfast_envoy_retries_total") > before
	})
	gw.Stop(t)
	body, err := s.All(t)
	if got, hint := sentAway(body); got != events(1, 2) || hint == "" || err != nil {
		t.Errorf("the client got %q, %v", body, err)
	}
}
