// Package memory keeps sessions in this process, and nowhere else: fast, bounded,
// and gone when the process is.
//
// It starts no goroutine. A session is forgotten when it has expired and
// somebody comes near it (a Claim whose session is in the same shard, any look
// through the Directory), or when the store is full and it is the one to go.
package memory

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// Options are what a Store needs to know. Every zero value is usable.
type Options struct {
	// Sessions is the most that are kept; zero or less: 1,000,000. At the bound
	// a new session pushes out the one unused for longest among those without a
	// live stream, or, where every session has one, among all.
	Sessions int

	// TTL is how long a session without a live stream is kept after its last use;
	// zero or less: one hour.
	TTL time.Duration

	// Memory is the most that logs may hold together, in bytes; zero or less: as
	// much as the limits of every log allow. At the bound the oldest records of the
	// whole store are given up.
	Memory int64

	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

const (
	defaultSessions = 1_000_000
	defaultTTL      = time.Hour
)

// Store is a sessionstore.Store, Log and Directory in memory. Make one with New.
type Store struct {
	sessions int
	ttl      time.Duration
	memory   int64
	now      func() time.Time

	number atomic.Uint64 // of the last stream
	count  atomic.Int64  // sessions in all shards
	logs   kept.Memory

	// evicting lets one call at a time make room, so that two that find the
	// store one over do not both evict. It is taken before a shard's lock.
	evicting sync.Mutex

	shards [shardCount]shard
}

var (
	_ sessionstore.Store     = (*Store)(nil)
	_ sessionstore.Log       = (*Store)(nil)
	_ sessionstore.Directory = (*Store)(nil)
)

// New returns an empty Store.
func New(o Options) *Store {
	s := &Store{sessions: o.Sessions, ttl: o.TTL, memory: o.Memory, now: o.Now}
	if s.sessions <= 0 {
		s.sessions = defaultSessions
	}
	if s.ttl <= 0 {
		s.ttl = defaultTTL
	}
	if s.now == nil {
		s.now = time.Now
	}
	for i := range s.shards {
		s.shards[i].init(s)
	}
	return s
}

// Claim begins a stream; see sessionstore.Store.
func (s *Store) Claim(_ context.Context, k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, error) {
	now := s.now()
	sh := s.shard(k.Session)
	st := kept.New(&k) // before the lock is taken: it allocates

	sh.mu.Lock()
	sh.expire(now.Add(-s.ttl))
	sh.arena.Sweep(now)
	ses, isNew := sh.use(k.Session)
	if isNew {
		ses.info, ses.created = k.Info, now
	}
	// Earlier streams are copied before the new one pushes any of them out.
	var earlier []sessionstore.Stream
	if !k.Fresh {
		earlier = ses.line(sh, k.Line, now)
	}
	// Numbers are drawn under the shard's lock so that they rise within a session.
	st.Number = s.number.Add(1)
	ses.add(sh, st)
	ses.used = now
	lease := ses.lease(st)
	sh.mu.Unlock()

	// Without the shard's lock, for evict takes every shard's in turn. The store
	// may be over its bound by one session per Claim that is on its way there.
	if isNew && s.count.Load() > int64(s.sessions) {
		s.evict()
	}
	return lease, earlier, nil
}

// Save replaces a stream's State; see sessionstore.Store.
func (s *Store) Save(_ context.Context, l sessionstore.Lease, state *sessionstore.State) error {
	now := s.now()
	sh := s.shard(l.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ses, st := sh.leased(l)
	if st == nil {
		return sessionstore.ErrFenced
	}
	// Only at first: by a later Save the stream it continued may have been found
	// alive, have gone on, and know what this one does not.
	if st.Saved.IsZero() && state.Continues != 0 {
		ses.forget(sh, l.Line, state.Continues, now)
	}
	st.Save(now, state)
	ses.used = now
	return nil
}

// Advance applies p to a stream's State; see sessionstore.Store. It is the hot
// path: two looks into a map, a binary search, and what moved. Hence no defer,
// and no clock if the caller has looked at one.
func (s *Store) Advance(_ context.Context, l sessionstore.Lease, p sessionstore.Progress) error {
	now := p.Now
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
	st.Advance(now, &p)
	ses.used = now
	sh.mu.Unlock()
	return nil
}

// Release ends a stream; see sessionstore.Store.
func (s *Store) Release(_ context.Context, l sessionstore.Lease) error {
	now := s.now()
	sh := s.shard(l.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ses, st := sh.leased(l)
	if st == nil {
		return sessionstore.ErrFenced
	}
	st.Live = false
	ses.live--
	ses.used = now
	if ses.live == 0 {
		sh.rest(ses)
	}
	st.Log.Wake()
	sh.arena.Sweep(now)
	return nil
}

// evict makes room until the bound holds again.
//
// The one to go is the oldest of all shards, found by asking each for its own
// oldest: some microseconds, paid only by a new session in a full store. A bound
// per shard would cost less, but session IDs follow from what clients send, so
// a client could aim at one shard and push its neighbours out with few sessions.
func (s *Store) evict() {
	s.evicting.Lock()
	defer s.evicting.Unlock()
	for s.count.Load() > int64(s.sessions) {
		if !s.evictOldest(idle) && !s.evictOldest(live) {
			return // others have dropped them meanwhile
		}
	}
}

// evictOldest evicts the session that was unused for longest among those in
// rooms r, and reports whether there was any.
func (s *Store) evictOldest(r room) bool {
	var victim *shard
	var oldest age
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if a, ok := sh.oldest(r); ok && (victim == nil || a.before(oldest)) {
			victim, oldest = sh, a
		}
		sh.mu.Unlock()
	}
	if victim == nil {
		return false
	}
	// Its oldest may be another by now, or be gone: the caller counts again.
	victim.mu.Lock()
	defer victim.mu.Unlock()
	victim.removeOldest(r)
	return true
}

// Len is the number of sessions that have not expired.
func (s *Store) Len() int {
	deadline := s.now().Add(-s.ttl)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.expire(deadline)
		sh.mu.Unlock()
	}
	return int(s.count.Load())
}

// Sessions returns a page of sessions; see sessionstore.Directory. The shards
// are in the order of the IDs, so that a page costs one look at a shard or two
// however many sessions there are.
func (s *Store) Sessions(ctx context.Context, after sessionstore.SessionID, limit int) ([]sessionstore.Session, error) {
	var page []sessionstore.Session
	deadline := s.now().Add(-s.ttl)
	for i := shardIndex(after); i < shardCount && len(page) < limit; i++ {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.expire(deadline)
		ids := sh.above(after)
		sh.mu.Unlock()

		slices.SortFunc(ids, compare) // without the lock: streams are waiting for it
		for _, id := range ids {
			if len(page) == limit {
				break
			}
			ses, err := s.Session(ctx, id)
			if err != nil {
				continue // gone meanwhile
			}
			page = append(page, ses)
		}
	}
	return page, nil
}

// Session returns one session; see sessionstore.Directory.
func (s *Store) Session(_ context.Context, id sessionstore.SessionID) (sessionstore.Session, error) {
	now := s.now()
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.expire(now.Add(-s.ttl))
	ses := sh.peek(id)
	if ses == nil {
		return sessionstore.Session{}, sessionstore.ErrNotFound
	}
	return ses.describe(sh, now), nil
}

// Drop forgets a session; see sessionstore.Directory.
func (s *Store) Drop(_ context.Context, id sessionstore.SessionID) error {
	deadline := s.now().Add(-s.ttl)
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.expire(deadline)
	if !sh.remove(id) {
		return sessionstore.ErrNotFound
	}
	return nil
}
