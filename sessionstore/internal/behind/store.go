package behind

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// Options are what a Store needs to know beside its Backend.
type Options struct {
	Flush  time.Duration // how often what moved is written; zero or less: before every call returns
	TTL    time.Duration // after which a session without a live stream is forgotten
	Memory int64         // the most that logs may hold in memory; zero or less: no bound
	First  uint64        // streams get greater numbers

	// Unproven says that the Backend may not be there: until it has been found to be,
	// it fails.
	Unproven bool

	Now func() time.Time
}

// Store is a sessionstore.Store, Log and Directory before a Backend. Make one with
// New.
type Store struct {
	opt     Options
	backend Backend
	logs    kept.Memory
	numbers numbers
	shards  [shardCount]shard
	flusher flusher
	writers *writers
}

var (
	_ sessionstore.Store     = (*Store)(nil)
	_ sessionstore.Log       = (*Store)(nil)
	_ sessionstore.Directory = (*Store)(nil)
	_ sessionstore.Behind    = (*Store)(nil)
)

// shardCount spreads the lock. The shard of an ID is its first byte: an ID is a
// hash, so they fill evenly.
const shardCount = 256

// shard is a part of the sessions that are in memory.
type shard struct {
	mu       sync.Mutex
	sessions map[sessionstore.SessionID]*session
	arena    kept.Arena
	_        [40]byte // keep two shards' locks out of one cache line
}

// session is a session some of whose streams are in memory: those that are live
// here, and those that have ended and are not written yet. Its shard's lock
// guards it.
type session struct {
	id            sessionstore.SessionID
	info          sessionstore.Info
	created, used time.Time
	streams       []*stream // oldest first
	touched       time.Time // the last Change

	// How far the flusher is. gen counts changes; up to written they are stored.
	gen, written uint64
	queued       bool // in the flusher's queue
	waiting      []waiter
}

// stream is a stream in memory.
type stream struct {
	*kept.Stream

	revision uint64 // of the last Change
	birth    *holdfastv1.StreamBirth
	whole    bool   // nothing of it is stored, as far as we know
	dirty    bool   // it has moved since the last Change
	forget   uint64 // StreamChange.Forget of the next
	going    uint64 // the same of the one that is under way
	frozen   bool   // it is being taken over: who has its lease has lost it
}

// New returns a Store and starts its goroutine, which Close ends. A Backend that
// cannot be reached yet is tried again and again.
func New(b Backend, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{opt: o, backend: b, writers: newWriters(b)}
	s.numbers.last.Store(o.First)
	for i := range s.shards {
		s.shards[i].sessions = make(map[sessionstore.SessionID]*session)
		s.shards[i].arena = kept.NewArena(&s.logs)
	}
	if o.Unproven {
		s.fail(errUnproven)
	}
	s.flusher.start(s)
	return s
}

func (s *Store) shard(id sessionstore.SessionID) *shard { return &s.shards[id[0]] }

// numbers gives out the numbers of streams. Processes that share a backend have to
// agree on which of a session's streams is the newest without asking each other, so
// a number is a time: milliseconds since 2026, and twelve bits that are random but
// for the first, so that two processes hardly ever give out the same; if they do, their
// Births differ, and the Backend takes the first. It fits into the 53 bits that a
// floating-point number has, in Lua and in a browser.
type numbers struct{ last atomic.Uint64 }

const numbersBegin = 1_767_225_600_000

// next is greater than every number before, and than after.
func (n *numbers) next(now time.Time, after uint64) uint64 {
	random := rand.Uint64N(1 << 11)
	want := uint64(max(now.UnixMilli()-numbersBegin, 0))<<12 | random
	if want <= after { // another process's clock is ahead, and a third may know as much as we do
		want = after + 1 + random
	}
	for {
		last := n.last.Load()
		number := max(want, last+1)
		if n.last.CompareAndSwap(last, number) {
			return number
		}
	}
}

// find returns the index of a stream.
func (ses *session) find(number uint64) (int, bool) {
	return slices.BinarySearchFunc(ses.streams, number, func(st *stream, n uint64) int {
		return cmp.Compare(st.Number, n)
	})
}

// stream returns a stream that is in memory, or nil.
func (sh *shard) stream(id sessionstore.SessionID, number uint64) (*session, *stream) {
	ses := sh.sessions[id]
	if ses == nil {
		return nil, nil
	}
	i, ok := ses.find(number)
	if !ok {
		return nil, nil
	}
	return ses, ses.streams[i]
}

// leased finds the stream that l may write; nil: there is none.
func (sh *shard) leased(l sessionstore.Lease) (*session, *stream) {
	ses, st := sh.stream(l.Session, l.Number)
	if st == nil || !st.Live || st.frozen || st.Token != l.Token || st.Line != l.Line {
		return nil, nil
	}
	return ses, st
}

// remove takes a stream out of memory. A lease of it is not found any more, which
// is what fences it.
func (sh *shard) remove(ses *session, i int) {
	ses.streams[i].Log.Forget(&sh.arena)
	ses.streams = slices.Delete(ses.streams, i, i+1)
}

// removeAll takes all of a session's streams out of memory.
func (sh *shard) removeAll(ses *session) {
	for len(ses.streams) > 0 {
		sh.remove(ses, len(ses.streams)-1)
	}
}

// live says whether the session has live streams in memory.
func (ses *session) live() bool {
	return slices.ContainsFunc(ses.streams, func(st *stream) bool { return st.Live })
}

// Save replaces a stream's State; see sessionstore.Store.
func (s *Store) Save(ctx context.Context, l sessionstore.Lease, state *sessionstore.State) error {
	ses, stored, err := s.write(l, func(ses *session, st *stream, now time.Time) {
		// Only at first: by a later Save the stream it continued may have been found
		// alive, have gone on, and know what this one does not.
		if i, here := ses.find(state.Continues); st.Saved.IsZero() && (!here || !ses.streams[i].Live) {
			st.forget = state.Continues
		}
		st.Save(now, state)
	})
	if err != nil {
		return err
	}
	return s.strictly(ctx, ses, stored)
}

// Advance applies p to a stream's State; see sessionstore.Store. It is the hot
// path: no closure, no defer, and no clock if the caller has looked at one.
func (s *Store) Advance(ctx context.Context, l sessionstore.Lease, p sessionstore.Progress) error {
	now := p.Now
	if now.IsZero() {
		now = s.opt.Now()
	}
	sh := s.shard(l.Session)
	sh.mu.Lock()
	ses, st := sh.leased(l)
	if st == nil {
		sh.mu.Unlock()
		return sessionstore.ErrFenced
	}
	st.Advance(now, &p)
	ses.used, st.dirty = now, true
	stored := s.promise(ses, st.Number, s.mark(ses))
	sh.mu.Unlock()
	return s.strictly(ctx, ses, stored)
}

// Append adds to a stream's log; see sessionstore.Log. It is as hot.
func (s *Store) Append(ctx context.Context, l sessionstore.Lease, now time.Time, recs []sessionstore.Record) error {
	if now.IsZero() {
		now = s.opt.Now()
	}
	sh := s.shard(l.Session)
	sh.mu.Lock()
	ses, st := sh.leased(l)
	if st == nil {
		sh.mu.Unlock()
		return sessionstore.ErrFenced
	}
	err := st.Log.Append(&sh.arena, st.Token, now, recs)
	ses.used, st.dirty = now, true
	stored := s.promise(ses, st.Number, s.mark(ses))
	sh.mu.Unlock()
	if s.opt.Memory > 0 && s.logs.Bytes() > s.opt.Memory {
		s.evictLogs()
	}
	if err != nil {
		return err
	}
	return s.strictly(ctx, ses, stored)
}

// Finish records a stream's end; see sessionstore.Log.
func (s *Store) Finish(ctx context.Context, l sessionstore.Lease, end sessionstore.End) error {
	ses, stored, err := s.write(l, func(_ *session, st *stream, _ time.Time) { st.Log.Finish(end) })
	if err != nil {
		return err
	}
	return s.strictly(ctx, ses, stored)
}

// Release ends a stream; see sessionstore.Store.
func (s *Store) Release(ctx context.Context, l sessionstore.Lease) error {
	ses, stored, err := s.letGo(l)
	if err != nil {
		return err
	}
	return s.strictly(ctx, ses, stored)
}

// letGo is Release without waiting for it to be stored.
func (s *Store) letGo(l sessionstore.Lease) (*session, <-chan error, error) {
	return s.write(l, func(_ *session, st *stream, _ time.Time) {
		st.Live = false
		st.Log.Wake()
	})
}

// write changes the leased stream, and returns what is to be waited for, if anything.
func (s *Store) write(l sessionstore.Lease, change func(*session, *stream, time.Time)) (*session, <-chan error, error) {
	now := s.opt.Now()
	sh := s.shard(l.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ses, st := sh.leased(l)
	if st == nil {
		return nil, nil, sessionstore.ErrFenced
	}
	change(ses, st, now)
	ses.used, st.dirty = now, true
	return ses, s.promise(ses, st.Number, s.mark(ses)), nil
}

// LogBytes is the memory that logs hold; see sessionstore.Directory.
func (s *Store) LogBytes() int64 { return s.logs.Bytes() }

// evictLogs makes room in memory, of the oldest records of all, stored or not.
func (s *Store) evictLogs() { s.logs.Evict(s.opt.Memory, (*arenas)(s), shardCount) }

// arenas is a Store as kept.Memory sees it.
type arenas Store

// Arena is one shard's.
func (s *arenas) Arena(i int) (sync.Locker, *kept.Arena) { return &s.shards[i].mu, &s.shards[i].arena }
