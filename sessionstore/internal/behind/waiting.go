package behind

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/sessionstore"
)

// waiter is told what became of a change: of all that a session was at some
// generation, or of one stream.
type waiter struct {
	gen    uint64
	number uint64 // the stream's; zero: all of the session
	ch     chan error
}

// promise is for a change that is to be stored before the call returns: what became of
// it. nil: the store was not told to. The caller holds the shard's lock, and has held
// it since the change, so that no flush can have come between.
func (s *Store) promise(ses *session, number, gen uint64) <-chan error {
	if s.opt.Flush > 0 {
		return nil
	}
	return ses.wait(number, gen)
}

func (ses *session) wait(number, gen uint64) <-chan error {
	ch := make(chan error, 1)
	ses.waiting = append(ses.waiting, waiter{gen: gen, number: number, ch: ch})
	return ch
}

// strictly waits for what a promise is about.
func (s *Store) strictly(ctx context.Context, ses *session, kept <-chan error) error {
	if kept == nil {
		return nil
	}
	err := s.Failure()
	if err == nil {
		s.urge(ses)
		err = s.flusher.await(ctx, kept)
	}
	if err != nil && !errors.Is(err, sessionstore.ErrFenced) {
		return fmt.Errorf("storing before sending: %w", err)
	}
	return err
}

// settle waits until a session is stored as it is now.
func (s *Store) settle(ctx context.Context, ses *session) error {
	sh := s.shard(ses.id)
	sh.mu.Lock()
	if ses.written >= ses.gen {
		sh.mu.Unlock()
		return nil
	}
	if err := s.Failure(); err != nil {
		sh.mu.Unlock()
		return err
	}
	ch := ses.wait(0, ses.gen)
	sh.mu.Unlock()

	s.urge(ses)
	return s.flusher.await(ctx, ch)
}

// answer tells those who wait what became of the change that was just made. Whoever
// waits for a stream that is neither in it nor in memory had it taken away before it
// was collected. The caller holds the shard's lock.
func (ses *session) answer(c *Change) {
	ses.waiting = slices.DeleteFunc(ses.waiting, func(w waiter) bool {
		switch {
		case w.number == 0:
			if w.gen > ses.written {
				return false
			}
			w.ch <- nil
			return true
		case w.gen > c.gen:
			return false
		}
		i, here := ses.find(w.number)
		made := slices.IndexFunc(c.Streams, func(sc *StreamChange) bool { return sc.Number == w.number })
		switch {
		case made >= 0 && c.Streams[made].Result == Fenced, made < 0 && !here:
			w.ch <- sessionstore.ErrFenced
		case made >= 0 && c.Streams[made].Result == Missing, here && ses.streams[i].Log.MoreUnstored():
			return false // of this stream not all
		default:
			w.ch <- nil
		}
		return true
	})
}
