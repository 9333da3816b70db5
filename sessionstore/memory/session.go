package memory

import (
	"cmp"
	"slices"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// session is what one client did. Its shard's lock guards it. There may be a
// million, most of them idle with one small stream, so it holds slices and no maps.
type session struct {
	id            sessionstore.SessionID
	info          sessionstore.Info
	created, used time.Time
	last          uint64         // number of the newest stream, kept or not
	streams       []*kept.Stream // oldest first, so their numbers rise
	live          int            // streams not released
}

// find is called at every chunk, and a session may have 64 streams.
func (ses *session) find(number uint64) (int, bool) {
	return slices.BinarySearchFunc(ses.streams, number, func(st *kept.Stream, n uint64) int {
		return cmp.Compare(st.Number, n)
	})
}

func (ses *session) lease(st *kept.Stream) sessionstore.Lease {
	return sessionstore.Lease{Session: ses.id, Line: st.Line, Number: st.Number, Token: st.Token}
}

// line copies the streams of a line, newest first.
func (ses *session) line(sh *shard, line sessionstore.LineID, now time.Time) []sessionstore.Stream {
	var out []sessionstore.Stream
	for _, st := range slices.Backward(ses.streams) {
		if st.Line == line {
			out = append(out, ses.wholeCopy(sh, st, now))
		}
	}
	return out
}

// wholeCopy copies all of a stream but its records.
func (ses *session) wholeCopy(sh *shard, st *kept.Stream, now time.Time) sessionstore.Stream {
	st.Log.Trim(&sh.arena, now)
	s := st.WholeCopy()
	s.Lease = ses.lease(st)
	return s
}

// add appends a new stream and pushes out those that are too many for it.
func (ses *session) add(sh *shard, st *kept.Stream) {
	// The line first: what it gives up makes room in the session too.
	sameLine := func(other *kept.Stream) bool { return other.Line == st.Line }
	ses.pushOut(sh, sameLine, sessionstore.StreamsPerLine-1)
	ses.pushOut(sh, func(*kept.Stream) bool { return true }, sessionstore.StreamsPerSession-1)
	ses.streams = append(ses.streams, st)
	ses.last = st.Number
	ses.live++
}

// pushOut removes the oldest of the streams that match, ended ones first, until
// no more than limit are left.
func (ses *session) pushOut(sh *shard, match func(*kept.Stream) bool, limit int) {
	matching, oldest, oldestEnded := 0, -1, -1
	for i, st := range ses.streams {
		if !match(st) {
			continue
		}
		matching++
		if oldest < 0 {
			oldest = i
		}
		if oldestEnded < 0 && !st.Live {
			oldestEnded = i
		}
	}
	// Streams come one at a time, so at most one is too many.
	switch {
	case matching <= limit:
	case oldestEnded >= 0:
		ses.removeAt(sh, oldestEnded)
	default:
		ses.removeAt(sh, oldest) // its lease is not found any more, which is what fences it
		ses.live--
	}
}

// forget removes an ended stream of a line, if it is there and has no records.
func (ses *session) forget(sh *shard, line sessionstore.LineID, number uint64, now time.Time) {
	i, ok := ses.find(number)
	if !ok || ses.streams[i].Live || ses.streams[i].Line != line {
		return
	}
	if lg := ses.streams[i].Log; lg != nil {
		if lg.Trim(&sh.arena, now); lg.Count() > 0 {
			return
		}
	}
	ses.removeAt(sh, i)
}

func (ses *session) removeAt(sh *shard, i int) {
	ses.streams[i].Log.Forget(&sh.arena)
	ses.streams = slices.Delete(ses.streams, i, i+1)
}

// describe copies the session for an operator.
func (ses *session) describe(sh *shard, now time.Time) sessionstore.Session {
	d := sessionstore.Session{
		ID: ses.id, Info: ses.info, Created: ses.created, Used: ses.used, Live: ses.live,
		Streams: make([]sessionstore.Stream, 0, len(ses.streams)),
	}
	for _, st := range slices.Backward(ses.streams) {
		st.Log.Trim(&sh.arena, now)
		s := st.Copy()
		s.Lease = ses.lease(st)
		d.Streams = append(d.Streams, s)
	}
	return d
}
