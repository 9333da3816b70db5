package health

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	hostA = Target{Cluster: "chat", Address: "10.0.0.1:80"}
	hostB = Target{Cluster: "chat", Address: "10.0.0.2:80"}
	hostC = Target{Cluster: "mail", Address: "10.0.0.3:80"}
)

// watch is a Monitor in a test, with its own clock.
type watch struct {
	t *testing.T
	*Monitor
	now time.Time
}

func newWatch(t *testing.T, o Options) *watch {
	return &watch{t: t, Monitor: NewMonitor(o), now: start}
}

func (w *watch) after(d time.Duration) { w.now = w.now.Add(d) }

func (w *watch) report(name Target, all ...Outcome) {
	for _, o := range all {
		w.Report(w.now, name, o)
	}
}

func (w *watch) want(name Target, state State, admit bool) {
	w.t.Helper()
	if got := w.State(w.now, name); got != state {
		w.t.Errorf("%v after %v: state %v, want %v", name, w.now.Sub(start), got, state)
	}
	if got := w.Admit(w.now, name); got != admit {
		w.t.Errorf("%v after %v: admitted %v, want %v", name, w.now.Sub(start), got, admit)
	}
}

func TestThreeFailuresInARowEject(t *testing.T) {
	w := newWatch(t, Options{})
	w.report(hostB, Success)
	w.report(hostA, Refused, Reset, Success, Timeout, Stall)
	w.want(hostA, Closed, true)
	if state, ejected := w.Report(w.now, hostA, BadStart); state != Open || !ejected {
		t.Errorf("third in a row: %v, %v", state, ejected)
	}
	w.want(hostA, Open, false)
	w.want(hostB, Closed, true)
	w.want(hostC, Closed, true) // never heard of
}

func TestEjectionIsServedAndProbed(t *testing.T) {
	w := newWatch(t, Options{})
	w.report(hostB, Success)
	w.report(hostA, BadStatus, BadStatus, BadStatus)
	w.after(29999 * time.Millisecond)
	w.want(hostA, Open, false)
	w.after(time.Millisecond)
	w.want(hostA, HalfOpen, true)
	w.want(hostA, HalfOpen, false) // one at a time
	w.after(9 * time.Second)
	w.want(hostA, HalfOpen, false)
	w.after(time.Second) // nothing was heard of the probe: the next one
	w.want(hostA, HalfOpen, true)
	w.report(hostA, Success)
	w.want(hostA, Closed, true)
	w.want(hostA, Closed, true)
}

func TestEjectionsGrowAndAreForgiven(t *testing.T) {
	w := newWatch(t, Options{})
	w.report(hostB, Success)
	w.report(hostA, Reset, Reset, Reset)
	for n := 1; n <= MaxEjections+3; n++ {
		length := time.Duration(min(n, MaxEjections)) * 30 * time.Second
		w.after(length - 1)
		w.report(hostB, Success)
		w.want(hostA, Open, false)
		w.after(1)
		w.want(hostA, HalfOpen, true)
		w.report(hostA, Reset) // one failed probe is enough
	}
	w.after(10 * 30 * time.Second)
	w.report(hostA, Success)
	w.after(8 * 30 * time.Second) // forgives eight of ten
	w.report(hostB, Success)
	w.report(hostA, Reset, Reset, Reset)
	w.after(3*30*time.Second - 1)
	w.want(hostA, Open, false)
	w.after(1)
	w.want(hostA, HalfOpen, true)
}

// TestLateReports: streams that began before an ejection end during it.
func TestLateReports(t *testing.T) {
	w := newWatch(t, Options{})
	w.report(hostB, Success)
	w.report(hostA, Reset, Reset, Reset, Reset, Reset, Success)
	w.want(hostA, Open, false)
	w.after(30 * time.Second)
	w.want(hostA, HalfOpen, true)
}

func TestTheOnlyTargetIsNeverRefused(t *testing.T) {
	w := newWatch(t, Options{})
	w.report(hostC, Success) // another cluster is no help
	w.report(hostA, Reset, Reset, Reset)
	w.want(hostA, Open, true)
	w.report(hostB, Success)
	w.want(hostA, Open, false)
	w.report(hostB, Reset, Reset, Reset)
	w.want(hostA, Open, true) // nobody is left
	w.want(hostB, Open, true)
	w.after(30 * time.Second)
	w.report(hostA, Success)
	w.want(hostB, HalfOpen, true)
	w.want(hostB, HalfOpen, false)
	w.report(hostB, Reset)
	w.want(hostB, Open, false)
	w.after(10*30*time.Second + 1) // nothing was heard of the other for long: it may be gone
	w.report(hostB, Reset, Reset, Reset)
	w.want(hostB, Open, true)
}

func TestEjectionCanBeOff(t *testing.T) {
	w := newWatch(t, Options{EjectAfter: -1})
	w.report(hostB, Success)
	for range 100 {
		w.report(hostA, Refused)
	}
	w.want(hostA, Closed, true)

	w.Configure(Options{EjectAfter: 1, EjectFor: time.Second})
	w.report(hostA, Refused)
	w.want(hostA, Open, false)
	w.after(time.Second)
	w.want(hostA, HalfOpen, true)
}

func TestTargetsAreBounded(t *testing.T) {
	w := newWatch(t, Options{Targets: 10})
	for i := range 100 {
		w.report(Target{Address: fmt.Sprint(i)}, Reset)
		w.report(hostA, Success) // kept: it is heard of
	}
	got := w.Snapshot(w.now)
	if len(got) != 10 || got[9].Target != hostA || got[9].Successes != 100 {
		t.Errorf("%d targets, last %+v", len(got), got[len(got)-1])
	}
	w.Configure(Options{Targets: 3})
	if got := w.Snapshot(w.now); len(got) != 3 {
		t.Errorf("%d targets after Configure", len(got))
	}
}

func TestSnapshot(t *testing.T) {
	w := newWatch(t, Options{})
	w.report(hostC, Success, Stall)
	w.report(hostB, Refused, Timeout, Reset)
	w.report(hostA, Success)
	want := []Status{
		{Target: hostA, Successes: 1, Seen: start},
		{Target: hostB, State: Open, Until: start.Add(30 * time.Second), Failures: 3, Ejections: 1, Last: Reset, LastFailure: Reset, Seen: start},
		{Target: hostC, InARow: 1, Successes: 1, Failures: 1, Last: Stall, LastFailure: Stall, Seen: start},
	}
	if diff := cmp.Diff(want, w.Snapshot(start)); diff != "" {
		t.Error(diff)
	}
}

func TestNamesOfValues(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"success": Success, "refused": Refused, "reset": Reset, "timeout": Timeout, "stall": Stall,
		"bad_status": BadStatus, "bad_start": BadStart, "unknown": Outcome(99),
		"closed": Closed, "open": Open, "half_open": HalfOpen,
		"bytes": Bytes, "events": Events, "useful": Useful, "cursor": Cursor,
	} {
		if got.String() != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	if State(9).String() != "unknown" || Clock(9).String() != "unknown" {
		t.Error("an unknown value has a name")
	}
}

// TestVerdicts plays random reports and questions and holds a Monitor to what
// it promises.
func TestVerdicts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{
			EjectAfter:    rapid.IntRange(1, 5).Draw(rt, "eject_after"),
			EjectFor:      time.Duration(rapid.IntRange(1, 60).Draw(rt, "eject_for")) * time.Second,
			CheckInterval: time.Duration(rapid.IntRange(1, 20).Draw(rt, "check_interval")) * time.Second,
		}
		m := NewMonitor(o)
		now := start
		row := 0 // failures since the last success or ejection
		var until, probed time.Time
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "pause")) * time.Millisecond)
			m.Report(now, hostB, Success) // there is always another, and it only succeeds
			if m.State(now, hostB) != Closed || !m.Admit(now, hostB) {
				rt.Fatal("ejected on successes only")
			}
			before := m.State(now, hostA)
			if (before == Open) != now.Before(until) {
				rt.Fatalf("%v, ejected until %v", before, until.Sub(now))
			}
			switch rapid.IntRange(0, 2).Draw(rt, "do") {
			case 0:
				m.Report(now, hostA, Success)
				if before != Open {
					row = 0
					if m.State(now, hostA) != Closed {
						rt.Fatal("success did not close")
					}
				}
			case 1:
				state, ejected := m.Report(now, hostA, Outcome(rapid.IntRange(1, int(BadStart)).Draw(rt, "failure")))
				if before == Closed {
					row++
				}
				due := before == HalfOpen || before == Closed && row >= o.EjectAfter
				if ejected != due || state != m.State(now, hostA) {
					rt.Fatalf("%v, %d in a row: ejected %v, now %v", before, row, ejected, state)
				}
				if ejected {
					row, probed = 0, time.Time{}
					until = m.Snapshot(now)[0].Until
					n := until.Sub(now) / o.EjectFor
					if until.Sub(now)%o.EjectFor != 0 || n < 1 || n > MaxEjections {
						rt.Fatalf("ejected for %v", until.Sub(now))
					}
				}
			case 2:
				admitted := m.Admit(now, hostA)
				want := before == Closed || before == HalfOpen && (probed.IsZero() || now.Sub(probed) >= o.CheckInterval)
				if admitted != want {
					rt.Fatalf("%v: admitted %v", before, admitted)
				}
				if admitted && before == HalfOpen {
					probed = now
				}
			}
		}
	})
}

// TestTimeDoesNotGoBack: goroutines take the time before they take the lock.
func TestTimeDoesNotGoBack(t *testing.T) {
	w := newWatch(t, Options{})
	w.report(hostB, Success)
	w.after(time.Minute)
	w.report(hostA, Reset, Reset)
	w.Report(start, hostA, Reset)
	w.after(30*time.Second - 1)
	w.want(hostA, Open, false)
	w.after(1)
	w.want(hostA, HalfOpen, true)
	if got := w.State(start, hostA); got != HalfOpen {
		t.Errorf("state %v at a time gone by", got)
	}
}

func TestMonitorFromManyGoroutines(t *testing.T) {
	m := NewMonitor(Options{Targets: 5})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				name := Target{Cluster: "chat", Address: fmt.Sprint((g + i) % 10)}
				now := start.Add(time.Duration(i) * time.Second)
				m.Report(now, name, Outcome(i%3))
				m.Admit(now, name)
				m.State(now, name)
				if n := len(m.Snapshot(now)); n > 5 {
					t.Errorf("%d targets", n)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkReport(b *testing.B) {
	m := NewMonitor(Options{})
	b.ReportAllocs()
	for b.Loop() {
		m.Report(start, hostA, Success)
	}
}
