package live

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTimeline(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var tl Timeline
	tl.Add(0, Opened, "10.0.0.1:80")
	for i := 1; i <= 3; i++ {
		tl.Add(time.Duration(i)*time.Second, Heartbeat, "")
	}
	tl.Add(4*time.Second, Failed, "reset")
	tl.Add(5*time.Second, Failed, "refused")
	got, lost := tl.Moments(start)
	want := []Moment{
		{At: at(0), What: "opened", Text: "10.0.0.1:80"},
		{At: at(1), What: "heartbeat", Times: 3, Last: at(3)},
		{At: at(4), What: "failed", Text: "reset"},
		{At: at(5), What: "failed", Text: "refused"},
	}
	if diff := cmp.Diff(want, got); diff != "" || lost != 0 {
		t.Errorf("lost %d: %s", lost, diff)
	}
	if all, lost := (*Timeline)(nil).Moments(start); all != nil || lost != 0 {
		t.Error("nil has moments")
	}
}

func TestTimelineIsBounded(t *testing.T) {
	var tl Timeline
	const n = 3*MaxMoments + 5
	for i := range n {
		tl.Add(time.Duration(i), Resuming, fmt.Sprint(i))
		tl.Add(time.Duration(i), Resuming, fmt.Sprint(i)) // the same again
	}
	got, lost := tl.Moments(time.Time{})
	if len(got) != MaxMoments || lost != n-MaxMoments {
		t.Fatalf("%d moments, %d lost", len(got), lost)
	}
	for i, m := range got {
		if m.Text != fmt.Sprint(lost+i) || m.Times != 2 {
			t.Fatalf("moment %d is %+v", i, m)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for k := Opened; k <= Ended; k++ {
		if seen[k.String()] || k.String() == "unknown" {
			t.Errorf("kind %d is %q", k, k)
		}
		seen[k.String()] = true
	}
	if (Ended + 1).String() != "unknown" {
		t.Error("names outnumber kinds")
	}
}

// teller is a fake with a past.
type teller struct{ fake }

func (teller) Moments() ([]Moment, int) { return []Moment{{What: "opened"}}, 2 }

func TestEnded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var r Registry
	r.Add(1, teller{fake{1}})
	if h, ok := r.Find(now, 1); !ok || h.ID != ID(1).String() || len(h.Timeline) != 1 || h.Lost != 2 {
		t.Errorf("a running stream is found as %+v, %v", h, ok)
	}
	r.Retire(1, History{Stream: Stream{ID: ID(1).String(), Outcome: "cut", Ended: now}, Timeline: []Moment{{What: "ended"}}})
	if r.Len() != 0 {
		t.Error("a retired stream runs")
	}
	if h, ok := r.Find(now.Add(EndedFor), 1); !ok || h.Outcome != "cut" || h.Timeline[0].What != "ended" {
		t.Errorf("an ended stream is found as %+v, %v", h, ok)
	}
	if _, ok := r.Find(now.Add(EndedFor+1), 1); ok {
		t.Error("a stream is found long after its end")
	}
	for i := range 2 * MaxEnded {
		r.Retire(ID(i), History{Stream: Stream{ID: ID(i).String(), Ended: now.Add(time.Duration(i))}})
	}
	got := r.Ended(now, MaxEnded+10)
	if len(got) != MaxEnded || got[0].ID != ID(2*MaxEnded-1).String() || got[MaxEnded-1].ID != ID(MaxEnded).String() {
		t.Errorf("%d ended streams, from %s to %s", len(got), got[0].ID, got[len(got)-1].ID)
	}
	if got := r.Ended(now, 3); len(got) != 3 {
		t.Errorf("%d, want 3", len(got))
	}
	if got := r.Ended(now.Add(EndedFor+time.Second), 3); len(got) != 0 {
		t.Errorf("%d, want none that late", len(got))
	}
}
