package health

import (
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

const idle = 30 * time.Second

func wantStall(t *testing.T, c Clocks, now time.Time, by Clock) {
	t.Helper()
	if got, stalled := c.Stalled(now); !stalled || got != by {
		t.Errorf("after %v: stalled %v by %v, want by %v", now.Sub(start), stalled, got, by)
	}
	if c.Deadline().After(now) {
		t.Errorf("stalled, and the deadline is %v ahead", c.Deadline().Sub(now))
	}
}

func wantAlive(t *testing.T, c Clocks, now time.Time) {
	t.Helper()
	if by, stalled := c.Stalled(now); stalled {
		t.Errorf("after %v: stalled by %v", now.Sub(start), by)
	}
	if !c.Deadline().After(now) {
		t.Errorf("alive after %v, and the deadline has passed", now.Sub(start))
	}
}

func TestSilenceStalls(t *testing.T) {
	c := StartClocks(start, Options{})
	wantAlive(t, c, start.Add(idle-1))
	wantStall(t, c, start.Add(idle), Bytes)
	c.Event(start.Add(20*time.Second), true, true)
	wantAlive(t, c, start.Add(20*time.Second+idle-1))
	wantStall(t, c, start.Add(20*time.Second+idle), Bytes)
	c.Opened(start.Add(time.Minute))
	wantAlive(t, c, start.Add(time.Minute))
	if got := c.Silence(start.Add(time.Minute), Cursor); got != 40*time.Second {
		t.Errorf("the cursor has been silent for %v: a connection is no progress", got)
	}
}

// TestHeartbeatsDoNotHideADeadSource: comments or pings go on for ever, events
// do not come.
func TestHeartbeatsDoNotHideADeadSource(t *testing.T) {
	for _, tt := range []struct {
		name string
		beat func(*Clocks, time.Time)
		by   Clock
	}{
		{"comments", func(c *Clocks, now time.Time) { c.Heard(now) }, Events},
		{"pings", func(c *Clocks, now time.Time) { c.Event(now, false, false) }, Useful},
		{"pings with ids", func(c *Clocks, now time.Time) { c.Event(now, false, true) }, Useful},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := StartClocks(start, Options{})
			for d := 10 * time.Second; d < Patience*idle; d += 10 * time.Second {
				tt.beat(&c, start.Add(d))
				wantAlive(t, c, start.Add(d))
			}
			wantStall(t, c, start.Add(Patience*idle), tt.by)
		})
	}
}

// TestEventsWithoutIDsAreAlive: the cursor's clock never decides.
func TestEventsWithoutIDsAreAlive(t *testing.T) {
	c := StartClocks(start, Options{})
	now := start
	for range 1000 {
		now = now.Add(20 * time.Second)
		c.Event(now, true, false)
		wantAlive(t, c, now)
	}
	if c.Silence(now, Cursor) != now.Sub(start) || c.Silence(now, Useful) != 0 {
		t.Error("the clocks are not separate")
	}
}

func TestBudgetGrowsAndIsRestored(t *testing.T) {
	c := StartClocks(start, Options{})
	now := start
	for _, budget := range []time.Duration{idle, 2 * idle, 4 * idle, 8 * idle, 16 * idle, 16 * idle, 16 * idle} {
		if c.Budget() != budget {
			t.Fatalf("budget %v, want %v", c.Budget(), budget)
		}
		wantAlive(t, c, now.Add(budget-1))
		now = now.Add(budget)
		wantStall(t, c, now, Bytes)
		c.Opened(now)
		c.Needless()
	}
	c.Heard(now)
	c.Event(now, false, true)
	c.Opened(now)
	if c.Budget() != MaxBudget*idle {
		t.Error("restored by something that is no useful event")
	}
	c.Event(now, true, false)
	if c.Budget() != idle {
		t.Errorf("budget %v after a useful event", c.Budget())
	}
}

func TestStallsCanBeOff(t *testing.T) {
	c := StartClocks(start, Options{IdleTimeout: -1})
	if _, stalled := c.Stalled(start.Add(1000 * time.Hour)); stalled || !c.Deadline().IsZero() || c.Budget() != 0 {
		t.Error("stalled without a limit")
	}
	c = StartClocks(start, Options{IdleTimeout: 1<<63 - 1})
	for range 10 {
		c.Needless()
	}
	wantAlive(t, c, start.Add(1000*time.Hour))
}

// TestClocksAgree: whatever comes, the deadline is the very moment at which the
// stream is stalled; time never goes back; a finer clock is never less silent.
func TestClocksAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{IdleTimeout: time.Duration(rapid.IntRange(1, 100).Draw(rt, "idle")) * time.Second}
		c := StartClocks(start, o)
		now, latest := start, start
		deadline := c.Deadline()
		for range rapid.IntRange(0, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-1000, 30_000).Draw(rt, "pause")) * time.Millisecond)
			latest = later(latest, now)
			switch rapid.IntRange(0, 4).Draw(rt, "do") {
			case 0:
				c.Heard(now)
			case 1:
				c.Event(now, rapid.Bool().Draw(rt, "useful"), rapid.Bool().Draw(rt, "moved"))
				deadline = time.Time{} // a restored budget may bring it nearer
			case 2:
				c.Opened(now)
			case 3:
				c.Needless()
			case 4:
			}
			if c.Deadline().Before(deadline) {
				rt.Fatal("what came brought the deadline nearer")
			}
			deadline = c.Deadline()
			if b := c.Budget(); b < o.IdleTimeout || b > MaxBudget*o.IdleTimeout {
				rt.Fatalf("budget %v", b)
			}
			if _, stalled := c.Stalled(deadline); !stalled {
				rt.Fatal("alive at the deadline")
			}
			if _, stalled := c.Stalled(deadline.Add(-1)); stalled && deadline.After(latest) {
				rt.Fatal("stalled before the deadline")
			}
			for k := Events; k <= Useful; k++ {
				if c.Silence(latest, k) < c.Silence(latest, k-1) {
					rt.Fatalf("%v is less silent than %v", k, k-1)
				}
			}
		}
	})
}

// TestClocksAreSmall: there is one for each stream, and each event winds it.
func TestClocksAreSmall(t *testing.T) {
	if size := unsafe.Sizeof(Clocks{}); size > 80 {
		t.Errorf("%d bytes", size)
	}
	c := StartClocks(start, Options{})
	if n := testing.AllocsPerRun(100, func() { c.Event(start, true, true); c.Deadline() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkClocks(b *testing.B) {
	c := StartClocks(start, Options{})
	for b.Loop() {
		c.Event(start, true, true)
		if c.Deadline().IsZero() {
			b.Fatal("no deadline")
		}
	}
}
