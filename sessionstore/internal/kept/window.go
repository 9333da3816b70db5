package kept

import (
	"math"

	"holdfast/sessionstore"
)

// window holds the newest entries, at most limit, in a ring that grows with them:
// most streams never fill it.
type window struct {
	ring  []uint64 // grows to limit, and only then wraps
	limit int32
	next  int32 // where the next entry goes, once the ring is full

	// Since they were taken.
	added   int32 // at most limit+1
	cleared bool
}

func newWindow(limit int) window {
	if limit <= 0 {
		limit = sessionstore.DefaultWindow
	}
	return window{limit: int32(min(limit, math.MaxInt32-1))}
}

// minWindow is the first size of a ring.
const minWindow = 8

func (w *window) len() int { return len(w.ring) }

// clear keeps the ring, for whoever started over will fill it again.
func (w *window) clear() {
	w.ring, w.next = w.ring[:0], 0
	w.added, w.cleared = 0, true
}

func (w *window) add(entries []uint64) {
	limit := int(w.limit)
	w.added = int32(min(int(w.added)+len(entries), limit+1))
	if len(entries) > limit {
		entries = entries[len(entries)-limit:]
	}
	if room := limit - len(w.ring); room > 0 {
		n := min(room, len(entries))
		w.grow(len(w.ring) + n)
		w.ring = append(w.ring, entries[:n]...)
		entries = entries[n:]
	}
	// At most limit are left, so this turns at most once around.
	for len(entries) > 0 {
		n := copy(w.ring[w.next:], entries)
		entries = entries[n:]
		w.next = int32((int(w.next) + n) % limit)
	}
}

// grow makes place for n entries. append alone would round up beyond the limit.
func (w *window) grow(n int) {
	if n <= cap(w.ring) {
		return
	}
	size := max(minWindow, cap(w.ring))
	for size < n {
		size *= 2
	}
	ring := make([]uint64, len(w.ring), min(size, int(w.limit)))
	copy(ring, w.ring)
	w.ring = ring
}

// snapshot returns a copy, oldest first; nil if there is nothing.
func (w *window) snapshot() []uint64 { return w.newest(len(w.ring)) }

// newest returns a copy of the n newest entries, oldest first; nil for none.
func (w *window) newest(n int) []uint64 {
	if n == 0 {
		return nil
	}
	out := make([]uint64, 0, n)
	// The ring's older part is behind next, and all of it where nothing has wrapped.
	next := int(w.next)
	if older := w.ring[next:]; n > next {
		skip := len(older) - (n - next)
		out = append(out, older[skip:]...)
	}
	return append(out, w.ring[next-min(n, next):next]...)
}
