package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
	"holdfast/test/redistest"
)

// storeLines are what the log has said of the store failing.
func storeLines(gw *harness.Gateway) int {
	return strings.Count(gw.Stderr(), `"session store fails`)
}

// TestStoreThatCannotBeUsed: with a Redis that is not there, or lets nobody in, clients
// are served as ever, operators are told once, by readiness and by a metric, and nobody
// is told the password.
func TestStoreThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "right")
	for name, test := range map[string]struct{ url, reason string }{
		"nobody listens": {"redis://:s3cret@127.0.0.1:1/0", "connection refused"},
		"wrong password": {"redis://:s3cret@" + server.Address() + "/0", "WRONGPASS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := harness.NewOrigin(t)
			gw := harness.Run(t, origin.URL, fmt.Sprintf("store: {kind: redis, url: %q}\n%s", test.url, quick))
			path := origin.Path("")
			s := gw.Get(t, path)
			x := origin.Accept(t, path)
			x.Stream()
			x.Send(events(1, 2))
			s.Want(t, events(1, 2))
			x.Abort() // it is held all the same
			x = resumed(t, origin, path, "2")
			x.Stream()
			x.Send(events(3, 3))
			s.Want(t, events(3, 3))
			finish(t, origin, path, "3", x, s)
			status, why := gw.Fetch(t, "/readyz")
			if status != http.StatusServiceUnavailable || !strings.Contains(why, test.reason) {
				t.Errorf("readyz: %d %q, want 503 and %q", status, why, test.reason)
			}
			if got := gw.Metric(t, "holdfast_store_operations_total", "op=flush", "result=error"); got == 0 {
				t.Error("no metric tells of it")
			}
			if n := storeLines(gw); n != 1 {
				t.Errorf("the log says it %d times", n)
			}
			if text := gw.Output() + why; strings.Contains(text, "s3cret") {
				t.Error("the password is told")
			}
		})
	}
}

// TestStoreIsAwayForAWhile: of a Redis that stops, and goes on, the client of a stream
// notices nothing, and what it was sent meanwhile is known when it is back.
func TestStoreIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, fmt.Sprintf("store: {kind: redis, url: %q}\n%s", server.URL(), quick))
	path := origin.Path("")
	s := gw.Get(t, path, "mcp-session-id", "s")
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 3))
	s.Want(t, events(1, 3))
	server.Stall()
	n := 3
	unready := func() bool {
		n++
		x.Send(events(n, n))
		s.Want(t, events(n, n)) // at once, or the test takes for ever
		status, _ := gw.Fetch(t, "/readyz")
		return status == http.StatusServiceUnavailable
	}
	harness.Eventually(t, "readiness to say that the store is away", unready)
	server.Resume()
	harness.Eventually(t, "the store to work again", func() bool { return !unready() })
	s.Close()
	x.WantGone(t)
	back := gw.Get(t, path, "mcp-session-id", "s", "last-event-id", fmt.Sprint(n))
	x = origin.Accept(t, path)
	x.Stream()
	x.Send(events(max(n-10, 1), n+1)) // some of it once more
	back.Want(t, events(n+1, n+1))
	finish(t, origin, path, fmt.Sprint(n+1), x, back)
	if n := storeLines(gw); n != 1 {
		t.Errorf("the log says %d times that the store fails", n)
	}
}
