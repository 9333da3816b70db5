package e2e

import (
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
)

const kept = `
policies:
- {name: chat, match: {path_prefix: /chat/}, mode: hold, ids: sealed, detach: 1m, heartbeat: 0s, complete_when: [{data: "[DONE]"}]}
- {name: proof, match: {path_prefix: /proof/}, mode: hold, via: immediate, heartbeat: 150ms}
- {name: direct, match: {path_prefix: /direct/}, mode: hold, via: immediate, ids: sealed, detach: 1m, heartbeat: 0s, complete_when: [{data: "[DONE]"}]}
- {name: inline, match: {path_prefix: /inline/}, mode: inline, ids: sealed, heartbeat: 0s, complete_when: [{data: "[DONE]"}]}
- {name: inline-direct, match: {path_prefix: /inline-direct/}, mode: inline, via: immediate, ids: sealed, heartbeat: 0s, complete_when: [{data: "[DONE]"}]}
- {name: default, heartbeat: 0s}
`

// proveImmediate has one immediate response last for a while: a first one that ends at
// once looks as if this Envoy knew none.
func proveImmediate(t *testing.T, origin *harness.Origin, open func(tb testing.TB, path string, r harness.Request) *harness.Stream, gone func() bool) {
	t.Helper()
	path := origin.Path("/proof")
	s := open(t, path, harness.Request{})
	x := origin.Accept(t, path)
	x.Stream()
	s.WantUntil(t, ":")
	s.Close()
	x.WantGone(t)
	harness.Eventually(t, "the stream to end", gone)
}

// TestDetachedStreamGoesOn: the answer to a POST, as language models give it, without
// any ids. Its client's connection breaks, the model goes on, and the client goes on
// where it was: with the same request, or a GET.
func TestDetachedStreamGoesOn(t *testing.T) {
	t.Parallel()
	everyWay(t, kept, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		proveImmediate(t, origin, gw.Open, func() bool { return gw.Metric(t, "holdfast_streams_active") == 0 })
		for _, c := range [][2]string{
			{"/chat", http.MethodPost},
			{"/chat", http.MethodGet},
			{"/direct", http.MethodPost},
			{"/direct", http.MethodGet},
		} {
			prefix, method := c[0], c[1]
			t.Run(prefix[1:]+", back by "+method, func(t *testing.T) {
				path := origin.Path(prefix)
				s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: `{"stream":true}`, Protocol: client, Header: []string{"authorization", "A"}})
				x := origin.Accept(t, path)
				if got := x.ReadBody(t); got != `{"stream":true}` {
					t.Errorf("the origin got %q", got)
				}
				x.Stream("x-model", "m")
				x.Send(bare(1, 3))
				ids := takeSealed(t, s, "event 3", bare(1, 3))
				s.Close()
				x.Send(bare(4, 6))

				back := func(id string) *harness.Stream {
					return gw.Open(t, path, harness.Request{Method: method, Protocol: client, Header: []string{"authorization", "A", "last-event-id", id}})
				}
				s, second := back(ids[1]), back(ids[0])
				if got := s.Response(t).Header.Get("x-model"); got != "m" {
					t.Errorf("x-model is %q", got)
				}
				takeSealed(t, s, "event 6", bare(3, 6))
				takeSealed(t, second, "event 6", bare(2, 6))
				second.Close()
				x.Send(bare(7, 7))
				ids = takeSealed(t, s, "event 7", bare(7, 7))
				x.Send("data: [DONE]\n\n")
				x.End()
				takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")
				s.WantEnd(t)

				// Whoever lost the end of it gets that.
				s = back(ids[0])
				takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")
				s.WantEnd(t)
				if n := len(origin.Requests(path)); n != 1 {
					t.Errorf("the origin was asked %d times", n)
				}
			})
		}
	})
}

// TestInlineStreamComesBack: an answer to a POST without any ids, that Envoy gives its
// client itself. A GET of the path brings what the client has missed, with its end, and
// what broke off is not passed off as whole.
func TestInlineStreamComesBack(t *testing.T) {
	t.Parallel()
	everyWay(t, kept, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		for _, prefix := range []string{"/inline", "/inline-direct"} {
			t.Run(prefix[1:], func(t *testing.T) {
				path := origin.Path(prefix)
				ask := func() (*harness.Stream, *harness.Exchange) {
					s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}", Protocol: client})
					x := origin.Accept(t, path)
					x.Stream("x-model", "m")
					x.Send(bare(1, 3))
					return s, x
				}
				back := func(id string) *harness.Stream {
					s := gw.Open(t, path, harness.Request{Protocol: client, Header: []string{"last-event-id", id}})
					if got := s.Response(t).Header.Get("x-model"); got != "m" {
						t.Errorf("x-model is %q", got)
					}
					return s
				}
				s, x := ask()
				ids := takeSealed(t, s, "event 3", bare(1, 3))
				s.Close()
				x.WantGone(t)
				s = back(ids[0])
				takeSealed(t, s, "event 3", bare(2, 3))
				s.WantAbort(t)

				s, x = ask()
				ids = takeSealed(t, s, "event 3", bare(1, 3))
				x.Send("data: [DONE]\n\n")
				x.End()
				ids = append(ids, takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")...)
				s.WantEnd(t)
				s = back(ids[1])
				takeSealed(t, s, "event 3", bare(3, 3))
				takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")
				s.WantEnd(t)
				s = gw.Open(t, path, harness.Request{Protocol: client, Header: []string{"last-event-id", ids[3]}})
				if got := s.Response(t).StatusCode; got != http.StatusNoContent {
					t.Errorf("who has everything got %d", got)
				}
			})
		}
	})
}

// TestReplayedStreamThatBrokeOff: what the origin did not finish does not look
// finished to who comes back for it.
func TestReplayedStreamThatBrokeOff(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, kept)
	for _, prefix := range []string{"/chat", "/direct", "/inline"} {
		path := origin.Path(prefix)
		s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(bare(1, 2))
		ids := takeSealed(t, s, "event 2", bare(1, 2))
		x.Abort()
		s.WantAbort(t)
		s = gw.Get(t, path, "last-event-id", ids[0])
		takeSealed(t, s, "event 2", bare(2, 2))
		s.WantAbort(t)
	}
}

// TestThousandMissedEvents come back in order, each once.
func TestThousandMissedEvents(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, strings.ReplaceAll(kept, "detach: 1m", "detach: 1m, replay: {events: 1001}"))
	path := origin.Path("/chat")
	s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(bare(1, 1))
	id := takeSealed(t, s, "event 1", bare(1, 1))[0]
	s.Close()
	x.Send(bare(2, 1001))
	x.Send("data: [DONE]\n\n")
	x.End()
	s = gw.Get(t, path, "last-event-id", id)
	ids := takeSealed(t, s, "event 1001", bare(2, 1001))
	takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")
	s.WantEnd(t)
	if len(ids) != 1000 {
		t.Errorf("%d ids", len(ids))
	}
}

const gaps = `
policies:
- {name: inline, match: {path_prefix: /inline/}, mode: inline, ids: sealed, gap_event: missed, heartbeat: 0s}
- {name: direct, match: {path_prefix: /direct/}, mode: hold, via: immediate, ids: sealed, gap_event: missed, detach: 1m, heartbeat: 0s, replay: {events: 3}}
- {name: proof, match: {path_prefix: /proof/}, mode: hold, via: immediate, heartbeat: 150ms}
- {name: relay, mode: hold, ids: sealed, gap_event: missed, detach: 1m, heartbeat: 0s, replay: {events: 3}}
`

// TestGapIsTold: events that fell out of the log, and those that an origin without ids
// sent while nobody listened, are gone; their client is told, once, where they were.
func TestGapIsTold(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, gaps)
	proveImmediate(t, origin, gw.Open, func() bool { return gw.Metric(t, "holdfast_streams_active") == 0 })
	const gap = "event: missed\ndata: \n\n"
	for _, prefix := range []string{"", "/direct"} {
		path := origin.Path(prefix)
		s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(bare(1, 2))
		ids := takeSealed(t, s, "event 2", bare(1, 2))
		x.Send(bare(3, 8))
		takeSealed(t, s, "event 8", bare(3, 8))
		s.Close()
		s = gw.Get(t, path, "last-event-id", ids[0])
		takeSealed(t, s, "event 8", gap+bare(6, 8))
		x.Send(bare(9, 9))
		takeSealed(t, s, "event 9", bare(9, 9))
		x.End()
		s.WantEnd(t)
		gw.WantLog(t, map[string]string{"path": path, "outcome": "gap"})
	}
	path := origin.Path("/inline")
	s := gw.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(bare(1, 1))
	ids := takeSealed(t, s, "event 1", bare(1, 1))
	s.Close()
	x.WantGone(t)
	s = gw.Get(t, path, "last-event-id", ids[0])
	x = origin.Accept(t, path)
	if got := x.Request.Header.Get("last-event-id"); got != "" {
		t.Errorf("the origin got %q", got)
	}
	x.Stream()
	x.Send(bare(5, 5))
	takeSealed(t, s, "event 5", gap+bare(5, 5))
	x.End()
	s.WantEnd(t)
	gw.WantLog(t, map[string]string{"path": path, "outcome": "gap"})
}
