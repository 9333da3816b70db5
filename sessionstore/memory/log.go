package memory

import (
	"bytes"
	"slices"
	"time"

	"holdfast/sessionstore"
)

const (
	defaultLogBytes = 1 << 20
	defaultPageSize = 1000
	defaultPageData = 256 << 10
)

// log holds the newest records of a stream in segments, each of which is a run of
// records back to back. Records are given up one by one, and their memory segment
// by segment. The lock of the session's shard guards it.
type log struct {
	limits sessionstore.LogLimits
	head   []byte
	end    sessionstore.End

	segments []*segment // oldest first; none is empty
	oldest   uint64     // Seq of the oldest record, newest+1 if there is none
	newest   uint64
	bytes    int // as LogLimits.Bytes counts

	// Of the last record given up: a position just after it is still good.
	goneToken uint64
	goneID    []byte
	goneFirst bool // and it was the first with that ID

	changed chan struct{} // closed at the next change; nil: nobody waits for one
}

// newLog returns the log of a new stream, or nil if it has none.
func newLog(k *sessionstore.Key) *log {
	if k.Log.Events <= 0 {
		return nil
	}
	lg := &log{limits: k.Log, head: slices.Clone(k.Head), oldest: 1}
	if lg.limits.Bytes <= 0 {
		lg.limits.Bytes = defaultLogBytes
	}
	if lg.limits.TTL <= 0 {
		lg.limits.TTL = defaultTTL
	}
	return lg
}

// cost is what a record counts for.
func cost(id, wire []byte) int { return len(id) + len(wire) + sessionstore.RecordOverhead }

// append adds one record, which follows the newest. The caller trims.
func (lg *log) append(sh *shard, token uint64, now time.Time, r *sessionstore.Record) {
	id := bounded(r.ID)
	size := headerSize + len(id) + len(r.Wire)
	seg := lg.current(token, now, size)
	if seg == nil {
		seg = sh.newSegment(lg, size)
		seg.token, seg.base = token, now
		lg.segments = append(lg.segments, seg)
	}
	seg.append(now, id, r.Wire)
	lg.newest = r.Seq
	lg.bytes += cost(id, r.Wire)
}

// current is the segment that takes the next record of some size; nil: a new one must.
func (lg *log) current(token uint64, now time.Time, size int) *segment {
	if len(lg.segments) == 0 {
		return nil
	}
	seg := lg.segments[len(lg.segments)-1]
	if seg.token != token || cap(seg.buf)-len(seg.buf) < size || !seg.spans(now) {
		return nil
	}
	return seg
}

// trim gives up what is beyond the limits, oldest first.
func (lg *log) trim(sh *shard, now time.Time) {
	for len(lg.segments) > 0 {
		if lg.count() <= lg.limits.Events && lg.bytes <= lg.limits.Bytes &&
			now.Sub(lg.segments[0].oldestTime()) < lg.limits.TTL {
			return
		}
		lg.giveUp(sh)
	}
}

func (lg *log) count() int { return int(lg.newest + 1 - lg.oldest) }

// giveUp forgets the oldest record. There is one.
func (lg *log) giveUp(sh *shard) {
	seg := lg.segments[0]
	id, wire := seg.takeOldest()
	lg.goneFirst = !bytes.Equal(id, lg.goneID)
	lg.goneID = append(lg.goneID[:0], id...)
	lg.goneToken = seg.token
	lg.bytes -= cost(id, wire)
	lg.oldest++
	if seg.empty() {
		lg.segments = slices.Delete(lg.segments, 0, 1)
		sh.freeSegment(seg)
	}
}

// giveUpFirst forgets all records of the oldest segment.
func (lg *log) giveUpFirst(sh *shard) {
	for seg := lg.segments[0]; len(lg.segments) > 0 && lg.segments[0] == seg; {
		lg.giveUp(sh)
	}
}

// skip makes seq the next record's, which leaves a hole behind it.
func (lg *log) skip(sh *shard, seq uint64) {
	lg.clear(sh)
	lg.oldest, lg.newest = seq, seq-1
	lg.goneToken, lg.goneID, lg.goneFirst = 0, lg.goneID[:0], false
}

func (lg *log) clear(sh *shard) {
	for _, seg := range lg.segments {
		sh.freeSegment(seg)
	}
	lg.segments, lg.bytes = nil, 0
	lg.oldest = lg.newest + 1
}

// forget is for a stream that is no more. A nil log has nothing to forget.
func (lg *log) forget(sh *shard) {
	if lg != nil {
		lg.clear(sh)
		lg.wake()
	}
}

// wake tells those who wait that something has changed.
func (lg *log) wake() {
	if lg != nil && lg.changed != nil {
		close(lg.changed)
		lg.changed = nil
	}
}

func (lg *log) info() sessionstore.LogInfo {
	if lg == nil {
		return sessionstore.LogInfo{}
	}
	return sessionstore.LogInfo{Oldest: lg.oldest, Newest: lg.newest, Bytes: lg.bytes, End: lg.end}
}

// seek finds the first record with an ID and says its Seq and its token. If there
// is none, lost says that one given up may have had it.
func (lg *log) seek(id []byte) (seq, token uint64, found, lost bool) {
	// What follows the last record given up is all there, but only the first with
	// the ID may stand for it: after a later one, something would be missing.
	if lg.oldest > 1 && bytes.Equal(lg.goneID, id) {
		return lg.oldest - 1, lg.goneToken, lg.goneFirst, true
	}
	seq = lg.oldest
	for _, seg := range lg.segments {
		for r := seg.reader(); r.more(); seq++ {
			if got, _ := r.next(); bytes.Equal(got, id) {
				return seq, seg.token, true, false
			}
		}
	}
	return 0, 0, false, lg.oldest > 1
}

// after copies what follows seq, which was written under token.
func (lg *log) after(seq, token uint64, limits sessionstore.PageLimits) (sessionstore.Page, error) {
	if limits.Records <= 0 {
		limits.Records = defaultPageSize
	}
	if limits.Bytes <= 0 {
		limits.Bytes = defaultPageData
	}
	page := sessionstore.Page{Oldest: lg.oldest, Newest: lg.newest, Head: slices.Clone(lg.head), End: lg.end}
	switch {
	case seq > lg.newest:
		return page, sessionstore.ErrAhead
	case seq+1 < lg.oldest:
		return page, sessionstore.ErrTruncated
	}
	// Two looks: the copies then take one piece of memory.
	from, others := lg.find(seq + 1)
	written := lg.goneToken
	if seq >= lg.oldest {
		at, _ := lg.find(seq)
		written = at.token
	}
	if token != 0 && written != 0 && written != token {
		return page, sessionstore.ErrAhead
	}
	n, size := measure(from, others, limits)
	page.More = seq+uint64(n) < lg.newest
	if n == 0 {
		return page, nil
	}
	page.Records = make([]sessionstore.Record, 0, n)
	data := make([]byte, 0, size)
	take := func(b []byte) []byte {
		data = append(data, b...)
		return slices.Clip(data[len(data)-len(b):])
	}
	walk(from, others, func(id, wire []byte) bool {
		seq++
		page.Records = append(page.Records, sessionstore.Record{Seq: seq, ID: take(id), Wire: take(wire)})
		return len(page.Records) < n
	})
	return page, nil
}

// find returns a reader at a record, with its segment's token, and the segments
// that follow. The record is kept, or is the next.
func (lg *log) find(seq uint64) (reader, []*segment) {
	skip := int(seq - lg.oldest)
	for i, seg := range lg.segments {
		if skip >= seg.n {
			skip -= seg.n
			continue
		}
		r := seg.reader()
		for ; skip > 0; skip-- {
			r.next()
		}
		return r, lg.segments[i+1:]
	}
	return reader{}, nil
}

// walk goes through records until f has had enough.
func walk(r reader, others []*segment, f func(id, wire []byte) bool) {
	for {
		for r.more() {
			if !f(r.next()) {
				return
			}
		}
		if len(others) == 0 {
			return
		}
		r, others = others[0].reader(), others[1:]
	}
}

// measure says how many records fit into a page, and how large they are.
func measure(r reader, others []*segment, limits sessionstore.PageLimits) (n, size int) {
	walk(r, others, func(id, wire []byte) bool {
		if n > 0 && size+len(id)+len(wire) > limits.Bytes {
			return false
		}
		n++
		size += len(id) + len(wire)
		return n < limits.Records
	})
	return n, size
}
