package live

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
)

// ID numbers a running stream: random, so that it says nothing about the others.
type ID uint64

// String is the form that logs, the admin API and Stream.ID use: 16 hex digits.
func (id ID) String() string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[id>>(60-4*i)&0xf]
	}
	return string(b[:])
}

// ParseID is the reverse of String.
func ParseID(s string) (ID, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	return ID(n), err
}

// Source is a running stream that can tell of itself. Snapshot must not wait for
// anything that depends on the stream's peers: an operator wants to see above
// all the streams that are stuck.
type Source interface{ Snapshot() Stream }

// shardBits divides the streams by the highest bits of their ID, so that going
// through the shards in turn goes through the streams in order.
const shardBits = 6

// Registry is the set of running streams. The zero Registry is empty and ready
// for use; it is safe for concurrent use, and never holds a lock while it asks a
// stream.
type Registry struct {
	shards [1 << shardBits]shard
	ended  ended
}

type shard struct {
	mu      sync.Mutex
	streams map[ID]Source
	_       [40]byte // one cache line each: streams begin and end on all cores
}

func (r *Registry) shard(id ID) *shard { return &r.shards[id>>(64-shardBits)] }

// Add makes a stream known. It says false if another one has that ID.
func (r *Registry) Add(id ID, s Source) bool {
	sh := r.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, taken := sh.streams[id]; taken {
		return false
	}
	if sh.streams == nil {
		sh.streams = make(map[ID]Source)
	}
	sh.streams[id] = s
	return true
}

// Remove forgets a stream, if it is known.
func (r *Registry) Remove(id ID) {
	sh := r.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.streams, id)
}

// Get returns a stream, or nil.
func (r *Registry) Get(id ID) Source {
	sh := r.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.streams[id]
}

// Len is the number of streams.
func (r *Registry) Len() int {
	n := 0
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		n += len(sh.streams)
		sh.mu.Unlock()
	}
	return n
}

// Snapshot returns at most limit streams in the order of their IDs, beginning
// above after; zero begins at the first. Fewer than limit is the end. Streams
// that begin or end meanwhile may or may not be seen, the others are seen once.
func (r *Registry) Snapshot(after ID, limit int) []Stream {
	var out []Stream
	for i := int(after >> (64 - shardBits)); i < len(r.shards) && len(out) < limit; i++ {
		for _, e := range r.shards[i].above(after, limit-len(out)) {
			out = append(out, e.source.Snapshot())
		}
	}
	return out
}

// Each calls f for every stream there is at some moment of the call.
func (r *Registry) Each(f func(ID, Source)) {
	for i := range r.shards {
		for _, e := range r.shards[i].above(0, -1) {
			f(e.id, e.source)
		}
	}
}

type entry struct {
	id     ID
	source Source
}

// above returns the first limit entries above after, in order; all if limit is
// negative.
func (s *shard) above(after ID, limit int) []entry {
	s.mu.Lock()
	es := make([]entry, 0, len(s.streams))
	for id, source := range s.streams {
		if id > after {
			es = append(es, entry{id, source})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(es, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	if limit >= 0 && len(es) > limit {
		es = es[:limit]
	}
	return es
}
