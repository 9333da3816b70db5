package sim

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSchedules plays schedules drawn from the seeds SIM_FROM and following,
// SIM_RUNS of them, or the one of SIM_SEED and shows all that happens in it.
func TestSchedules(t *testing.T) {
	if seed := setting(t, "SIM_SEED", 0); seed > 0 {
		replay(t, seed)
		return
	}
	from, runs := setting(t, "SIM_FROM", 1), setting(t, "SIM_RUNS", 200)
	begun := time.Now()
	total, failures := playAll(t, from, runs)
	t.Logf("%d runs, seeds %d to %d, in %v: %s", total.runs, from, from+runs-1, time.Since(begun).Round(time.Millisecond), &total)
	if len(failures) == 0 {
		return
	}
	slices.SortFunc(failures, func(a, b failure) int { return a.seed - b.seed })
	t.Run("made smaller", func(t *testing.T) { shrink(t, failures[0].seed) })
	for _, f := range failures {
		t.Errorf("SIM_SEED=%d: %s", f.seed, list(f.faults))
	}
}

// setting is a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: use a number from 1", name, text)
	}
	return n
}

// failure is a run with faults.
type failure struct {
	seed   int
	faults []fault
}

// most is how many failures are looked for before it is enough.
const most = 10

// playAll plays one schedule after the other on every processor.
func playAll(t *testing.T, from, runs int) (total totals, failures []failure) {
	t.Helper()
	var mu sync.Mutex
	var next atomic.Int64
	t.Run("all", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := int(next.Add(1)) - 1; i < runs; i = int(next.Add(1)) - 1 {
					res := watched(t, from+i, schedules().Example(from+i), false)
					mu.Lock()
					total.add(&res.stats)
					if len(res.faults) > 0 {
						failures = append(failures, failure{from + i, res.faults})
					}
					enough := len(failures) >= most
					mu.Unlock()
					if enough {
						return
					}
				}
			})
		}
	})
	return total, failures
}

// tooLong is more than any run takes, by far, on a busy machine too.
const tooLong = 2 * time.Minute

// watched is run, unless it stands still: a goroutine that waits in a way that is
// none to a bubble stops the time.
func watched(t *testing.T, seed int, s *schedule, script bool) result {
	dog := time.AfterFunc(tooLong, func() {
		panic(fmt.Sprintf("SIM_SEED=%d stands still", seed))
	})
	defer dog.Stop()
	return run(t, s, script)
}

// replay shows one run.
func replay(t *testing.T, seed int) {
	t.Helper()
	alone(t)
	s := schedules().Example(seed)
	res := watched(t, seed, s, true)
	fmt.Print(s, transcript(res.script))
	for _, f := range res.faults {
		t.Error(f.text)
	}
}

// shrinkTime is how long a failure is made smaller.
const shrinkTime = "20s"

// shrink lets rapid look for the smallest schedule that still has a fault.
func shrink(t *testing.T, seed int) {
	alone(t)
	for name, value := range map[string]string{
		"rapid.seed": strconv.Itoa(seed), "rapid.checks": "1", "rapid.nofailfile": "true", "rapid.shrinktime": shrinkTime,
	} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	kind := ""
	rapid.Check(t, func(rt *rapid.T) {
		s := schedules().Draw(rt, "schedule")
		res := watched(t, seed, s, true)
		if len(res.faults) > 0 && (kind == "" || kind == res.faults[0].kind) {
			kind = res.faults[0].kind // a smaller schedule is one with the same fault
			rt.Logf("%s\n%s%s", list(res.faults), s, transcript(res.script))
			rt.Fatal(kind)
		}
	})
}

func list(faults []fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%s\n\t", f.text)
	}
	return strings.TrimSpace(b.String())
}

// transcript is a script in the order of time; of what happens in one instant,
// each party's part in its order.
func transcript(script []line) string {
	slices.SortStableFunc(script, func(a, b line) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.who, b.who)
	})
	var b strings.Builder
	for _, l := range script {
		fmt.Fprintf(&b, "%-15v %-17s %s\n", l.at, l.who, l.what)
	}
	return b.String()
}

// totals are what all runs were like.
type totals struct {
	runs, visits, attempts, events int
	virtual                        time.Duration
	outcomes                       map[string]int
}

func (t *totals) add(s *stats) {
	t.runs++
	t.visits += s.visits
	t.attempts += s.attempts
	t.events += s.events
	t.virtual += s.virtual
	if t.outcomes == nil {
		t.outcomes = map[string]int{}
	}
	for k, n := range s.outcomes {
		t.outcomes[k] += n
	}
}

// String sums up.
func (t *totals) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v of virtual time, %d connections, %d requests to origins, %d events", t.virtual.Round(time.Second), t.visits, t.attempts, t.events)
	for _, k := range slices.Sorted(maps.Keys(t.outcomes)) {
		fmt.Fprintf(&b, ", %s %d", k, t.outcomes[k])
	}
	return b.String()
}
