package e2e

import (
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// tooOld is a policy that wants responses held in the way that needs Envoy 1.37, or
// 1.40 for requests with a body, and an Envoy that is older.
func tooOld(t *testing.T, origin *harness.Origin) harness.Files {
	t.Helper()
	f := ownFiles(t, "holdfast-hold.yaml", "hold.yaml", origin,
		// What such an Envoy does not know in its configuration.
		"    per_connection_buffer_high_watermark_timeout: 300s\n", "",
		`relay: {listen: "unix:/run/holdfast/relay.sock"}`, "",
		"mode: auto", "mode: hold", "rollout: 5", "rollout: 100")
	f.Envoy = harness.OldEnvoy(t)
	return f
}

// TestEnvoyTooOldToHold: an Envoy that does not know streamed immediate responses is
// noticed by the first stream that is to be held this way. That one and all others are
// served, and the operator is told once what to do.
func TestEnvoyTooOldToHold(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := harness.ServeFiles(t, tooOld(t, origin))
	told := func() int { return strings.Count(s.Processor.Output(), "this Envoy is older than 1.37") }

	path := origin.Path("")
	whole := func(stream *harness.Stream, x *harness.Exchange) {
		t.Helper()
		x.Stream()
		x.Send(event("", "a"))
		stream.Want(t, event("", "a"))
		x.Send(event("", "b"))
		x.End()
		stream.WantBody(t, event("", "a")+event("", "b"))
	}
	stream := s.Get(t, path)
	first := origin.Accept(t, path) // ours, which Envoy does not take
	first.Stream()
	whole(stream, origin.Accept(t, path)) // its own
	first.WantGone(t)
	harness.Eventually(t, "a word for the operator", func() bool { return told() > 0 })

	// From then on nothing is asked for twice.
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		path := origin.Path("")
		whole(s.Open(t, path, harness.Request{Method: method}), origin.Accept(t, path))
		s.Processor.WantLog(t, map[string]string{"msg": "stream ended", "mode": "inline", "method": method, "outcome": "complete"})
		if n := len(origin.Requests(path)); n != 1 {
			t.Errorf("the origin saw %d requests by %s, want 1", n, method)
		}
	}
	if n := told(); n != 1 {
		t.Errorf("the operator is told %d times, want once", n)
	}
	s.Stop(t)
}

// TestEnvoyTooOldForPosts: nor is a body asked for, which such an Envoy would answer
// with an error, or a request made twice that may not be, even if it is the first of
// all.
func TestEnvoyTooOldForPosts(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := harness.ServeFiles(t, tooOld(t, origin))
	for _, body := range []string{"", `{"stream":true}`, `{"stream":true}`} {
		path := origin.Handle("", func(x *harness.Exchange) {
			x.ReadBody(t)
			x.Stream()
			x.Send(event("", "a"))
			x.End()
		})
		s.Open(t, path, harness.Request{Method: http.MethodPost, Body: body}).WantBody(t, event("", "a"))
		if n := len(origin.Requests(path)); n != 1 {
			t.Errorf("the origin saw %d requests with body %q, want 1", n, body)
		}
	}
	s.Processor.WantLog(t, map[string]string{"msg": "stream ended", "mode": "inline", "method": "POST", "outcome": "complete"})
	s.Stop(t)
}

// TestEnvoyIsKnown: once Envoy has said by its access log what it is, requests with a
// body are held as well.
func TestEnvoyIsKnown(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	f := tooOld(t, origin)
	f.Envoy = "" // but this one is not
	s := harness.ServeFiles(t, f)
	path := origin.Handle("", func(x *harness.Exchange) {
		if got := x.ReadBody(t); got != "a" {
			t.Errorf("the origin got %q", got)
		}
		x.Stream()
		x.Send(event("", "a"))
		x.End()
	})
	post := func() {
		t.Helper()
		s.Open(t, path, harness.Request{Method: http.MethodPost, Body: "a"}).WantBody(t, event("", "a"))
	}
	post()
	s.Processor.WantLog(t, map[string]string{"msg": "stream ended", "mode": "inline", "method": "POST", "outcome": "complete"})
	harness.Eventually(t, "a POST to be held", func() bool {
		post()
		return s.Metric(t, "holdfast_streams_total", "mode=hold", "outcome=complete") > 0
	})
	s.Stop(t)
}
