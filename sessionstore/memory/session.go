package memory

import (
	"cmp"
	"slices"
	"time"

	"holdfast/sessionstore"
)

// session is what one client did. Its shard's lock guards it. There may be a
// million, most of them idle with one small stream, so it holds slices and no maps.
type session struct {
	id            sessionstore.SessionID
	info          sessionstore.Info
	created, used time.Time
	last          uint64    // number of the newest stream, kept or not
	streams       []*stream // oldest first, so their numbers rise
	live          int       // streams not released
}

// find is called at every chunk, and a session may have 64 streams.
func (ses *session) find(number uint64) (int, bool) {
	return slices.BinarySearchFunc(ses.streams, number, func(st *stream, n uint64) int {
		return cmp.Compare(st.number, n)
	})
}

// line copies the streams of a line, newest first.
func (ses *session) line(line sessionstore.LineID) []sessionstore.Stream {
	var out []sessionstore.Stream
	for _, st := range slices.Backward(ses.streams) {
		if st.line != line {
			continue
		}
		s := ses.copyOf(st)
		s.State.Window = st.window.snapshot()
		s.State.Key = st.key
		out = append(out, s)
	}
	return out
}

// add appends a new stream and pushes out those that are too many for it.
func (ses *session) add(st *stream) {
	// The line first: what it gives up makes room in the session too.
	sameLine := func(other *stream) bool { return other.line == st.line }
	ses.pushOut(sameLine, sessionstore.StreamsPerLine-1)
	ses.pushOut(func(*stream) bool { return true }, sessionstore.StreamsPerSession-1)
	ses.streams = append(ses.streams, st)
	ses.last = st.number
	ses.live++
}

// pushOut removes the oldest of the streams that match, ended ones first, until
// no more than limit are left.
func (ses *session) pushOut(match func(*stream) bool, limit int) {
	matching, oldest, oldestEnded := 0, -1, -1
	for i, st := range ses.streams {
		if !match(st) {
			continue
		}
		matching++
		if oldest < 0 {
			oldest = i
		}
		if oldestEnded < 0 && !st.live {
			oldestEnded = i
		}
	}
	// Streams come one at a time, so at most one is too many.
	switch {
	case matching <= limit:
	case oldestEnded >= 0:
		ses.removeAt(oldestEnded)
	default:
		ses.removeAt(oldest) // its lease is not found any more, which is what fences it
		ses.live--
	}
}

// forget removes an ended stream of a line, if it is there.
func (ses *session) forget(line sessionstore.LineID, number uint64) {
	if i, ok := ses.find(number); ok && !ses.streams[i].live && ses.streams[i].line == line {
		ses.removeAt(i)
	}
}

func (ses *session) removeAt(i int) { ses.streams = slices.Delete(ses.streams, i, i+1) }

// describe copies the session for an operator.
func (ses *session) describe() sessionstore.Session {
	d := sessionstore.Session{
		ID: ses.id, Info: ses.info, Created: ses.created, Used: ses.used, Live: ses.live,
		Streams: make([]sessionstore.Stream, 0, len(ses.streams)),
	}
	for _, st := range slices.Backward(ses.streams) {
		d.Streams = append(d.Streams, ses.copyOf(st))
	}
	return d
}

// copyOf copies all of a stream but its window and key, which only line wants:
// 8 KB each, 64 times a session, a thousand sessions a page.
func (ses *session) copyOf(st *stream) sessionstore.Stream {
	return sessionstore.Stream{
		Lease:   sessionstore.Lease{Session: ses.id, Line: st.line, Number: st.number},
		Live:    st.live,
		Saved:   st.saved,
		Tracked: st.window.len(),
		State: sessionstore.State{
			Acked: st.acked, LastSent: string(st.lastSent),
			Epoch: st.epoch, Trust: st.trust,
			Events: st.events, Duplicates: st.duplicates,
			Continues: st.continues,
		},
	}
}
