package kept

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Segments grow with their log, from small ones for the many streams that send
// little, to large ones, which are used again: a busy stream that has reached its
// limits makes no garbage. Only a record that is larger still has a larger one.
const (
	minSegment = 512
	maxSegment = 16 << 10
)

// Segments that are used again come in four sizes to the power of two, so that a
// record wastes at most a quarter of its own, up to hugest.
const (
	classes = 4 * 9
	hugest  = maxSegment << 8
)

// classOf is for a segment with room for some bytes: how large to make it, and
// which of the classes it belongs to; -1: it is not used again.
func classOf(room int) (size, class int) {
	if room < maxSegment || room > hugest {
		return room, -1
	}
	n := bits.Len(uint(room - 1))
	step := 1 << (n - 3)
	steps := (room + step - 1) / step // 5 to 8
	return steps * step, 4*(n-bits.Len(maxSegment-1)) + steps - 5
}

// segment is a run of records of one log: their IDs and Wires, back to back. The
// log knows their lengths.
type segment struct {
	log   *Log
	buf   []byte
	start int // where the oldest record begins: what is before it was given up
	n     int // records from there on

	order        uint64   // in the whole store, by creation
	older, newer *segment // in the arena
}

// Memory is what all arenas of a store have in common.
type Memory struct {
	evicting sync.Mutex // one makes room at a time; taken before an arena's lock

	made   atomic.Uint64
	bytes  atomic.Int64
	spares [classes]sync.Pool // of *segment, for whichever log needs one next
}

// Bytes is what all segments take together.
func (m *Memory) Bytes() int64 { return m.bytes.Load() }

// Arenas are the arenas of a store, each with its lock.
type Arenas interface {
	Arena(i int) (sync.Locker, *Arena)
}

// Evict frees the oldest segments of all until they take no more than bound bytes
// together. It finds them by asking each of the n arenas, which a store at its bound
// pays for once a segment. The caller holds no arena's lock.
func (m *Memory) Evict(bound int64, arenas Arenas, n int) {
	m.evicting.Lock()
	defer m.evicting.Unlock()
	for m.Bytes() > bound {
		victim, oldest := -1, uint64(0)
		for i := range n {
			mu, a := arenas.Arena(i)
			mu.Lock()
			if order, ok := a.order(); ok && (victim < 0 || order < oldest) {
				victim, oldest = i, order
			}
			mu.Unlock()
		}
		if victim < 0 {
			return
		}
		mu, a := arenas.Arena(victim)
		mu.Lock()
		a.evict()
		mu.Unlock()
	}
}

// Arena is the segments of all logs behind one lock, in the order they were made in.
type Arena struct {
	memory         *Memory
	oldest, newest *segment
	hand           *segment // what Sweep looks at next; nil: the oldest
}

// NewArena returns an empty Arena that takes its memory from m.
func NewArena(m *Memory) Arena { return Arena{memory: m} }

// nextSegment makes one for lg that has room for size bytes.
func (a *Arena) nextSegment(lg *Log, size int) *segment {
	// A log of few bytes has small segments, or it would hold many times its limit.
	room := minSegment
	if n := len(lg.segments); n > 0 {
		room = min(2*cap(lg.segments[n-1].buf), maxSegment)
	}
	return a.newSegment(lg, max(min(room, lg.limits.Bytes/8), minSegment, size))
}

// newSegment makes one for lg, as the newest of the arena.
func (a *Arena) newSegment(lg *Log, room int) *segment {
	var seg *segment
	room, class := classOf(room)
	if class >= 0 {
		seg, _ = a.memory.spares[class].Get().(*segment)
	}
	if seg == nil {
		seg = &segment{buf: make([]byte, 0, room)}
	}
	seg.log, seg.order = lg, a.memory.made.Add(1)
	a.memory.bytes.Add(int64(cap(seg.buf)))
	if seg.older = a.newest; seg.older != nil {
		seg.older.newer = seg
	} else {
		a.oldest = seg
	}
	a.newest = seg
	return seg
}

// freeSegment takes a segment out. Nothing may point to it any more.
func (a *Arena) freeSegment(seg *segment) {
	if a.hand == seg {
		a.hand = seg.newer
	}
	if seg.older != nil {
		seg.older.newer = seg.newer
	} else {
		a.oldest = seg.newer
	}
	if seg.newer != nil {
		seg.newer.older = seg.older
	} else {
		a.newest = seg.older
	}
	a.memory.bytes.Add(-int64(cap(seg.buf)))
	if _, class := classOf(cap(seg.buf)); class >= 0 {
		*seg = segment{buf: seg.buf[:0]}
		a.memory.spares[class].Put(seg)
	}
}

// shrink gives back the room before a segment's oldest record. The segment keeps
// its place in the arena: those of a log are in the log's order there.
func (a *Arena) shrink(seg *segment) {
	rest := seg.buf[seg.start:]
	room, _ := classOf(len(rest))
	a.memory.bytes.Add(int64(room - cap(seg.buf)))
	seg.buf, seg.start = append(make([]byte, 0, room), rest...), 0
}

// order says how old the oldest segment is compared to those of other arenas;
// the less, the older. False: there is none.
func (a *Arena) order() (order uint64, ok bool) {
	if a.oldest == nil {
		return 0, false
	}
	return a.oldest.order, true
}
