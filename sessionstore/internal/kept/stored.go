package kept

import (
	"slices"
	"time"

	"holdfast/sessionstore"
)

// LogState is what is known of a log beside its records: what has to be stored
// with them.
type LogState struct {
	Oldest, Newest uint64
	Bytes          int
	End            sessionstore.End
	NewestAt       time.Time // when the newest record was made; zero: there is none

	// Of the record before the oldest, if anything is known of it.
	GoneKnown bool
	GoneID    []byte
	GoneFirst bool
	GoneToken uint64
}

// Batch is a run of records of one token.
type Batch struct {
	First, Token uint64
	At           []time.Time
	IDs, Wires   [][]byte
}

// State copies what is known of the log.
func (lg *Log) State() LogState {
	s := LogState{
		Oldest: lg.oldest, Newest: lg.newest, Bytes: lg.bytes, End: lg.end,
		GoneKnown: lg.goneKnown, GoneID: slices.Clone(lg.goneID), GoneFirst: lg.goneFirst,
		GoneToken: lg.token(lg.oldest - 1),
	}
	if n := lg.Count(); n > 0 {
		s.NewestAt = lg.records.time(lg.records.at(n - 1))
	}
	return s
}

// Limits is Key.Log of the stream, with its defaults filled in.
func (lg *Log) Limits() sessionstore.LogLimits { return lg.limits }

// Head is Key.Head of the stream. It never changes.
func (lg *Log) Head() []byte { return lg.head }

// Stored is the Seq of the last record that is safe elsewhere.
func (lg *Log) Stored() uint64 { return lg.stored }

// SetStored says up to where the records are safe elsewhere.
func (lg *Log) SetStored(seq uint64) { lg.stored = seq }

// Unstored copies records that are not safe elsewhere yet, the oldest first: those
// of one token, about that many bytes of them. False: there are none.
func (lg *Log) Unstored(bytes int) (Batch, bool) {
	first := max(lg.stored+1, lg.resident)
	if first > lg.newest {
		return Batch{}, false
	}
	b := Batch{First: first, Token: lg.token(first)}
	n, size := 0, 0
	for seq := first; seq <= lg.newest && (n == 0 || size < bytes) && lg.token(seq) == b.Token; seq++ {
		size += lg.records.at(int(seq - lg.oldest)).size()
		n++
	}
	b.At = make([]time.Time, 0, n)
	pieces := make([][]byte, 0, 2*n)
	data := make([]byte, 0, size)
	take := func(p []byte) []byte {
		data = append(data, p...)
		return slices.Clip(data[len(data)-len(p):])
	}
	r := lg.readFrom(first)
	for range n {
		b.At = append(b.At, lg.records.time(lg.records.at(int(r.seq-lg.oldest))))
		id, wire := r.next()
		pieces = append(pieces, take(id), take(wire))
	}
	b.IDs, b.Wires = make([][]byte, n), make([][]byte, n)
	for i := range n {
		b.IDs[i], b.Wires[i] = pieces[2*i], pieces[2*i+1]
	}
	return b, true
}

// GiveUpAbsent gives up the records that are not in memory: they were safe
// elsewhere and are not any more. A nil Log has none.
func (lg *Log) GiveUpAbsent(a *Arena) {
	if lg == nil {
		return
	}
	for lg.oldest < lg.resident {
		lg.giveUp(a)
	}
	lg.stored = 0
}

// RestoreLog returns a log that was stored, with all of its records in memory.
// Records before the oldest are left out, and so are those that come twice; after
// a hole, what was before it.
func RestoreLog(a *Arena, limits sessionstore.LogLimits, head []byte, s LogState, batches []Batch) *Log {
	lg := newLog(&sessionstore.Key{Log: limits, Head: head})
	if lg == nil {
		return nil
	}
	lg.end = s.End
	lg.goneKnown, lg.goneID, lg.goneFirst = s.GoneKnown, slices.Clone(s.GoneID), s.GoneFirst
	lg.oldest, lg.newest, lg.resident = s.Oldest, s.Oldest-1, s.Oldest
	if s.GoneToken != 0 {
		lg.tenures = []tenure{{from: s.Oldest - 1, token: s.GoneToken}}
	}
	for _, b := range batches {
		lg.restore(a, &b, s.Newest)
	}
	if lg.newest < s.Newest { // the newest are not there: so nothing is, for a reader
		lg.skip(a, s.Newest+1)
	}
	lg.stored = lg.newest
	return lg
}

func (lg *Log) restore(a *Arena, b *Batch, newest uint64) {
	for i := range b.Wires {
		seq := b.First + uint64(i)
		switch {
		case seq <= lg.newest || seq > newest:
			continue
		case seq > lg.newest+1:
			lg.skip(a, seq)
		}
		lg.hold(b.Token, seq)
		lg.append(a, b.At[i], &sessionstore.Record{Seq: seq, ID: b.IDs[i], Wire: b.Wires[i]})
	}
}

// MoreUnstored says whether Unstored would return any. A nil Log has none.
func (lg *Log) MoreUnstored() bool {
	return lg != nil && max(lg.stored+1, lg.resident) <= lg.newest
}
