package behind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// Claim begins a stream; see sessionstore.Store. Who brings no cursor does not wait
// for the backend.
func (s *Store) Claim(ctx context.Context, k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, error) {
	for {
		lease, earlier, err := s.claim(ctx, &k)
		// Another process has begun a stream with that number, at the same moment.
		if !errors.Is(err, sessionstore.ErrFenced) {
			return lease, earlier, err
		}
	}
}

func (s *Store) claim(ctx context.Context, k *sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, error) {
	if err := s.Failure(); err != nil {
		return sessionstore.Lease{}, nil, fmt.Errorf("no stream can begin: %w", err)
	}
	now := s.opt.Now()
	known := &Session{}
	if !k.Fresh {
		var err error
		if known, err = s.load(ctx, now, k.Session, k.Line); err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
			return sessionstore.Lease{}, nil, err
		}
	}
	st := &stream{Stream: kept.New(k), whole: true, dirty: true}

	sh := s.shard(k.Session)
	sh.mu.Lock()
	ses := sh.sessions[k.Session]
	if ses == nil {
		ses = &session{id: k.Session, info: k.Info, created: now}
		sh.sessions[k.Session] = ses
	}
	var earlier []sessionstore.Stream
	newest := uint64(0)
	if n := len(known.Streams); n > 0 {
		newest = known.Streams[0].Number
	}
	if n := len(ses.streams); n > 0 {
		newest = max(newest, ses.streams[n-1].Number)
	}
	if !k.Fresh {
		earlier = sh.earlier(ses, known, k.Line, now)
		sh.pushOut(ses, known, k.Line)
	}
	st.Number = s.numbers.next(now, newest)
	ses.streams = append(ses.streams, st)
	ses.used = now
	stored := s.promise(ses, st.Number, s.mark(ses))
	sh.mu.Unlock()

	lease := sessionstore.Lease{Session: k.Session, Line: k.Line, Number: st.Number, Token: st.Token}
	return lease, earlier, s.strictly(ctx, ses, stored)
}

// load asks the backend for a session, after what moved in it has been written; see
// Backend. What is in memory of it is newer all the same.
func (s *Store) load(ctx context.Context, now time.Time, id sessionstore.SessionID, windows sessionstore.LineID) (*Session, error) {
	if err := s.settleSession(ctx, now, id); err != nil {
		return &Session{}, err
	}
	known, err := s.backend.Load(ctx, now, id, windows)
	if err := s.reading(err); err != nil {
		return &Session{}, err
	}
	s.reconcile(known)
	return known, nil
}

// reconcile takes streams out of memory that turn out to be written by another
// process now.
func (s *Store) reconcile(known *Session) {
	sh := s.shard(known.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ses := sh.sessions[known.ID]
	if ses == nil {
		return
	}
	for _, st := range known.Streams {
		if i, here := ses.find(st.Number); here && ses.streams[i].Token < st.State.GetToken() {
			sh.remove(ses, i)
		}
	}
}

// settleSession has what moved in a session written, if anything did.
func (s *Store) settleSession(ctx context.Context, now time.Time, id sessionstore.SessionID) error {
	sh := s.shard(id)
	sh.mu.Lock()
	ses := sh.sessions[id]
	if ses != nil && now.Sub(ses.touched) >= s.opt.TTL/4 && ses.live() {
		s.mark(ses) // or it might seem to have expired
	}
	sh.mu.Unlock()
	if ses == nil {
		return nil
	}
	return s.settle(ctx, ses)
}

// earlier returns copies of a line's streams, newest first: as they are in memory,
// or else as they are stored.
func (sh *shard) earlier(ses *session, known *Session, line sessionstore.LineID, now time.Time) []sessionstore.Stream {
	var out []sessionstore.Stream
	for _, st := range ses.streams {
		if st.Line == line {
			out = append(out, sh.wholeCopy(ses, st, now))
		}
	}
	for _, st := range known.Streams {
		if _, here := ses.find(st.Number); !here && st.Line() == line {
			out = append(out, st.showWhole(ses.id, now))
		}
	}
	slices.SortFunc(out, func(a, b sessionstore.Stream) int { return cmp.Compare(b.Lease.Number, a.Lease.Number) })
	return out[:min(len(out), sessionstore.StreamsPerLine)] // one may be on its way out
}

// wholeCopy copies all of a stream in memory but its records.
func (sh *shard) wholeCopy(ses *session, st *stream, now time.Time) sessionstore.Stream {
	st.Log.Trim(&sh.arena, now)
	c := st.WholeCopy()
	c.Lease.Session = ses.id
	return c
}

// Kept is what the rule of pushing out looks at.
type Kept struct {
	Number uint64
	Line   sessionstore.LineID
	Live   bool
}

// PushOut says which of a session's streams have to go before a new one begins on
// a line, by the rule of sessionstore.StreamsPerLine. The streams are in the order
// of their numbers, the oldest first.
func PushOut(streams []Kept, line sessionstore.LineID) (victims []uint64) {
	streams = slices.Clone(streams)
	// The line first: what it gives up makes room in the session too.
	for _, rule := range []struct {
		limit int
		match func(Kept) bool
	}{
		{sessionstore.StreamsPerLine, func(k Kept) bool { return k.Line == line }},
		{sessionstore.StreamsPerSession, func(Kept) bool { return true }},
	} {
		matching := 0
		for _, k := range streams {
			if rule.match(k) {
				matching++
			}
		}
		for ; matching >= rule.limit; matching-- {
			i := slices.IndexFunc(streams, func(k Kept) bool { return rule.match(k) && !k.Live })
			if i < 0 {
				i = slices.IndexFunc(streams, rule.match)
			}
			victims = append(victims, streams[i].Number)
			streams = slices.Delete(streams, i, i+1)
		}
	}
	return victims
}

// pushOut fences those streams of ours that the new one pushes out. The backend
// will do the same when it learns of the new one; but their writers are to know
// now.
func (sh *shard) pushOut(ses *session, known *Session, line sessionstore.LineID) {
	var all []Kept
	for _, st := range ses.streams {
		all = append(all, Kept{Number: st.Number, Line: st.Line, Live: st.Live})
	}
	for _, st := range known.Streams {
		if _, here := ses.find(st.Number); !here {
			all = append(all, Kept{Number: st.Number, Line: st.Line(), Live: st.State.GetLive()})
		}
	}
	slices.SortFunc(all, func(a, b Kept) int { return cmp.Compare(a.Number, b.Number) })
	for _, number := range PushOut(all, line) {
		if i, ok := ses.find(number); ok && ses.streams[i].Live {
			sh.remove(ses, i)
		}
	}
}
