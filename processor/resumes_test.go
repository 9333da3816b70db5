package processor

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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
