package memory

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// Append adds to a stream's log; see sessionstore.Log.
func (s *Store) Append(_ context.Context, l sessionstore.Lease, now time.Time, recs []sessionstore.Record) error {
	if now.IsZero() {
		now = s.now()
	}
	sh := s.shard(l.Session)
	sh.mu.Lock()
	ses, st := sh.leased(l)
	if st == nil {
		sh.mu.Unlock()
		return sessionstore.ErrFenced
	}
	ses.used = now
	err := st.Log.Append(&sh.arena, st.Token, now, recs)
	sh.mu.Unlock()
	if s.memory > 0 && s.logs.Bytes() > s.memory {
		s.evictLogs()
	}
	return err
}

// Finish records a stream's end; see sessionstore.Log.
func (s *Store) Finish(_ context.Context, l sessionstore.Lease, end sessionstore.End) error {
	now := s.now()
	sh := s.shard(l.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ses, st := sh.leased(l)
	if st == nil {
		return sessionstore.ErrFenced
	}
	ses.used = now
	st.Log.Finish(end)
	return nil
}

// Seek finds an event ID; see sessionstore.Log.
func (s *Store) Seek(_ context.Context, session sessionstore.SessionID, line sessionstore.LineID, eventID string) (sessionstore.Position, error) {
	if eventID == "" {
		return sessionstore.Position{}, sessionstore.ErrNotFound
	}
	now := s.now()
	id := []byte(eventID)
	sh := s.shard(session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.expire(now.Add(-s.ttl))
	ses := sh.peek(session)
	if ses == nil {
		return sessionstore.Position{}, sessionstore.ErrNotFound
	}
	err := sessionstore.ErrNotFound
	for _, st := range slices.Backward(ses.streams) {
		if st.Log == nil || (line != sessionstore.LineID{} && st.Line != line) {
			continue
		}
		st.Log.Trim(&sh.arena, now)
		seq, found, lost := st.Log.Seek(id)
		if found {
			return sessionstore.Position{
				Session: session, Line: st.Line, Number: st.Number, Token: st.Log.Token(seq), Seq: seq,
			}, nil
		}
		if lost {
			err = sessionstore.ErrTruncated
		}
	}
	return sessionstore.Position{}, err
}

// After returns a page of a log; see sessionstore.Log.
func (s *Store) After(_ context.Context, p sessionstore.Position, limits sessionstore.PageLimits) (sessionstore.Page, error) {
	now := s.now()
	sh := s.shard(p.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.expire(now.Add(-s.ttl))
	st := sh.stream(p)
	if st == nil || st.Log == nil {
		return sessionstore.Page{}, sessionstore.ErrNotFound
	}
	st.Log.Trim(&sh.arena, now)
	if err := st.Log.Check(p.Seq, p.Token); err != nil {
		return sessionstore.Page{}, err
	}
	page := st.Log.After(p.Seq, math.MaxUint64, limits)
	page.Token, page.Live = st.Token, st.Live
	if st.Live && !page.More {
		page.Changed = st.Log.Changed()
	}
	return page, nil
}

// Takeover gives a stream to another writer; see sessionstore.Log.
func (s *Store) Takeover(_ context.Context, p sessionstore.Position) (sessionstore.Lease, sessionstore.Stream, error) {
	now := s.now()
	sh := s.shard(p.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.expire(now.Add(-s.ttl))
	if sh.stream(p) == nil {
		return sessionstore.Lease{}, sessionstore.Stream{}, sessionstore.ErrNotFound
	}
	ses, _ := sh.use(p.Session)
	i, _ := ses.find(p.Number)
	st := ses.streams[i]
	known := ses.wholeCopy(sh, st, now)
	if !st.Live {
		st.Live = true
		ses.live++
	}
	st.Token++
	ses.used = now
	st.Log.Wake()
	return ses.lease(st), known, nil
}

// stream finds the stream that a position is in, whoever writes it.
func (sh *shard) stream(p sessionstore.Position) *kept.Stream {
	ses := sh.peek(p.Session)
	if ses == nil {
		return nil
	}
	i, ok := ses.find(p.Number)
	if !ok || ses.streams[i].Line != p.Line {
		return nil
	}
	return ses.streams[i]
}

// LogBytes is the memory that logs hold; see sessionstore.Directory.
func (s *Store) LogBytes() int64 { return s.logs.Bytes() }

// evictLogs makes room in memory, of the oldest records of all.
func (s *Store) evictLogs() { s.logs.Evict(s.memory, (*arenas)(s), shardCount) }

// arenas is a Store as kept.Memory sees it.
type arenas Store

// Arena is one shard's.
func (s *arenas) Arena(i int) (sync.Locker, *kept.Arena) { return &s.shards[i].mu, &s.shards[i].arena }
