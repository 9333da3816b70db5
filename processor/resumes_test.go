package processor

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/processor/config"
	"holdfast/processor/health"
	"holdfast/processor/upstream"
)

func TestResumingIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r resuming
		jitter := func(d time.Duration) time.Duration { return d }
		var leaves []func()
		for range resumesAtOnce {
			leave, err := r.enter(t.Context(), "a", jitter)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		if leave, err := r.enter(t.Context(), "b", jitter); err != nil { // another upstream
			t.Error(err)
		} else {
			leave()
		}
		var wg sync.WaitGroup
		entered := 0
		for range 2 {
			wg.Go(func() {
				leave, err := r.enter(t.Context(), "a", jitter)
				if err != nil {
					t.Error(err)
					return
				}
				entered++
				leave()
			})
		}
		for _, patience := range []time.Duration{resumeSpread / 2, resumeSpread * 2} { // gives up while it waits
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if _, err := r.enter(ctx, "a", jitter); err == nil {
				t.Error("let in above the limit")
			}
			cancel()
		}
		if entered != 0 {
			t.Errorf("%d were let in above the limit", entered)
		}
		leaves[0]()
		wg.Wait()
		if entered != 2 {
			t.Errorf("%d were let in once there was room", entered)
		}
		for _, leave := range leaves[1:] {
			leave()
		}
		if len(r.queues) != 0 {
			t.Errorf("%d queues are left", len(r.queues))
		}
	})
}

// However many streams an upstream's failure breaks off, and by whatever names it is
// asked for, it is asked for so many continuations at a time.
func TestResumesAtOnce(t *testing.T) {
	const streams = resumesAtOnce + 36
	var asked atomic.Int64
	var broken, back chan struct{}
	serve := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(UpstreamHeader, "cluster 10.0.0.1:80")
		if r.Header.Get("Last-Event-Id") == "" {
			sends(ev(1), func() { <-broken }, reset)(w, r)
			return
		}
		asked.Add(1)
		<-back
		mute(ev(2))(w, r)
	}
	inHolding(t, quiet, serve, func(h *holding) {
		broken, back = make(chan struct{}), make(chan struct{}) // of this bubble
		var all []*reading
		for i := range streams {
			r := h.open("/", fmt.Sprintf("x-holdfast-test: %d", i))
			r.want(ev(1))
			all = append(all, r)
		}
		close(broken)
		synctest.Wait()
		elapse(10 * time.Second) // less than Envoy has to answer
		if n := asked.Load(); n != resumesAtOnce {
			t.Errorf("asked %d times at once, want %d", n, resumesAtOnce)
		}
		close(back)
		for _, r := range all {
			r.want(ev(2))
		}
		if n := asked.Load(); n != streams {
			t.Errorf("asked %d times for %d streams", n, streams)
		}
		for _, r := range all {
			r.leave()
		}
		synctest.Wait()
		if n := len(h.srv.resuming.queues); n != 0 {
			t.Errorf("%d queues are left", n)
		}
	})
}

// Who is asked decides, and not under which name.
func TestResumesCountByUpstream(t *testing.T) {
	s := new(Server)
	p := &boundPolicy{Policy: new(config.Policy)}
	for _, c := range []struct {
		authority, cluster, want string
	}{
		{"a.test", "backend", "backend"},
		{"b.test", "backend", "backend"},
		{"a.test", "", "a.test"}, // a configuration of somebody's own does not tell
	} {
		o := s.newOrigin(p, upstream.Request{Authority: c.authority}, health.Target{Cluster: c.cluster}, false)
		if o.upstream != c.want {
			t.Errorf("%s at cluster %q counts as %q, want %q", c.authority, c.cluster, o.upstream, c.want)
		}
	}
}
