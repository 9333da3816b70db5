package e2e

import (
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
)

const outcomeConfig = `
policies:
- name: chat
  match: {path_prefix: /chat/}
  complete_when:
  - {data: "[DONE]"}
  - {event: message_stop}
  - {json: {type: response.completed}}
- {name: plain}
`

// TestOutcomes: every stream ends as exactly one thing, and a stream that knows
// its last event does not pass off an early end as a success.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, outcomeConfig)
	run := func(name, policy, outcome string, prefix string, drive func(t *testing.T, x *harness.Exchange, s *harness.Stream)) {
		t.Run(name, func(t *testing.T) {
			before := gw.Metric(t, "holdfast_streams_total", "policy="+policy, "outcome="+outcome)
			all := gw.Metric(t, "holdfast_streams_total")
			path := origin.Path(prefix)
			s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
			x := origin.Accept(t, path)
			x.Stream()
			drive(t, x, s)
			gw.WantMetric(t, before+1, "holdfast_streams_total", "policy="+policy, "outcome="+outcome)
			if got := gw.Metric(t, "holdfast_streams_total"); got != all+1 {
				t.Errorf("the stream is counted %g times", got-all)
			}
			gw.WantLog(t, map[string]string{"policy": policy, "outcome": outcome, "path": path})
		})
	}
	ends := func(last string) func(*testing.T, *harness.Exchange, *harness.Stream) {
		return func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
			body := event("", "a") + last
			x.Send(body)
			s.Want(t, body)
			x.Finish(s)
			s.WantEnd(t)
		}
	}
	stopsShort := func(last string) func(*testing.T, *harness.Exchange, *harness.Stream) {
		return func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
			body := event("", "a") + last
			x.Send(body)
			s.Want(t, body)
			x.End()
			s.WantAbort(t)
		}
	}

	run("clean end", "plain", "complete", "", ends(""))
	run("last event by data", "chat", "complete", "/chat", ends("data: [DONE]\n\n"))
	run("last event by type", "chat", "complete", "/chat", ends("event: message_stop\ndata: {}\n\n"))
	run("last event by JSON", "chat", "complete", "/chat", ends("event: x\ndata: {\"n\":1,\"type\":\"response.completed\"}\n\n"))
	run("no last event", "chat", "cut", "/chat", stopsShort(""))
	run("nearly the last event", "chat", "cut", "/chat", stopsShort("data: [DONE] \n\ndata: {\"type\":\"response.created\"}\n\n"))
	// Some servers leave that line out, and their clients do not mind.
	run("last event without its blank line", "chat", "complete", "/chat", func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
		x.Send(event("", "a") + "data: [DONE]\n")
		s.Want(t, event("", "a"))
		x.Finish(s)
		s.Want(t, "data: [DONE]\n")
		s.WantEnd(t)
	})
	run("client leaves after the last event", "chat", "complete", "/chat", func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
		x.Send("data: [DONE]\n\n")
		s.Want(t, "data: [DONE]\n\n")
		s.Close()
		x.WantGone(t)
	})
	// To an ext_proc server this looks exactly as if the client had left; Envoy's
	// access log tells the two apart.
	for name, cut := range map[string]func(*harness.Exchange){"aborts": (*harness.Exchange).Abort, "resets": (*harness.Exchange).Reset} {
		run("origin "+name, "plain", "cut", "", func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
			x.Send(events(1, 1))
			s.Want(t, events(1, 1))
			cut(x)
			s.WantAbort(t)
		})
		run("origin "+name+" before the first byte", "plain", "cut", "", func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
			s.WantOpen(t)
			cut(x)
			s.WantAbort(t)
		})
	}
	run("client leaves", "plain", "client_gone", "", func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
		x.Send(events(1, 1))
		s.Want(t, events(1, 1))
		s.Close()
		x.WantGone(t)
	})
	run("client leaves before the first byte", "plain", "client_gone", "", func(t *testing.T, x *harness.Exchange, s *harness.Stream) {
		s.WantOpen(t)
		s.Close()
		x.WantGone(t)
	})
}

// TestUnmetEndIsAborted on every way an origin can end early and every protocol:
// what the origin ended cleanly, Envoy has to be made to abort.
func TestUnmetEndIsAborted(t *testing.T) {
	t.Parallel()
	// The origin ends just so whenever it is asked.
	config := ways(`, complete_when: [{data: "[DONE]"}], backoff: {base: 10ms, max: 20ms, retries: 3}`)
	everyProtocol(t, config, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, way string, protocol harness.Protocol) {
		for name, drive := range map[string]func(x *harness.Exchange){
			"before the first event": func(*harness.Exchange) {},
			"after an event":         func(x *harness.Exchange) { x.Send(events(1, 1)) },
			"in an event":            func(x *harness.Exchange) { x.Send(events(1, 1) + "data: [DO") },
			"with trailers":          func(x *harness.Exchange) { x.Send(events(1, 1)); x.Trailer("x-sum", "1") },
			"in an event, trailed":   func(x *harness.Exchange) { x.Send("data: [DO"); x.Trailer("x-sum", "1") },
		} {
			t.Run(name, func(t *testing.T) {
				path := origin.Handle(way, func(x *harness.Exchange) {
					x.Stream()
					drive(x)
				})
				s := gw.Open(t, path, harness.Request{Protocol: protocol})
				s.WantOpen(t)
				s.WantAbort(t)
			})
		}
	})
}

// TestLogSaysWhatHappened, once per stream, and never a credential.
func TestLogSaysWhatHappened(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	const secret = "s3cr3t-of-the-client"
	c := conversation{t: t, gw: gw, origin: origin, path: origin.Path("") + "?token=" + secret, header: []string{
		"authorization", "Bearer " + secret, "mcp-session-id", secret, "cookie", "session=" + secret,
	}}
	c.turn("", events(1, 3), events(1, 3))
	c.turn("3", events(1, 4), events(4, 4))
	path, _, _ := strings.Cut(c.path, "?")
	gw.WantLog(t, map[string]string{"path": path, "policy": "default", "mode": "hold", "outcome": "complete", "events": "3", "duplicates": "0"})
	gw.WantLog(t, map[string]string{"path": path, "outcome": "complete", "events": "4", "duplicates": "3"})

	for _, page := range []string{"/metrics", "/api/v1/sessions", "/api/v1/streams", "/api/v1/config"} {
		if _, body := gw.Fetch(t, page); strings.Contains(body, secret) {
			t.Errorf("%s shows a credential:\n%s", page, body)
		}
	}
	if log := gw.Output(); strings.Contains(log, secret) {
		t.Errorf("the log shows a credential")
	}
}
