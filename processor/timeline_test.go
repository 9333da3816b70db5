package processor

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/processor/live"
)

// told is a timeline in words, with seconds since the stream began.
func told(h live.History) []string {
	var all []string
	for _, m := range h.Timeline {
		s := fmt.Sprintf("%v %s", m.At.Sub(h.Started).Round(time.Second), m.What)
		if m.Text != "" {
			s += " " + m.Text
		}
		if m.Times > 1 {
			s += fmt.Sprintf(" x%d", m.Times)
		}
		all = append(all, s)
	}
	return all
}

// TestTimeline: what an operator is told of a stream that was broken, waited, and
// went on elsewhere.
func TestTimeline(t *testing.T) {
	o := answering(sends(ev(1, 2), reset), answers503, mute(ev(2, 3)))
	inHolding(t, `- {name: p, mode: hold, heartbeat: 2s, backoff: {jitter: 0}, health: {idle_timeout: 1h}}`, o.serve, func(h *holding) {
		r := h.open("/a?secret=1")
		r.want(ev(1, 2))
		for range 2 { // while the upstream is away
			r.want(": keep-alive\n\n")
		}
		r.want(ev(3))
		synctest.Wait()
		s := h.srv.live.Snapshot(0, 1)[0]
		id, err := live.ParseID(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if s.State != "live" || s.Outcome != "" || !s.Ended.IsZero() {
			t.Errorf("live: %+v", s)
		}
		r.leave()
		h.wantOutcome("client_gone")
		past, ok := h.srv.live.Find(time.Now(), id)
		if !ok || past.State != "ended" || past.Outcome != "client_gone" || past.Ended.IsZero() || past.Path != "/a" || past.Events != 4 {
			t.Errorf("ended: %v, %+v", ok, past.Stream)
		}
		want := []string{
			"0s opened",
			"0s ids unique",
			"0s ids monotonic",
			"0s failed reset",
			"0s resuming behind 2",
			"0s answered 503, wait",
			"0s result unavailable",
			"2s heartbeat x2",
			"5s resuming behind 2",
			"5s answered 200 from 10.0.0.3:80",
			"5s result resumed",
			"5s ended client_gone",
		}
		if diff := cmp.Diff(want, told(past)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestTimelineIsSmall: of a stream that idles for ever there is little to tell.
func TestTimelineIsSmall(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, heartbeat: 1s, health: {idle_timeout: 24h}}`, answering(mute("data: x\n\n")).serve, func(h *holding) {
		r := h.open("/")
		r.want("data: x\n\n")
		for range 1000 {
			r.want(": keep-alive\n\n")
		}
		s := h.srv.live.Snapshot(0, 1)[0]
		id, _ := live.ParseID(s.ID)
		past, _ := h.srv.live.Find(time.Now(), id)
		if len(past.Timeline) != 2 || past.Timeline[1].Times != 1000 {
			t.Errorf("%v", told(past))
		}
		r.leave()
		h.wantOutcome("client_gone")
	})
}
