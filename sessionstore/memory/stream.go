package memory

import (
	"strings"
	"time"

	"holdfast/sessionstore"
)

// stream is a sessionstore.State in a form that Advance can change in place.
type stream struct {
	number uint64
	token  uint64 // of the lease that may write
	line   sessionstore.LineID
	saved  time.Time
	live   bool

	trust      uint8
	epoch      uint32
	acked      string
	lastSent   []byte // reused: an id costs no garbage
	window     window
	key        [2]uint64
	events     uint64
	duplicates uint64
	continues  uint64

	log *log // nil: none
}

func newStream(k sessionstore.Key) *stream {
	limit := k.Window
	if limit <= 0 {
		limit = sessionstore.DefaultWindow
	}
	return &stream{line: k.Line, token: 1, live: true, window: window{limit: limit}, log: newLog(&k)}
}

// replace keeps the buffers: a stream that saves itself often makes no garbage.
func (st *stream) replace(s *sessionstore.State) {
	st.acked = strings.Clone(bounded(s.Acked)) // it may be a piece of a request's headers
	st.lastSent = append(st.lastSent[:0], bounded(s.LastSent)...)
	st.window.clear()
	st.window.add(s.Window)
	st.key = s.Key
	st.epoch, st.trust = s.Epoch, s.Trust
	st.events, st.duplicates = s.Events, s.Duplicates
	st.continues = s.Continues
}

func (st *stream) advance(p *sessionstore.Progress) {
	st.lastSent = append(st.lastSent[:0], bounded(p.LastSent)...)
	st.window.add(p.Seen)
	st.epoch, st.trust = p.Epoch, p.Trust
	st.events, st.duplicates = p.Events, p.Duplicates
}

// bounded returns id, or nothing if it is longer than any client can return.
func bounded[T string | []byte](id T) T {
	if len(id) > sessionstore.MaxID {
		var none T // and not id[:0], which would keep all of id in memory
		return none
	}
	return id
}

// window holds the newest entries, at most limit, in a ring that grows with them:
// most streams never fill it.
type window struct {
	limit int
	ring  []uint64 // grows to limit, and only then wraps
	next  int      // where the next entry goes, once the ring is full
}

// minWindow is the first size of a ring.
const minWindow = 8

func (w *window) len() int { return len(w.ring) }

// clear keeps the ring, for whoever started over will fill it again.
func (w *window) clear() { w.ring, w.next = w.ring[:0], 0 }

func (w *window) add(entries []uint64) {
	if len(entries) > w.limit {
		entries = entries[len(entries)-w.limit:]
	}
	if room := w.limit - len(w.ring); room > 0 {
		n := min(room, len(entries))
		w.grow(len(w.ring) + n)
		w.ring = append(w.ring, entries[:n]...)
		entries = entries[n:]
	}
	// At most limit are left, so this turns at most once around.
	for len(entries) > 0 {
		n := copy(w.ring[w.next:], entries)
		entries = entries[n:]
		w.next = (w.next + n) % w.limit
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
	ring := make([]uint64, len(w.ring), min(size, w.limit))
	copy(ring, w.ring)
	w.ring = ring
}

// snapshot returns a copy, oldest first; nil if there is nothing.
func (w *window) snapshot() []uint64 {
	if len(w.ring) == 0 {
		return nil
	}
	out := make([]uint64, 0, len(w.ring))
	out = append(out, w.ring[w.next:]...)
	return append(out, w.ring[:w.next]...)
}
