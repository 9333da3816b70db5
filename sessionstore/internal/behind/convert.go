package behind

import (
	"math/rand/v2"
	"time"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// unixNano is the zero time's zero.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// Time is when a stored time was; zero: never.
func Time(unixNano int64) time.Time {
	if unixNano == 0 {
		return time.Time{}
	}
	return time.Unix(0, unixNano)
}

func sessionRecord(info *sessionstore.Info, created, used time.Time) *holdfastv1.Session {
	return &holdfastv1.Session{
		Policy: info.Policy, Principal: info.Principal, SessionKey: info.Session,
		CreatedUnixNano: unixNano(created), UsedUnixNano: unixNano(used),
	}
}

func birthRecord(st *kept.Stream) *holdfastv1.StreamBirth {
	line := st.Line
	b := &holdfastv1.StreamBirth{Line: line[:], Window: uint32(st.Window()), Mark: rand.Uint64()}
	if st.Log != nil {
		l := st.Log.Limits()
		b.Log = &holdfastv1.LogLimits{Events: uint32(l.Events), Bytes: uint64(l.Bytes), TtlNanos: int64(l.TTL)}
		b.Head = st.Log.Head()
	}
	return b
}

func stateRecord(st *kept.Stream, revision uint64) *holdfastv1.StreamState {
	s, key := st.Copy(), st.Key()
	r := &holdfastv1.StreamState{
		Token: st.Token, Live: st.Live, Revision: revision, SavedUnixNano: unixNano(st.Saved),
		Acked: []byte(s.State.Acked), LastSent: []byte(s.State.LastSent),
		Key_0: key[0], Key_1: key[1], Tracked: uint32(s.Tracked),
		Epoch: s.State.Epoch, Trust: uint32(s.State.Trust),
		Events: s.State.Events, Duplicates: s.State.Duplicates, Continues: s.State.Continues,
	}
	if st.Log != nil {
		l := st.Log.State()
		r.Log = &holdfastv1.LogState{
			Oldest: l.Oldest, Newest: l.Newest, Bytes: uint64(l.Bytes), End: holdfastv1.End(l.End),
			NewestUnixNano: unixNano(l.NewestAt),
			GoneKnown:      l.GoneKnown, GoneId: l.GoneID, GoneFirst: l.GoneFirst, GoneToken: l.GoneToken,
		}
	}
	return r
}

func batchRecord(b *kept.Batch) *holdfastv1.RecordBatch {
	r := &holdfastv1.RecordBatch{
		First: b.First, Token: b.Token, BaseUnixNano: unixNano(b.At[0]), Id: b.IDs, Wire: b.Wires,
		AfterBaseMillis: make([]uint32, len(b.At)),
	}
	for i, at := range b.At {
		r.AfterBaseMillis[i] = uint32(max(at.Sub(b.At[0]).Milliseconds(), 0))
	}
	return r
}

// batch reads a record batch. One that is not whole, which only a damaged store can
// hold, is cut where it is not.
func batch(r *holdfastv1.RecordBatch) kept.Batch {
	n := min(len(r.GetAfterBaseMillis()), len(r.GetId()), len(r.GetWire()))
	b := kept.Batch{
		First: r.GetFirst(), Token: r.GetToken(),
		At: make([]time.Time, n), IDs: r.GetId()[:n], Wires: r.GetWire()[:n],
	}
	base := Time(r.GetBaseUnixNano())
	for i := range n {
		b.At[i] = base.Add(time.Duration(r.GetAfterBaseMillis()[i]) * time.Millisecond)
	}
	return b
}

func limits(b *holdfastv1.StreamBirth) sessionstore.LogLimits {
	l := b.GetLog()
	return sessionstore.LogLimits{Events: int(l.GetEvents()), Bytes: int(l.GetBytes()), TTL: time.Duration(l.GetTtlNanos())}
}

func logState(r *holdfastv1.LogState) kept.LogState {
	return kept.LogState{
		Oldest: max(r.GetOldest(), 1), Newest: r.GetNewest(), Bytes: int(r.GetBytes()), End: sessionstore.End(r.GetEnd()),
		NewestAt:  Time(r.GetNewestUnixNano()),
		GoneKnown: r.GetGoneKnown(), GoneID: r.GetGoneId(), GoneFirst: r.GetGoneFirst(), GoneToken: r.GetGoneToken(),
	}
}

// Line is the line of a stored stream.
func (s *Stream) Line() (line sessionstore.LineID) {
	copy(line[:], s.Birth.GetLine())
	return line
}

// HasRecords says whether a reader could still be given a record of its log.
func (s *Stream) HasRecords(now time.Time) bool {
	l := s.State.GetLog()
	return s.Birth.GetLog() != nil && l.GetOldest() <= l.GetNewest() &&
		now.Sub(Time(l.GetNewestUnixNano())) < time.Duration(s.Birth.GetLog().GetTtlNanos())
}

// show is a stream as the contract has it. Window and key are for those it has a
// window for.
func (s *Stream) show(id sessionstore.SessionID, now time.Time) sessionstore.Stream {
	r := s.State
	out := sessionstore.Stream{
		Lease: sessionstore.Lease{Session: id, Line: s.Line(), Number: s.Number, Token: r.GetToken()},
		Live:  r.GetLive(), Saved: Time(r.GetSavedUnixNano()), Tracked: int(r.GetTracked()),
		State: sessionstore.State{
			Acked: string(r.GetAcked()), LastSent: string(r.GetLastSent()),
			Epoch: r.GetEpoch(), Trust: uint8(r.GetTrust()),
			Events: r.GetEvents(), Duplicates: r.GetDuplicates(), Continues: r.GetContinues(),
		},
	}
	if s.Birth.GetLog() != nil {
		l := logState(r.GetLog())
		out.Log = sessionstore.LogInfo{Oldest: l.Oldest, Newest: l.Newest, Bytes: l.Bytes, End: l.End}
		if !s.HasRecords(now) {
			out.Log.Oldest, out.Log.Bytes = l.Newest+1, 0
		}
	}
	return out
}

// showWhole adds the window.
func (s *Stream) showWhole(id sessionstore.SessionID, now time.Time) sessionstore.Stream {
	out := s.show(id, now)
	out.State.Window = s.Window
	out.State.Key = [2]uint64{s.State.GetKey_0(), s.State.GetKey_1()}
	out.Tracked = len(s.Window)
	return out
}

// show is a session as an operator sees it.
func (s *Session) show(now time.Time) sessionstore.Session {
	out := sessionstore.Session{
		ID:      s.ID,
		Info:    sessionstore.Info{Policy: s.Record.GetPolicy(), Principal: s.Record.GetPrincipal(), Session: s.Record.GetSessionKey()},
		Created: Time(s.Record.GetCreatedUnixNano()),
		Used:    Time(s.Record.GetUsedUnixNano()),
		Streams: make([]sessionstore.Stream, 0, len(s.Streams)),
	}
	for _, st := range s.Streams {
		if st.State.GetLive() {
			out.Live++
		}
		out.Streams = append(out.Streams, st.show(s.ID, now))
	}
	return out
}
