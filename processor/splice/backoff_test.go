package splice

import (
	"testing"
	"time"
)

// Streams that failed together do not come back together, and none waits for longer
// than the operator wants.
func TestJitter(t *testing.T) {
	for _, p := range []Backoff{
		{Jitter: 0.1},
		{Base: time.Second, Max: time.Second, Jitter: 0.5},
		{Base: 2 * time.Second, Max: time.Minute, Jitter: 1},
	} {
		for _, tries := range []int32{1, 2, 3, 6, 40, 1 << 20} {
			full := min(p.base()<<min(tries-1, 20), p.ceiling())
			least := time.Duration(float64(full) * (1 - p.jitter()))
			most := min(time.Duration(float64(full)*(1+p.jitter())), p.max())
			waits := map[time.Duration]bool{}
			sum := time.Duration(0)
			const streams = 1000
			for seed := range uint64(streams) {
				b := backoffState{policy: &p, random: seed}
				d := b.wait(tries)
				if d < least-1 || d > most+1 {
					t.Errorf("%+v, after %d attempts: %v, want %v to %v", p, tries, d, least, most)
				}
				waits[d] = true
				sum += d
			}
			if len(waits) < streams*9/10 {
				t.Errorf("%+v, after %d attempts: %d streams wait %d different times", p, tries, streams, len(waits))
			}
			if mean := sum / streams; mean < full*9/10 || mean > full*11/10 {
				t.Errorf("%+v, after %d attempts: %v on average, want about %v", p, tries, mean, full)
			}
		}
	}
}

// What a server asks for is never undercut, and not exceeded by much.
func TestServersWish(t *testing.T) {
	p := Backoff{Jitter: 0.1}
	for _, wish := range []time.Duration{time.Second, 20 * time.Second, time.Hour} {
		for seed := range uint64(1000) {
			b := backoffState{policy: &p, random: seed}
			if d := b.later(wish); d < wish || d > wish+min(wish, p.max())/10 {
				t.Fatalf("asked for %v, waits %v", wish, d)
			}
			b.hinted(wish)
			if d := b.later(b.hint); d > p.max() {
				t.Fatalf("retry: %v leads to a wait of %v", wish, d)
			}
		}
	}
}

// The same seed waits equally long: a run can be played again.
func TestWaitsAreRepeatable(t *testing.T) {
	p := Backoff{Jitter: 0.3}
	a, b := backoffState{policy: &p, random: 7}, backoffState{policy: &p, random: 7}
	for n := range int32(20) {
		if x, y := a.wait(n), b.wait(n); x != y {
			t.Fatalf("attempt %d: %v and %v", n, x, y)
		}
	}
}
