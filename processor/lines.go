package processor

import (
	"encoding/binary"
	"sync"

	"holdfast/sessionstore"
)

// lines finds the live streams of a line. A client that lost its connection may
// be back before we know that the old one is dead, so what its old stream knows
// must be in the store before the new one asks. Saving at every chunk would make
// sure of it, at more than all other work on a chunk costs; a stream saves a few
// times a second instead, and on this demand.
type lines struct {
	shards [64]lineShard
}

type lineShard struct {
	mu      sync.Mutex
	streams map[uint64]*stream // the newest of each line; the others hang on it
	_       [48]byte
}

// number stands for a line. Two lines with one number would only save each
// other's streams once too often.
func lineNumber(k *sessionstore.Key) uint64 {
	return binary.NativeEndian.Uint64(k.Session[:8]) ^ binary.NativeEndian.Uint64(k.Line[:8])
}

func (l *lines) shard(n uint64) *lineShard { return &l.shards[n%uint64(len(l.shards))] }

// add makes st the newest stream of its line.
func (l *lines) add(st *stream) {
	sh := l.shard(st.line)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.streams == nil {
		sh.streams = make(map[uint64]*stream)
	}
	if next := sh.streams[st.line]; next != nil {
		st.older, next.newer = next, st
	}
	sh.streams[st.line] = st
}

func (l *lines) remove(st *stream) {
	sh := l.shard(st.line)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case st.newer != nil:
		st.newer.older = st.older
	case sh.streams[st.line] != st:
		return // never added
	case st.older != nil:
		sh.streams[st.line] = st.older
	default:
		delete(sh.streams, st.line)
	}
	if st.older != nil {
		st.older.newer = nil
		if st.newer != nil {
			st.older.newer = st.newer
		}
	}
	st.older, st.newer = nil, nil
}

// save has the line's newest streams saved, as many as the store keeps.
func (l *lines) save(wait *patience, n uint64) {
	var buf [sessionstore.StreamsPerLine]*stream
	streams := buf[:0]
	sh := l.shard(n)
	sh.mu.Lock()
	for st := sh.streams[n]; st != nil && len(streams) < cap(streams); st = st.older {
		streams = append(streams, st)
	}
	sh.mu.Unlock()
	for _, st := range streams {
		st.saveWithin(wait)
	}
}
