package kept

import (
	"bytes"
	"slices"
	"time"

	"holdfast/sessionstore"
)

const (
	defaultPageRecords = 1000
	defaultPageBytes   = 256 << 10
)

// Limits fills in what a caller left open.
func Limits(l sessionstore.PageLimits) sessionstore.PageLimits {
	if l.Records <= 0 {
		l.Records = defaultPageRecords
	}
	if l.Bytes <= 0 {
		l.Bytes = defaultPageBytes
	}
	return l
}

// reader goes through the records that are in memory.
type reader struct {
	log    *Log
	seq    uint64 // of the next
	seg    int    // the index of its segment
	offset int    // and where in it
	left   int    // records left in that segment
}

// read returns a reader from the oldest record in memory on.
func (lg *Log) read() reader {
	r := reader{log: lg, seq: lg.resident}
	if len(lg.segments) > 0 {
		r.offset, r.left = lg.segments[0].start, lg.segments[0].n
	}
	return r
}

// readFrom returns a reader at a record that is in memory, or the next.
func (lg *Log) readFrom(seq uint64) reader {
	r := lg.read()
	for r.seq < seq && seq-r.seq >= uint64(r.left) && r.seg < len(lg.segments)-1 {
		r.seq += uint64(r.left)
		r.enter(r.seg + 1)
	}
	for r.seq < seq {
		r.next()
	}
	return r
}

func (r *reader) enter(seg int) {
	r.seg, r.offset, r.left = seg, r.log.segments[seg].start, r.log.segments[seg].n
}

func (r *reader) more() bool { return r.seq <= r.log.newest }

// next returns the next record, in the log's own memory.
func (r *reader) next() (id, wire []byte) {
	if r.left == 0 {
		r.enter(r.seg + 1)
	}
	m := r.log.records.at(int(r.seq - r.log.oldest))
	b := r.log.segments[r.seg].buf[r.offset : r.offset+int(m.id)+int(m.wire)]
	r.offset += len(b)
	r.left--
	r.seq++
	return b[:m.id], b[m.id:]
}

// Seek finds the first record in memory with an ID. If there is none, lost says
// that one given up may have had it.
func (lg *Log) Seek(id []byte) (seq uint64, found, lost bool) {
	lost = lg.oldest > 1
	// What follows the last record given up is all there, but only the first with
	// the ID may stand for it: after a later one, something would be missing.
	if lost && lg.goneKnown && bytes.Equal(lg.goneID, id) {
		return lg.oldest - 1, lg.goneFirst, true
	}
	for r := lg.read(); r.more(); {
		seq = r.seq
		if got, _ := r.next(); bytes.Equal(got, id) {
			return seq, seq != lg.oldest || lg.goneKnown, lost
		}
	}
	return 0, false, lost
}

// Token is what the record at a position was written under; zero: not known.
func (lg *Log) Token(seq uint64) uint64 { return lg.token(seq) }

// Resident is the Seq of the oldest record in memory, and Oldest that of the
// oldest of all. They differ only where the log is stored elsewhere too.
func (lg *Log) Resident() uint64 { return lg.resident }

// Oldest is the Seq of the oldest record.
func (lg *Log) Oldest() uint64 { return lg.oldest }

// Check says whether a position can be read from.
func (lg *Log) Check(seq, token uint64) error {
	switch written := lg.token(seq); {
	case seq > lg.newest:
		return sessionstore.ErrAhead
	case seq+1 < lg.oldest:
		return sessionstore.ErrTruncated
	case token != 0 && written != 0 && written != token:
		return sessionstore.ErrAhead
	}
	return nil
}

// Page says what the log is like, without records.
func (lg *Log) Page() sessionstore.Page {
	return sessionstore.Page{Oldest: lg.oldest, Newest: lg.newest, Head: slices.Clone(lg.head), End: lg.end}
}

// After returns a page of what follows seq, as if nothing came after through. That is
// in memory, or nothing follows.
func (lg *Log) After(seq, through uint64, limits sessionstore.PageLimits) sessionstore.Page {
	limits = Limits(limits)
	page := lg.Page()
	if through < lg.newest {
		page.Newest, page.End = through, sessionstore.EndNone
	}
	// How many fit is known before they are copied: they take one piece of memory.
	n, size := 0, 0
	for next := seq + 1; next <= page.Newest && n < limits.Records; next++ {
		m := lg.records.at(int(next - lg.oldest))
		length := int(m.id) + int(m.wire)
		if n > 0 && size+length > limits.Bytes {
			break
		}
		n++
		size += length
	}
	page.More = seq+uint64(n) < page.Newest
	if n == 0 {
		return page
	}
	page.Records = make([]sessionstore.Record, 0, n)
	data := make([]byte, 0, size)
	take := func(b []byte) []byte {
		data = append(data, b...)
		return slices.Clip(data[len(data)-len(b):])
	}
	r := lg.readFrom(seq + 1)
	for range n {
		seq++
		id, wire := r.next()
		page.Records = append(page.Records, sessionstore.Record{Seq: seq, ID: take(id), Wire: take(wire)})
	}
	return page
}

// evict frees the oldest segment of the arena. What is safe elsewhere of its records
// leaves memory; what is not yet stays, in a smaller segment, if that makes any room, and
// is given up otherwise, with all that was before it.
func (a *Arena) evict() {
	seg := a.oldest
	if seg == nil {
		return
	}
	lg := seg.log // of which it is the oldest too, for its segments are in order
	here := func() bool { return len(lg.segments) > 0 && lg.segments[0] == seg }
	room := cap(seg.buf)
	for here() && lg.resident <= lg.stored {
		lg.leaveMemory(a, lg.records.at(int(lg.resident-lg.oldest)).size())
	}
	if !here() {
		return
	}
	if rest := seg.buf[seg.start:]; len(rest) <= room/2 && lg.resident > lg.oldest {
		a.shrink(seg)
		return
	}
	for lg.oldest < lg.resident {
		lg.giveUp(a) // no reader may be led across what follows
	}
	for here() {
		lg.giveUp(a)
	}
}

// Sweep looks at two segments, and gives up what has expired of their logs. To be
// called whenever a stream begins or ends, so that the memory of streams that
// nobody asks for is free again before twice as many have followed them. Time
// alone would not do to order them by: every policy has its own.
func (a *Arena) Sweep(now time.Time) {
	for range 2 {
		if a.hand == nil {
			a.hand = a.oldest
		}
		if a.hand == nil {
			return
		}
		seg := a.hand
		a.hand = seg.newer
		seg.log.Trim(a, now)
	}
}
