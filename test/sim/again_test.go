package sim

import (
	"runtime"
	"strings"
	"testing"
)

// alone makes the rest of a test run on one processor. What runs side by side in one
// instant is then all but always in the same order.
func alone(t *testing.T) {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// The same seed plays the same run, to the instant and the byte. It is not certain of
// each: goroutines that can go on at the same instant are taken in the order that the
// scheduler likes, and it interrupts the longer ones by the clock on the wall.
func TestSameSeedSameRun(t *testing.T) {
	alone(t)
	from, runs := setting(t, "SIM_FROM", 1), setting(t, "SIM_AGAIN", 40)
	differ := 0
	for seed := from; seed < from+runs; seed++ {
		s := schedules().Example(seed)
		one, two := transcript(watched(t, seed, s, true).script), transcript(watched(t, seed, s, true).script)
		if one != two {
			differ++
			t.Logf("SIM_SEED=%d: %s", seed, difference(one, two))
		}
	}
	t.Logf("%d of %d runs were not the same twice", differ, runs)
	if differ > runs/10 {
		t.Errorf("%d of %d runs were not the same twice: a seed is no way to show what went wrong", differ, runs)
	}
}

// difference is where two transcripts part.
func difference(one, two string) string {
	a, b := strings.Split(one, "\n"), strings.Split(two, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "\n\t" + a[i] + "\n\t" + b[i]
		}
	}
	return "one is the beginning of the other"
}
