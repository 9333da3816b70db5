//go:build !race

package seal

import "testing"

// TestAllocations: an id is made for every event. Not under the race detector,
// for there a sync.Pool drops things at random.
func TestAllocations(t *testing.T) {
	s := newSealer(t, keyA)
	buf := make([]byte, 0, MaxID)
	if got := testing.AllocsPerRun(1000, func() {
		c := here
		buf = s.Append(buf[:0], &mine, &c)
	}); got != 0 {
		t.Errorf("Append allocates %v times", got)
	}
	id := string(buf)
	if got := testing.AllocsPerRun(1000, func() { _, _ = s.Open(id, &mine) }); got > 1 { // the origin's cursor
		t.Errorf("Open allocates %v times", got)
	}
	if got := testing.AllocsPerRun(1000, func() { _, _ = s.Open(id, &other) }); got != 0 {
		t.Errorf("Open of another's allocates %v times", got)
	}
}
