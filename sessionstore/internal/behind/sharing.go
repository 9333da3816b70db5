package behind

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"holdfast/sessionstore"
)

// Sharing is offered by a Backend that several processes write to at once. Its calls
// may come from several goroutines, at any time.
type Sharing interface {
	// Beat says that a writer lives, for so long from now, by the backend's own clock;
	// zero: it does not any more.
	Beat(ctx context.Context, writer uint64, d time.Duration) error

	// Lives says whether a writer has said so.
	Lives(ctx context.Context, writer uint64) (bool, error)

	// Attend says that a stream is read, for so long from now, by the backend's own clock.
	Attend(ctx context.Context, id sessionstore.SessionID, number uint64, d time.Duration) error

	// Attended says whether a stream is read.
	Attended(ctx context.Context, id sessionstore.SessionID, number uint64) (bool, error)
}

// beatEvery is how often a process shows that it lives. A sign or two may be late.
const beatEvery = sessionstore.WriterLife / 5

// writers knows this process among those that share a backend, and which of the others
// live.
type writers struct {
	self    uint64  // never zero
	sharing Sharing // nil: nobody else writes
	done    chan struct{}

	mu    sync.Mutex
	known map[uint64]sighting
}

// sighting is what was found of a writer, and when.
type sighting struct {
	at    time.Time
	lives bool
}

func newWriters(b Backend) *writers {
	w := &writers{done: make(chan struct{})}
	w.sharing, _ = b.(Sharing)
	for w.self == 0 {
		var n [8]byte
		_, _ = rand.Read(n[:]) // never fails: https://pkg.go.dev/crypto/rand#Read
		w.self = binary.NativeEndian.Uint64(n[:])
	}
	return w
}

// beating is a goroutine, apart from the flusher, which a slow backend may hold up for
// longer than a process may be silent.
func (w *writers) beating(stop <-chan struct{}) {
	defer close(w.done)
	if w.sharing == nil {
		return
	}
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		w.beat(sessionstore.WriterLife)
		select {
		case <-stop:
			w.beat(0)
			return
		case <-ticker.C:
		}
	}
}

// beat shows a sign of life. That a backend fails is found out by the flusher.
func (w *writers) beat(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), beatEvery)
	defer cancel()
	_ = w.sharing.Beat(ctx, w.self, d)
}

// lives says whether a stream that is stored as live, and not in memory here, has
// somebody who writes it.
func (w *writers) lives(ctx context.Context, writer uint64) (bool, error) {
	if w.sharing == nil || writer == w.self || writer == 0 {
		return false, nil
	}
	now := time.Now()
	w.mu.Lock()
	seen, ok := w.known[writer]
	w.mu.Unlock()
	if ok && now.Sub(seen.at) < beatEvery {
		return seen.lives, nil
	}
	lives, err := w.sharing.Lives(ctx, writer)
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for other, s := range w.known {
		if now.Sub(s.at) >= beatEvery {
			delete(w.known, other)
		}
	}
	if w.known == nil {
		w.known = make(map[uint64]sighting)
	}
	w.known[writer] = sighting{at: now, lives: lives}
	return lives, nil
}

// Shared is a Store's sessionstore.Shared, for stores whose Backend is a Sharing.
type Shared struct{ store *Store }

var _ sessionstore.Shared = Shared{}

// Shared returns what the Store's processes tell each other.
func (s *Store) Shared() Shared { return Shared{s} }

// Attend says that a stream is read here; see sessionstore.Shared.
func (s Shared) Attend(ctx context.Context, p sessionstore.Position) error {
	return s.store.reading(s.store.writers.sharing.Attend(ctx, p.Session, p.Number, sessionstore.ReaderLife))
}

// Attended says whether a stream is read elsewhere; see sessionstore.Shared.
func (s Shared) Attended(ctx context.Context, l sessionstore.Lease) (bool, error) {
	read, err := s.store.writers.sharing.Attended(ctx, l.Session, l.Number)
	return read, s.store.reading(err)
}
