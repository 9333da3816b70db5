package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"holdfast/test/harness"
)

// holding opens a stream that has its first event, and returns the origin's side.
func holding(t *testing.T, origin *harness.Origin, gw *harness.Gateway, path, first string, client harness.Protocol) (*harness.Stream, *harness.Exchange) {
	t.Helper()
	s := gw.Open(t, path, harness.Request{Protocol: client})
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(first)
	s.Want(t, first)
	return s, x
}

// TestHoldIsGivenUp: an upstream that stays away is a cut when hold_for is over, and
// the client sees an aborted transfer.
func TestHoldIsGivenUp(t *testing.T) {
	t.Parallel()
	everyWay(t, `
policies:
- {name: default, heartbeat: 0s, hold_for: 1s, backoff: {base: 50ms, max: 100ms, retries: 1000}}
`, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		before := gw.Metric(t, "holdfast_streams_total", "mode=hold", "outcome=cut")
		s, _ := holding(t, origin, gw, origin.Path(""), events(1, 1), client)
		failed := time.Now()
		origin.Down()
		if got := s.WantAbort(t); got != "" {
			t.Errorf("the client got %q after the last event", got)
		}
		// It was asked to the end: the last attempt is a base before that.
		if held := time.Since(failed); held < 900*time.Millisecond {
			t.Errorf("given up after %v", held)
		}
		gw.WantMetric(t, before+1, "holdfast_streams_total", "mode=hold", "outcome=cut")
		origin.Up(t)
	})
}

// TestAttemptsAreCounted: a connection that opens is no progress, and a new event is.
func TestAttemptsAreCounted(t *testing.T) {
	t.Parallel()
	everyWay(t, `
policies:
- {name: default, heartbeat: 0s, backoff: {base: 1ms, max: 1ms, retries: 3}}
`, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("")
		s, x := holding(t, origin, gw, path, events(1, 1), client)
		x.Abort()
		for range 2 {
			x = resumed(t, origin, path, "1")
			x.Stream()
			x.Send(": still here\n\n" + events(1, 1))
			x.Abort()
		}
		x = resumed(t, origin, path, "1")
		x.Stream()
		x.Send(events(2, 2))
		s.Want(t, events(2, 2))
		x.Abort()
		for range 3 {
			x = resumed(t, origin, path, "2")
			x.Stream()
			x.Abort()
		}
		s.WantAbort(t)
		if n := len(origin.Requests(path)); n != 7 {
			t.Errorf("the origin saw %d requests, want 7", n)
		}
	})
}

// TestUpstreamSaysWhen: Retry-After and the stream's own retry field are waited for,
// but the first attempt after an event is made at once.
func TestUpstreamSaysWhen(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		t.Run("Retry-After", func(t *testing.T) {
			path := origin.Path("")
			s, x := holding(t, origin, gw, path, events(1, 1), client)
			x.Abort()
			x = resumed(t, origin, path, "1")
			said := time.Now()
			x.Answer(http.StatusServiceUnavailable, "retry-after", "1")
			x.End()
			x = resumed(t, origin, path, "1")
			if waited := time.Since(said); waited < time.Second {
				t.Errorf("asked again after %v", waited)
			}
			x.Stream()
			x.Send(events(2, 2))
			s.Want(t, events(2, 2))
			finish(t, origin, path, "2", x, s)
		})
		t.Run("retry", func(t *testing.T) {
			// More than backoff.max is not granted to a stream, so much less is asked for.
			path := origin.Path("")
			s, x := holding(t, origin, gw, path, "retry: 170\n"+events(1, 1), client)
			x.Abort()
			x = resumed(t, origin, path, "1")
			x.Stream() // or it would be Envoy that asks again
			failed := time.Now()
			x.Abort()
			x = resumed(t, origin, path, "1")
			if waited := time.Since(failed); waited < 170*time.Millisecond {
				t.Errorf("asked again after %v", waited)
			}
			x.Stream()
			x.Send(events(2, 2))
			s.Want(t, events(2, 2))
			finish(t, origin, path, "2", x, s)
		})
	})
}

// TestManyResumeAtOnce: an upstream that a hundred streams were lost with is asked
// for 64 of them at a time.
func TestManyResumeAtOnce(t *testing.T) {
	t.Parallel()
	const streams, atOnce = 100, 64
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.H2URL(), quick)

	broken, back := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	asked, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		asked += n
		most = max(most, asked)
	}
	path := origin.Handle("", func(x *harness.Exchange) {
		if x.Request.Header.Get("last-event-id") == "" {
			x.Stream()
			x.Send(events(1, 1))
			x.Wait(broken)
			x.Abort()
			return
		}
		count(1)
		x.Wait(back)
		count(-1)
		x.Stream()
		x.Send(events(2, 2))
		<-x.Gone()
	})
	var all []*harness.Stream
	for i := range streams {
		s := gw.Open(t, fmt.Sprintf("%s?n=%d", path, i), harness.Request{Protocol: harness.H2})
		s.Want(t, events(1, 1))
		all = append(all, s)
	}
	close(broken)
	harness.Eventually(t, "as many requests as there may be", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return asked >= atOnce
	})
	close(back)
	for _, s := range all {
		s.Want(t, events(2, 2))
		s.Close()
	}
	if most != atOnce {
		t.Errorf("the origin was asked %d times at once, want %d", most, atOnce)
	}
}
