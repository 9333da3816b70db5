package memory

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
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

// headerSize is what stands before a record's ID and Wire: the lengths of both,
// and the milliseconds since the segment's base.
const headerSize = 4 + 2 + 4

// segment is a run of records of one log, written under one lease.
type segment struct {
	log   *log
	token uint64
	base  time.Time // of the first record
	buf   []byte
	start int // where the oldest record begins: what is before it was given up
	n     int // records from there on

	order        uint64   // in the whole store, by creation
	older, newer *segment // in the shard
}

// spans says whether a record of this time can be put into the segment.
func (s *segment) spans(now time.Time) bool {
	d := now.Sub(s.base).Milliseconds()
	return d < 1<<32
}

func (s *segment) append(now time.Time, id, wire []byte) {
	var h [headerSize]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(len(wire)))
	binary.LittleEndian.PutUint16(h[4:], uint16(len(id)))
	// A clock that was set back makes a record no older than the segment.
	binary.LittleEndian.PutUint32(h[6:], uint32(max(now.Sub(s.base).Milliseconds(), 0)))
	s.buf = append(s.buf, h[:]...)
	s.buf = append(s.buf, id...)
	s.buf = append(s.buf, wire...)
	s.n++
}

func (s *segment) empty() bool { return s.n == 0 }

func (s *segment) oldestTime() time.Time {
	return s.base.Add(time.Duration(binary.LittleEndian.Uint32(s.buf[s.start+6:])) * time.Millisecond)
}

// takeOldest removes the oldest record. What it returns is good until the segment
// is written to or freed.
func (s *segment) takeOldest() (id, wire []byte) {
	r := s.reader()
	id, wire = r.next()
	s.start = len(s.buf) - len(r.rest)
	s.n--
	return id, wire
}

func (s *segment) reader() reader { return reader{token: s.token, rest: s.buf[s.start:]} }

// reader goes through the records of a segment.
type reader struct {
	token uint64
	rest  []byte
}

func (r *reader) more() bool { return len(r.rest) > 0 }

func (r *reader) next() (id, wire []byte) {
	w := int(binary.LittleEndian.Uint32(r.rest))
	i := int(binary.LittleEndian.Uint16(r.rest[4:]))
	id = r.rest[headerSize : headerSize+i]
	wire = r.rest[headerSize+i : headerSize+i+w]
	r.rest = r.rest[headerSize+i+w:]
	return id, wire
}

// segments counts those of all shards.
type segments struct {
	made   atomic.Uint64
	bytes  atomic.Int64
	spares [classes]sync.Pool // of *segment, for whichever log needs one next
}

// newSegment makes one for lg that has room for size bytes, and makes it the
// newest of the shard.
func (sh *shard) newSegment(lg *log, size int) *segment {
	// A log of few bytes has small segments, or it would hold many times its limit.
	room := minSegment
	if n := len(lg.segments); n > 0 {
		room = min(2*cap(lg.segments[n-1].buf), maxSegment)
	}
	room = max(min(room, lg.limits.Bytes/8), minSegment, size)

	var seg *segment
	room, class := classOf(room)
	if class >= 0 {
		seg, _ = sh.segments.spares[class].Get().(*segment)
	}
	if seg == nil {
		seg = &segment{buf: make([]byte, 0, room)}
	}
	seg.log, seg.order = lg, sh.segments.made.Add(1)
	sh.segments.bytes.Add(int64(cap(seg.buf)))
	if seg.older = sh.newestSegment; seg.older != nil {
		seg.older.newer = seg
	} else {
		sh.oldestSegment = seg
	}
	sh.newestSegment = seg
	return seg
}

// freeSegment takes a segment out of the shard. Nothing may point to it any more.
func (sh *shard) freeSegment(seg *segment) {
	if sh.hand == seg {
		sh.hand = seg.newer
	}
	if seg.older != nil {
		seg.older.newer = seg.newer
	} else {
		sh.oldestSegment = seg.newer
	}
	if seg.newer != nil {
		seg.newer.older = seg.older
	} else {
		sh.newestSegment = seg.older
	}
	sh.segments.bytes.Add(-int64(cap(seg.buf)))
	if _, class := classOf(cap(seg.buf)); class >= 0 {
		*seg = segment{buf: seg.buf[:0]}
		sh.segments.spares[class].Put(seg)
	}
}

// sweep looks at two segments, and gives up what has expired of their logs. It is
// called whenever a stream begins or ends, and so memory of streams that nobody
// asks for is free again before twice as many have followed them. Time alone would
// not do to order them by: every policy has its own.
func (sh *shard) sweep(now time.Time) {
	for range 2 {
		if sh.hand == nil {
			sh.hand = sh.oldestSegment
		}
		if sh.hand == nil {
			return
		}
		seg := sh.hand
		sh.hand = seg.newer
		seg.log.trim(sh, now)
	}
}
