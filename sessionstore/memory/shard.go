package memory

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// shardCount spreads the lock and bounds what one page of a listing looks at.
// It is 256 for the shard of an ID is its first byte: an ID is a hash, so they
// fill evenly, and the shards are in the order of their IDs.
const shardCount = 256

func shardIndex(id sessionstore.SessionID) int { return int(id[0]) }

func (s *Store) shard(id sessionstore.SessionID) *shard { return &s.shards[shardIndex(id)] }

func compare(a, b sessionstore.SessionID) int { return bytes.Compare(a[:], b[:]) }

// room tells which sessions are meant: those that can expire, or the others.
type room uint8

const (
	idle  room = iota // no live stream
	live              // at least one
	rooms int  = iota
)

// lru keeps sessions in the order of their use. It is never given a size to
// evict by: the bound is over all shards.
type lru = simplelru.LRU[sessionstore.SessionID, *session]

// shard is a part of the sessions, each in one of the rooms. All but init and
// the lock itself want mu to be held.
type shard struct {
	mu    sync.Mutex
	rooms [rooms]*lru
	count *atomic.Int64 // of the whole store

	arena kept.Arena

	_ [56]byte // keep two shards' locks out of one cache line
}

func (sh *shard) init(s *Store) {
	for r := range sh.rooms {
		// The only error is a size below one.
		sh.rooms[r], _ = simplelru.NewLRU[sessionstore.SessionID, *session](math.MaxInt, nil)
	}
	sh.count, sh.arena = &s.count, kept.NewArena(&s.logs)
}

// use finds or makes a session for a new stream and puts it among the live.
func (sh *shard) use(id sessionstore.SessionID) (ses *session, isNew bool) {
	if ses, ok := sh.rooms[live].Get(id); ok {
		return ses, false
	}
	ses, ok := sh.rooms[idle].Peek(id)
	if ok {
		sh.rooms[idle].Remove(id)
	} else {
		ses = &session{id: id}
		sh.count.Add(1)
	}
	sh.rooms[live].Add(id, ses)
	return ses, !ok
}

// rest puts a session whose last stream has ended among the idle, as the one
// used last. Idle sessions are not used again where they are, so their order is
// that of their times, and the expired ones are the oldest.
func (sh *shard) rest(ses *session) {
	sh.rooms[live].Remove(ses.id)
	sh.rooms[idle].Add(ses.id, ses)
}

// leased finds the stream that l may write, and counts that as a use of its
// session; nil: there is none. A lost lease does not count as a use, hence the
// Peek: it must not keep its session from being evicted.
func (sh *shard) leased(l sessionstore.Lease) (*session, *kept.Stream) {
	ses, ok := sh.rooms[live].Peek(l.Session)
	if !ok {
		return nil, nil
	}
	i, ok := ses.find(l.Number)
	if !ok || !ses.streams[i].Live || ses.streams[i].Token != l.Token {
		return nil, nil
	}
	sh.rooms[live].Get(l.Session) // for the order it keeps
	return ses, ses.streams[i]
}

// peek finds a session without using it.
func (sh *shard) peek(id sessionstore.SessionID) *session {
	for _, r := range sh.rooms {
		if ses, ok := r.Peek(id); ok {
			return ses
		}
	}
	return nil
}

func (sh *shard) remove(id sessionstore.SessionID) bool {
	for _, r := range sh.rooms {
		if ses, ok := r.Peek(id); ok {
			r.Remove(id)
			sh.gone(ses)
			return true
		}
	}
	return false
}

// gone is for a session that is in no room any more.
func (sh *shard) gone(ses *session) {
	sh.count.Add(-1)
	for _, st := range ses.streams {
		st.Log.Forget(&sh.arena)
	}
}

// expire forgets the idle sessions that were last used at deadline or before.
func (sh *shard) expire(deadline time.Time) {
	for {
		_, ses, ok := sh.rooms[idle].GetOldest()
		if !ok || ses.used.After(deadline) {
			return
		}
		sh.removeOldest(idle)
	}
}

// age orders sessions by their use. Where the clock is too coarse to tell, the
// one whose last stream began first is the older.
type age struct {
	used   time.Time
	number uint64
}

func (a age) before(b age) bool {
	if c := a.used.Compare(b.used); c != 0 {
		return c < 0
	}
	return a.number < b.number
}

func (sh *shard) oldest(r room) (age, bool) {
	_, ses, ok := sh.rooms[r].GetOldest()
	if !ok {
		return age{}, false
	}
	return age{used: ses.used, number: ses.last}, true
}

func (sh *shard) removeOldest(r room) {
	if _, ses, ok := sh.rooms[r].RemoveOldest(); ok {
		sh.gone(ses)
	}
}

// above returns the IDs above after, in no order.
func (sh *shard) above(after sessionstore.SessionID) []sessionstore.SessionID {
	var ids []sessionstore.SessionID
	for _, r := range sh.rooms {
		for _, id := range r.Keys() {
			if compare(id, after) > 0 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
