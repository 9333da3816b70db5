package kept

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"holdfast/sessionstore"
)

const (
	defaultLogBytes = 1 << 20
	defaultLogTTL   = time.Hour
)

// Log is the newest records of a stream: what their lengths and times are for all
// of them, and the bytes for those that are in memory. These are the newest; where
// nothing but memory keeps the log, they are all. Records are given up one by one,
// and their memory segment by segment.
type Log struct {
	limits sessionstore.LogLimits
	head   []byte
	end    sessionstore.End

	records  records
	tenures  []tenure
	oldest   uint64 // Seq of the oldest record, newest+1 if there is none
	newest   uint64
	bytes    int        // as LogLimits.Bytes counts
	segments []*segment // oldest first; none is empty
	resident uint64     // Seq of the oldest record in memory; newest+1 if none is
	stored   uint64     // Seq of the last record that is safe elsewhere

	// Of the last record given up: a position just after it is still good.
	goneID    []byte
	goneFirst bool // and it was the first with that ID
	goneKnown bool // or nothing is known of it

	changed chan struct{} // closed at the next change; nil: nobody waits for one
}

// newLog returns the log of a new stream, or nil if it has none.
func newLog(k *sessionstore.Key) *Log {
	if k.Log.Events <= 0 {
		return nil
	}
	lg := &Log{limits: k.Log, head: slices.Clone(k.Head), oldest: 1, resident: 1, goneKnown: true}
	if lg.limits.Bytes <= 0 {
		lg.limits.Bytes = defaultLogBytes
	}
	if lg.limits.TTL <= 0 {
		lg.limits.TTL = defaultLogTTL
	}
	return lg
}

// cost is what a record counts for.
func cost(id, wire int) int { return id + wire + sessionstore.RecordOverhead }

// Append adds records under a token; see sessionstore.Log. A nil Log takes none.
func (lg *Log) Append(a *Arena, token uint64, now time.Time, recs []sessionstore.Record) error {
	if lg == nil || len(recs) == 0 {
		return nil
	}
	if lg.end != sessionstore.EndNone {
		return sessionstore.ErrFenced
	}
	next := recs[0].Seq
	if next <= lg.newest {
		return fmt.Errorf("append: record %d comes after %d", next, lg.newest)
	}
	for i := range recs {
		if recs[i].Seq != next+uint64(i) {
			return fmt.Errorf("append: record %d comes after %d", recs[i].Seq, next+uint64(i)-1)
		}
	}
	if next > lg.newest+1 {
		lg.skip(a, next)
	}
	lg.hold(token, next)
	for i := range recs {
		lg.append(a, now, &recs[i])
	}
	lg.Trim(a, now)
	lg.Wake()
	return nil
}

// append adds one record, which follows the newest. The caller trims.
func (lg *Log) append(a *Arena, now time.Time, r *sessionstore.Record) {
	id := bounded(r.ID)
	size := len(id) + len(r.Wire)
	var seg *segment
	if n := len(lg.segments); n > 0 && cap(lg.segments[n-1].buf)-len(lg.segments[n-1].buf) >= size {
		seg = lg.segments[n-1]
	} else {
		seg = a.nextSegment(lg, size)
		lg.segments = append(lg.segments, seg)
	}
	seg.buf = append(append(seg.buf, id...), r.Wire...)
	seg.n++
	lg.records.push(now, len(id), len(r.Wire))
	lg.newest = r.Seq
	lg.bytes += cost(len(id), len(r.Wire))
}

// Trim gives up what is beyond the limits, oldest first. A nil Log has nothing.
func (lg *Log) Trim(a *Arena, now time.Time) {
	if lg == nil {
		return
	}
	for lg.oldest <= lg.newest {
		if lg.Count() <= lg.limits.Events && lg.bytes <= lg.limits.Bytes && now.Sub(lg.records.oldest()) < lg.limits.TTL {
			return
		}
		lg.giveUp(a)
	}
}

// Count is the number of records.
func (lg *Log) Count() int { return int(lg.newest + 1 - lg.oldest) }

// giveUp forgets the oldest record. There is one.
func (lg *Log) giveUp(a *Arena) {
	idLen, wireLen := lg.records.pop()
	lg.bytes -= cost(idLen, wireLen)
	lg.oldest++
	lg.retire()
	if lg.resident >= lg.oldest {
		// Its bytes went before it. Of the next one it is not known any more whether
		// it is the first with its ID.
		lg.goneKnown = false
		return
	}
	seg := lg.segments[0]
	id := seg.buf[seg.start : seg.start+idLen]
	lg.goneFirst = lg.goneKnown && !bytes.Equal(id, lg.goneID)
	lg.goneKnown = true
	lg.goneID = append(lg.goneID[:0], id...)
	lg.leaveMemory(a, idLen+wireLen)
}

// leaveMemory takes the bytes of the oldest record in memory out of it.
func (lg *Log) leaveMemory(a *Arena, size int) {
	seg := lg.segments[0]
	seg.start += size
	seg.n--
	lg.resident++
	if seg.n == 0 {
		lg.segments = slices.Delete(lg.segments, 0, 1)
		a.freeSegment(seg)
	}
}

// skip makes seq the next record's, which leaves a hole behind it.
func (lg *Log) skip(a *Arena, seq uint64) {
	lg.clear(a)
	lg.oldest, lg.newest, lg.resident = seq, seq-1, seq
	lg.tenures = nil
	lg.goneID, lg.goneKnown = lg.goneID[:0], false
}

func (lg *Log) clear(a *Arena) {
	for _, seg := range lg.segments {
		a.freeSegment(seg)
	}
	lg.segments, lg.bytes = nil, 0
	lg.records.clear()
	lg.oldest, lg.resident = lg.newest+1, lg.newest+1
}

// Forget is for a stream that is no more. A nil Log has nothing to forget.
func (lg *Log) Forget(a *Arena) {
	if lg != nil {
		lg.clear(a)
		lg.Wake()
	}
}

// Finish records the end.
func (lg *Log) Finish(end sessionstore.End) {
	if lg != nil {
		lg.end = end
		lg.Wake()
	}
}

// Changed is closed at the next change.
func (lg *Log) Changed() <-chan struct{} {
	if lg.changed == nil {
		lg.changed = make(chan struct{})
	}
	return lg.changed
}

// Wake tells those who wait that something has changed.
func (lg *Log) Wake() {
	if lg != nil && lg.changed != nil {
		close(lg.changed)
		lg.changed = nil
	}
}

// Info is what an operator sees.
func (lg *Log) Info() sessionstore.LogInfo {
	if lg == nil {
		return sessionstore.LogInfo{}
	}
	return sessionstore.LogInfo{Oldest: lg.oldest, Newest: lg.newest, Bytes: lg.bytes, End: lg.end}
}

// tenure is from where on records were written under a token.
type tenure struct{ from, token uint64 }

// hold says that the records from seq on are written under token.
func (lg *Log) hold(token, seq uint64) {
	if n := len(lg.tenures); n == 0 || lg.tenures[n-1].token != token {
		lg.tenures = append(lg.tenures, tenure{from: seq, token: token})
	}
}

// retire forgets the tenures that no position is in any more: one just before the
// oldest record is still good.
func (lg *Log) retire() {
	for len(lg.tenures) > 1 && lg.tenures[1].from < lg.oldest {
		lg.tenures = slices.Delete(lg.tenures, 0, 1)
	}
}

// token is what a record was written under; zero: not known.
func (lg *Log) token(seq uint64) uint64 {
	for _, t := range slices.Backward(lg.tenures) {
		if t.from <= seq {
			return t.token
		}
	}
	return 0
}
