package processor

import (
	"context"
	"sync"
	"time"
)

// audience is the readers of a stream that may outlive its client. It has a lock of its
// own, for the gate may be held for as long as a reader does not read: once its client
// has left, the stream waits for the foremost reader, as it would for its client, so
// that nobody who reads on misses anything. Those behind it may: one client that has
// stopped reading must not stop the others.
type audience struct {
	mu     sync.Mutex
	places map[*reader]uint64 // Seq of the last record that each has been given
	over   bool               // the stream is
	left   bool               // its client has
	timer  *time.Timer        // runs while nobody reads
	moved  chan struct{}      // closed at the next move; nil: nobody waits for one

	// How far ahead of the foremost reader the stream is; the gate's holder's.
	sent  []sending // in order, from the first that the foremost may not have
	ahead int       // their bytes
}

// sending is a chunk that nobody was there to be written to.
type sending struct {
	seq   uint64 // the last record in it
	bytes int
}

// join takes in a reader; false: the stream is over.
func (a *audience) join(rd *reader) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return false
	}
	if a.places == nil {
		a.places = make(map[*reader]uint64)
	}
	a.places[rd] = rd.at.Seq
	if a.timer != nil {
		a.timer.Stop()
	}
	a.wake()
	return true
}

// part lets a reader go. It says whether that leaves nobody, not even a client.
func (a *audience) part(rd *reader) (forsaken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.places, rd)
	a.wake()
	return len(a.places) == 0 && a.left && !a.over
}

// given takes note of what a reader has.
func (a *audience) given(rd *reader, seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.places[rd] = seq
	a.wake()
}

func (a *audience) wake() {
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
	}
}

// clientLeft says whether nobody is left.
func (a *audience) clientLeft() (forsaken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = true
	return len(a.places) == 0
}

// waitFor calls f after a while, unless somebody comes.
func (a *audience) waitFor(d time.Duration, f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.places) > 0 || a.over {
		return
	}
	if a.timer != nil {
		a.timer.Stop()
	}
	a.timer = time.AfterFunc(d, f)
}

func (a *audience) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.places) == 0
}

// end is for a stream that is over. It says whether its client had left.
func (a *audience) end() (left bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.wake()
	return a.left
}

// wait waits while the foremost reader is so far behind that what it has not read would
// soon be given up: by half of what the log may hold. Of a stream without readers the
// oldest is given up. The caller holds the gate.
func (a *audience) wait(ctx context.Context, s sending, limits *logLimits) {
	a.sent = append(a.sent, s)
	a.ahead += s.bytes
	for {
		foremost, moved, some := a.foremost()
		if !some {
			a.sent, a.ahead = a.sent[:0], 0
			return
		}
		n := 0
		for n < len(a.sent) && a.sent[n].seq <= foremost {
			a.ahead -= a.sent[n].bytes
			n++
		}
		a.sent = append(a.sent[:0], a.sent[n:]...)
		if s.seq-min(foremost, s.seq) <= limits.events && a.ahead <= limits.bytes {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// logLimits are how far a stream may be ahead of its foremost reader.
type logLimits struct {
	events uint64
	bytes  int
}

// foremost is the place of the reader that has most, and when to ask again; some: there
// is a reader.
func (a *audience) foremost() (seq uint64, moved <-chan struct{}, some bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.places {
		seq = max(seq, s)
	}
	if a.moved == nil {
		a.moved = make(chan struct{})
	}
	return seq, a.moved, len(a.places) > 0
}
