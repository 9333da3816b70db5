package processor

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Many streams at once, with timers, snapshots, returning clients and a drain
// among them. What it finds, the race detector says.
func TestStress(t *testing.T) {
	inWorld(t, `- {name: p, heartbeat: 10ms}`, func(w *world) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				for round := range 5 {
					e := w.stream("GET", "/events", fmt.Sprintf("mcp-session-id: %d", i%4), fmt.Sprintf("last-event-id: %d", round*10))
					for n := range 10 {
						e.chunk(fmt.Sprintf("id: %d\ndata: x\n", round*10+n))
						elapse(time.Duration(i) * time.Millisecond)
						e.chunk("\n")
					}
					if i%2 == 0 {
						e.leave()
						continue
					}
					e.end("")
					var all strings.Builder
					for end := false; !end; {
						var b string
						b, end = e.body()
						all.WriteString(b)
					}
					if n := strings.Count(all.String(), "data: x"); n != 10 {
						t.Errorf("%d events, want 10", n)
					}
					e.leave()
				}
			})
			wg.Go(func() {
				for range 20 {
					w.srv.live.Snapshot(0, 100)
					elapse(time.Millisecond)
				}
			})
		}
		elapse(5 * time.Millisecond)
		wg.Wait()
		for range 20 {
			w.stream("GET", "/drained").chunk("data: 1\n\n")
		}
		if err := <-w.drain(DrainOptions{Deadline: time.Second, Spread: 100 * time.Millisecond}); err == nil {
			t.Error("our Envoy drops none of the ended streams, but Drain has seen them go")
		}
		w.wantMetric(0, "streams_active", "inline")
	})
}
