package processor

import (
	"sync"
	"time"
)

// chunkBuffer is what a body is read into: one read takes all that has arrived,
// up to this.
type chunkBuffer [32 << 10]byte

// buffers lends them, for no longer than it takes to pass a chunk on. Streams
// that are silent, which at any moment is nearly all of them, have none.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *chunkBuffer {
	if buf, ok := b.pool.Get().(*chunkBuffer); ok {
		return buf
	}
	return new(chunkBuffer)
}

func (b *buffers) put(buf *chunkBuffer) { b.pool.Put(buf) }

// seldom lets a complaint through once in a while: whoever causes it shall not
// fill the log. The zero value is ready for use.
type seldom struct {
	mu   sync.Mutex
	next time.Time
}

// complainEvery is the least time between two complaints of one kind.
const complainEvery = time.Minute

func (s *seldom) allow(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		return false
	}
	s.next = now.Add(complainEvery)
	return true
}
