package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/sessionstore"
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
	err := st.log.extend(sh, st.token, now, recs)
	sh.mu.Unlock()
	if s.memory > 0 && s.segments.bytes.Load() > s.memory {
		s.evictLogs()
	}
	return err
}

// extend is Append for one log, which may be nil.
func (lg *log) extend(sh *shard, token uint64, now time.Time, recs []sessionstore.Record) error {
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
		lg.skip(sh, next)
	}
	for i := range recs {
		lg.append(sh, token, now, &recs[i])
	}
	lg.trim(sh, now)
	lg.wake()
	return nil
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
	if st.log != nil {
		st.log.end = end
		st.log.wake()
	}
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
		if st.log == nil || (line != sessionstore.LineID{} && st.line != line) {
			continue
		}
		st.log.trim(sh, now)
		seq, token, found, lost := st.log.seek(id)
		if found {
			return sessionstore.Position{Session: session, Line: st.line, Number: st.number, Token: token, Seq: seq}, nil
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
	if st == nil || st.log == nil {
		return sessionstore.Page{}, sessionstore.ErrNotFound
	}
	lg := st.log
	lg.trim(sh, now)
	page, err := lg.after(p.Seq, p.Token, limits)
	page.Token, page.Live = st.token, st.live
	if err == nil && st.live && !page.More {
		if lg.changed == nil {
			lg.changed = make(chan struct{})
		}
		page.Changed = lg.changed
	}
	return page, err
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
	if !st.live {
		st.live = true
		ses.live++
	}
	st.token++
	ses.used = now
	st.log.wake()
	return ses.lease(st), known, nil
}

// stream finds the stream that a position is in, whoever writes it.
func (sh *shard) stream(p sessionstore.Position) *stream {
	ses := sh.peek(p.Session)
	if ses == nil {
		return nil
	}
	i, ok := ses.find(p.Number)
	if !ok || ses.streams[i].line != p.Line {
		return nil
	}
	return ses.streams[i]
}

// LogBytes is the memory that logs hold; see sessionstore.Directory.
func (s *Store) LogBytes() int64 { return s.segments.bytes.Load() }

// evictLogs gives up the oldest records of all until the bound holds again. Like
// evict, it finds them by asking every shard, which a store at its bound pays for
// once a segment.
func (s *Store) evictLogs() {
	s.evicting.Lock()
	defer s.evicting.Unlock()
	for s.segments.bytes.Load() > s.memory {
		var victim *shard
		oldest := uint64(0)
		for i := range s.shards {
			sh := &s.shards[i]
			sh.mu.Lock()
			if seg := sh.oldestSegment; seg != nil && (victim == nil || seg.order < oldest) {
				victim, oldest = sh, seg.order
			}
			sh.mu.Unlock()
		}
		if victim == nil {
			return
		}
		victim.mu.Lock()
		if seg := victim.oldestSegment; seg != nil {
			// Of a log, for its segments are in order, the oldest too.
			seg.log.giveUpFirst(victim)
		}
		victim.mu.Unlock()
	}
}
