package e2e

import (
	"strconv"
	"testing"

	"holdfast/test/harness"
)

// TestAnotherHostTakesOver: of two hosts one is always away, and it is Envoy that
// finds the other. Mostly each failure costs one fetch. But the hosts fail so often
// here that Envoy may have ejected the one that is there, for ten seconds: then the
// stream waits for it.
func TestAnotherHostTakesOver(t *testing.T) {
	t.Parallel()
	one, two := harness.NewOrigin(t), harness.NewOrigin(t)
	// One event for each connection.
	next := func(x *harness.Exchange) {
		last, err := strconv.Atoi(x.Request.Header.Get("last-event-id"))
		if err != nil {
			last = 0 // there is none
		}
		x.Stream()
		x.Send(events(last+1, last+1))
		<-x.Gone()
	}
	// The first path of each has the same name.
	path := one.Handle("", next)
	two.Handle("", next)
	hosts := map[string]*harness.Origin{one.URL: one, two.URL: two}
	gw := harness.Run(t, one.URL, "policies:\n- {name: default, heartbeat: 0s, backoff: {base: 20ms, max: 200ms, retries: 1000}}\n", "--upstream", two.URL)
	s := gw.Get(t, path)
	s.Want(t, events(1, 1))

	const failures = 10
	var streams struct {
		Streams []struct{ Upstream string }
	}
	for n := 1; n <= failures; n++ {
		gw.FetchJSON(t, "/api/v1/streams", &streams)
		host := hosts["http://"+streams.Streams[0].Upstream]
		if host == nil {
			t.Fatalf("the stream comes from %q", streams.Streams[0].Upstream)
		}
		host.Down()
		s.Want(t, events(n+1, n+1))
		host.Up(t)
	}
	if n := gw.Metric(t, "holdfast_envoy_retries_total"); n < failures {
		t.Errorf("Envoy was told to retry %v times, want at least %d", n, failures)
	}
	s.Close()
}

// TestOneHostIsDown: clients that come while a host is away do not notice.
func TestOneHostIsDown(t *testing.T) {
	t.Parallel()
	up, down := harness.NewOrigin(t), harness.NewOrigin(t)
	path := up.Body("", events(1, 3))
	down.Down()
	gw := harness.Run(t, down.URL, "policies:\n- {name: default, resume: none}\n", "--upstream", up.URL)
	for range 10 {
		gw.Get(t, path).WantBody(t, events(1, 3))
	}
}
