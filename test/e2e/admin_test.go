package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"holdfast/test/harness"
)

func TestAdminPort(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/api/v1/streams", "/api/v1/sessions", "/api/v1/config", "/debug/pprof/"} {
		if status, body := gw.Fetch(t, path); status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/nothing", "/api/v1/sessions/" + strings.Repeat("0", 32)} {
		if status, _ := gw.Fetch(t, path); status != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, status)
		}
	}

	path := origin.Path("")
	s := gw.Get(t, path, "mcp-session-id", "m")
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 3))
	s.Want(t, events(1, 3))

	var streams struct {
		Streams []struct {
			Policy, Mode, Method, Path, Upstream, Cursor string
			Events                                       uint64
		}
	}
	harness.Eventually(t, "the live stream to be listed with its events", func() bool {
		gw.FetchJSON(t, "/api/v1/streams", &streams)
		return len(streams.Streams) == 1 && streams.Streams[0].Events == 3
	})
	got := streams.Streams[0]
	if got.Policy != "default" || got.Mode != "hold" || got.Method != http.MethodGet || got.Path != path || got.Cursor != "3" {
		t.Errorf("the live stream is listed as %+v", got)
	}
	if want := strings.TrimPrefix(origin.URL, "http://"); got.Upstream != want {
		t.Errorf("its upstream is %q, want %q", got.Upstream, want)
	}
	gw.WantMetric(t, 1, "holdfast_streams_active", "mode=hold")
	gw.WantMetric(t, 1, "holdfast_sessions")
	x.Finish(s)
	s.WantEnd(t)
}

func TestSessionsCanBeSeenAndDropped(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	c := conversation{t: t, gw: gw, origin: origin, path: origin.Path(""), header: []string{"mcp-session-id", "m"}}
	c.turn("", events(1, 3), events(1, 3))
	c.turn("3", events(3, 4), events(4, 4))

	var sessions struct {
		Sessions []struct {
			Key    string
			Policy string
		}
	}
	gw.FetchJSON(t, "/api/v1/sessions", &sessions)
	if len(sessions.Sessions) != 1 {
		t.Fatalf("%d sessions, want 1", len(sessions.Sessions))
	}
	page := "/api/v1/sessions/" + sessions.Sessions[0].Key
	if status, body := gw.Fetch(t, page); status != http.StatusOK || !strings.Contains(body, `"3"`) {
		t.Errorf("GET %s: %d %s, want the client's cursor in it", page, status, body)
	}
	req := harness.Request{Method: http.MethodDelete}.For(t, gw.Admin+page)
	if status := harness.Open(t, harness.NewClient(t, harness.H1), req).Response(t).StatusCode; status/100 != 2 {
		t.Errorf("DELETE %s: %d", page, status)
	}
	if status, _ := gw.Fetch(t, page); status != http.StatusNotFound {
		t.Errorf("after DELETE, GET %s: %d", page, status)
	}
	// Forgotten is forgotten: the overlap is no longer known.
	c.turn("4", events(3, 5), events(3, 5))
}

// sentAway takes off what tells a client that is sent away when to come back.
func sentAway(body string) (rest, hint string) {
	hint = regexp.MustCompile(`retry: [1-9]\d{2,3}\n\n$`).FindString(body)
	return strings.TrimSuffix(body, hint), hint
}

// TestManyStreamsAreDrained: SIGTERM sends every client elsewhere, spread over
// drain.spread, at an event boundary, with a clean end that makes an EventSource
// come back, each at a time of its own. An event that is not finished by the deadline is not begun either.
func TestManyStreamsAreDrained(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "drain: {deadline: 2s, spread: 500ms}\n")
	const n = 20
	var exchanges [n]*harness.Exchange
	var streams [n]*harness.Stream
	for i := range n {
		path := origin.Path("")
		protocol := harness.H1
		if i%2 == 1 {
			protocol = harness.H2
		}
		streams[i] = gw.Open(t, path, harness.Request{Protocol: protocol})
		exchanges[i] = origin.Accept(t, path)
		exchanges[i].Stream()
		exchanges[i].Send(events(1, 2) + "id: 3\ndata: unfin")
		streams[i].Want(t, events(1, 2))
	}
	gw.Signal(syscall.SIGTERM)
	hints := map[string]bool{}
	for i, s := range streams {
		body, err := s.All(t)
		if err != nil {
			t.Errorf("stream %d ended with %v", i, err)
		}
		got, hint := sentAway(withoutHeartbeats(body))
		if got != events(1, 2) {
			t.Errorf("stream %d: the client got %q, want whole events only", i, got)
		}
		hints[hint] = true
		exchanges[i].WantGone(t)
	}
	if len(hints) < n/2 {
		t.Errorf("%d clients are told only %d times to come back at: %v", n, len(hints), hints)
	}
	if code := gw.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := strings.Count(gw.Output(), `"outcome":"drained"`); got != n {
		t.Errorf("the log has %d drained streams, want %d", got, n)
	}
}
