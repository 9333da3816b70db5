package pass

import (
	"sync"
	"sync/atomic"
	"time"
)

// nonce makes a token unique.
type nonce [macAt - nonceAt]byte

// shardCount spreads the lock. A nonce is random, so any byte of it will do.
const shardCount = 16

// window remembers nonces for a fixed time, in bounded memory: two generations
// of a set. One is added to until it is old or full, then it only answers and a
// new one begins; after as long again it is dropped. So a nonce is known for at
// least one lifetime and at most two, unless a generation fills up early.
//
// Only the nonces of genuine tokens get here: others cannot fill it.
type window struct {
	life      time.Duration
	perShard  int
	shards    [shardCount]shard
	forgotten atomic.Uint64
}

type shard struct {
	mu        sync.Mutex
	began     time.Time // of the younger generation
	now, last map[nonce]struct{}
	_         [24]byte // keep two shards' locks out of one cache line
}

func (w *window) init(life time.Duration, size int) {
	w.life = life
	w.perShard = max(1, size/shardCount)
}

// add remembers n and reports whether it is new.
func (w *window) add(now time.Time, n nonce) bool {
	sh := &w.shards[n[0]%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch age := now.Sub(sh.began); {
	case sh.now == nil || age >= 2*w.life:
		// All that is known has expired. Also the first use.
		sh.began, sh.now, sh.last = now, make(map[nonce]struct{}), nil
	case age >= w.life:
		sh.began, sh.now, sh.last = now, make(map[nonce]struct{}), sh.now
	}
	if _, used := sh.now[n]; used {
		return false
	}
	if _, used := sh.last[n]; used {
		return false
	}
	if len(sh.now) >= w.perShard {
		// Full before its time. To go on is worth more than to refuse genuine
		// requests: see Verify.
		if len(sh.last) != 0 {
			w.forgotten.Add(1)
		}
		sh.began, sh.now, sh.last = now, make(map[nonce]struct{}, w.perShard), sh.now
	}
	sh.now[n] = struct{}{}
	return true
}
