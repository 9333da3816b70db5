package processor

import (
	"sync"

	"holdfast/sessionstore"
)

// producers finds the streams of this process that are kept in a log, for readers
// that come back to one.
type producers struct {
	mu      sync.Mutex
	streams map[producerKey]*held
}

type producerKey struct {
	session sessionstore.SessionID
	number  uint64
}

func (p *producers) add(st *held) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streams == nil {
		p.streams = make(map[producerKey]*held)
	}
	p.streams[producerKey{st.lease.Session, st.lease.Number}] = st
}

func (p *producers) remove(st *held) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.streams, producerKey{st.lease.Session, st.lease.Number})
}

func (p *producers) find(at sessionstore.Position) *held {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams[producerKey{at.Session, at.Number}]
}
