package behind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

const (
	// batchSessions and batchBytes bound what is copied out of memory to be written at
	// once, and so how long somebody who is in a hurry has to wait for others. A
	// session that has more to write than batchBytes is written in several turns.
	batchSessions = 256
	batchBytes    = 1 << 20

	// applyPatience bounds one attempt to write, and closePatience all that are made
	// at the end.
	applyPatience = 10 * time.Second
	closePatience = 5 * time.Second

	// After a failure the next attempt is made soon, and then ever later.
	retryFirst = 50 * time.Millisecond
	retryLast  = time.Second

	// tendEvery is how often expired sessions are looked for.
	tendEvery = time.Second
)

var (
	errClosed   = errors.New("the session store is closed")
	errUnproven = errors.New("the session store is not connected yet")
)

// flusher writes what moved. One goroutine does, and what else has to be in order
// with the writing is done by it too.
type flusher struct {
	mu     sync.Mutex
	queue  []*session // marked, in order
	urgent []*session // marked, and somebody waits
	tasks  []task

	kick   chan struct{} // of capacity 1: there is something urgent, or a task
	stop   chan struct{}
	done   chan struct{}
	closed atomic.Bool

	failing atomic.Pointer[error]
	count   atomic.Int64 // sessions in the backend
	observe atomic.Pointer[func(sessionstore.Flush)]

	// Of the goroutine.
	pending []*Change // were sent, and no answer came: to be sent again as they are
	tended  time.Time
	touched time.Time
}

// task is something to do between two writes, after all that was marked before it.
type task struct {
	run func(context.Context) error
	ch  chan error
}

func (f *flusher) start(s *Store) {
	f.kick = make(chan struct{}, 1)
	f.stop, f.done = make(chan struct{}), make(chan struct{})
	go s.flushing()
	go s.writers.beating(f.stop)
}

// mark says that a session has changed, and returns the generation of the change.
// The caller holds the shard's lock.
func (s *Store) mark(ses *session) uint64 {
	ses.gen++
	if !ses.queued {
		ses.queued = true
		f := &s.flusher
		f.mu.Lock()
		f.queue = append(f.queue, ses)
		f.mu.Unlock()
	}
	return ses.gen
}

// urge has a session written before others.
func (s *Store) urge(ses *session) {
	f := &s.flusher
	f.mu.Lock()
	f.urgent = append(f.urgent, ses)
	f.mu.Unlock()
	f.wake()
}

func (f *flusher) wake() {
	select {
	case f.kick <- struct{}{}:
	default: // it is awake already
	}
}

func (f *flusher) await(ctx context.Context, ch <-chan error) error {
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
	}
	select {
	case err := <-ch: // its last deed
		return err
	default:
		return errClosed
	}
}

// do has a task done between two writes, after all that was marked before it.
func (s *Store) do(ctx context.Context, run func(context.Context) error) error {
	f := &s.flusher
	ch := make(chan error, 1)
	f.mu.Lock()
	f.tasks = append(f.tasks, task{run: run, ch: ch})
	f.mu.Unlock()
	f.wake()
	return f.await(ctx, ch)
}

// Failure is why the backend cannot be used; see sessionstore.Behind.
func (s *Store) Failure() error {
	if err := s.flusher.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// OnFlush names who is told of writes; see sessionstore.Behind.
func (s *Store) OnFlush(observe func(sessionstore.Flush)) { s.flusher.observe.Store(&observe) }

// Flush writes all that is marked; see sessionstore.Behind.
func (s *Store) Flush(ctx context.Context) error {
	return s.do(ctx, func(context.Context) error { return nil })
}

// Close writes all that is marked and ends the goroutine; see sessionstore.Behind.
func (s *Store) Close() error {
	f := &s.flusher
	if f.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err := s.Flush(ctx)
	close(f.stop)
	<-f.done
	<-s.writers.done
	return errors.Join(err, s.backend.Close())
}

// reading looks at the answer of a backend that was asked. One that fails is not
// asked again until the flusher has found it to work.
func (s *Store) reading(err error) error {
	if err == nil || errors.Is(err, sessionstore.ErrNotFound) || errors.Is(err, context.Canceled) {
		return err
	}
	s.fail(err)
	s.flusher.wake()
	return err
}

func (s *Store) fail(err error) { s.flusher.failing.Store(&err) }

// flushing is the goroutine.
func (s *Store) flushing() {
	f := &s.flusher
	defer close(f.done)
	interval := s.opt.Flush
	if interval <= 0 {
		interval = tendEvery // changes do not wait for it
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := retryFirst
	for {
		all := false
		select {
		case <-f.stop:
			return
		case <-f.kick:
		case <-timer.C:
			all = true
		}
		if s.turn(all) == nil {
			retry = retryFirst
			if all {
				timer.Reset(interval)
			}
			continue
		}
		// Whoever is in a hurry is refused until then.
		select {
		case <-f.stop:
			return
		case <-time.After(retry):
		}
		retry = min(2*retry, retryLast)
		timer.Reset(0)
	}
}

// turn writes what is urgent, or all that is marked by now, and does the tasks.
func (s *Store) turn(all bool) error {
	f := &s.flusher
	f.mu.Lock()
	tasks := f.tasks
	f.tasks = nil
	f.mu.Unlock()

	asked, failed := len(tasks) > 0, s.Failure() != nil
	err := s.writeOut(all || asked)
	if err == nil {
		began := time.Now()
		if err = s.tend(asked || failed); err != nil || failed {
			f.tell(sessionstore.Flush{Took: time.Since(began), Err: err})
		}
	}
	if err != nil {
		s.fail(err)
		s.refuse(err)
	} else {
		f.failing.Store(nil)
	}
	for _, t := range tasks {
		if err != nil {
			t.ch <- err
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), applyPatience)
		t.ch <- t.run(ctx)
		cancel()
	}
	return err
}

// writeOut writes what is urgent, and then what is in the queue, if that is asked
// for. What comes into the queue meanwhile waits for the next flush, however long
// this one takes: a slow backend is written to less often, but more at once.
func (s *Store) writeOut(all bool) error {
	f := &s.flusher
	f.mu.Lock()
	rest := 0
	if all {
		rest = len(f.queue)
	}
	f.mu.Unlock()
	for {
		changes := f.pending
		if changes == nil {
			if changes = s.collect(&rest); len(changes) == 0 {
				return nil
			}
			f.pending = changes
		}
		ctx, cancel := context.WithTimeout(context.Background(), applyPatience)
		began := time.Now()
		err := s.backend.Apply(ctx, s.opt.Now(), changes)
		cancel()
		f.tell(sessionstore.Flush{Took: time.Since(began), Sessions: len(changes), Err: err})
		if err != nil {
			return fmt.Errorf("writing %d sessions: %w", len(changes), err)
		}
		f.pending = nil
		for _, c := range changes {
			s.written(c)
		}
	}
}

func (f *flusher) tell(flush sessionstore.Flush) {
	if observe := f.observe.Load(); observe != nil {
		(*observe)(flush)
	}
}

// collect takes sessions from the urgent ones, and up to rest from the queue, and
// returns their changes: some, or none if there are none.
func (s *Store) collect(rest *int) []*Change {
	f := &s.flusher
	var changes []*Change
	for len(changes) < batchSessions {
		f.mu.Lock()
		var ses *session
		if n := len(f.urgent); n > 0 {
			ses, f.urgent = f.urgent[n-1], f.urgent[:n-1]
		} else if *rest > 0 {
			ses, f.queue = f.queue[0], f.queue[1:]
			*rest--
		}
		f.mu.Unlock()
		if ses == nil {
			break
		}
		if c := s.change(ses); c != nil {
			changes = append(changes, c)
		}
	}
	return changes
}

// change collects what moved in a session; nil if it was collected already, from
// another place of the lists.
func (s *Store) change(ses *session) *Change {
	sh := s.shard(ses.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !ses.queued {
		return nil
	}
	ses.queued = false
	c := &Change{
		ID: ses.id, Record: sessionRecord(&ses.info, ses.created, ses.used),
		Claimed: !slices.ContainsFunc(ses.streams, func(st *stream) bool { return !st.whole }),
		Live:    ses.live(), session: ses, gen: ses.gen,
	}
	ses.touched = s.opt.Now()
	for _, st := range ses.streams {
		if st.dirty {
			sc := st.change(&sh.arena, ses.touched)
			sc.State.Writer = s.writers.self
			c.Streams = append(c.Streams, sc)
		}
	}
	return c
}

// change collects what moved in a stream.
func (st *stream) change(a *kept.Arena, now time.Time) *StreamChange {
	st.dirty = false
	st.revision++
	st.Log.Trim(a, now)
	c := &StreamChange{Number: st.Number, State: stateRecord(st.Stream, st.revision), Forget: st.forget}
	st.going, st.forget = st.forget, 0
	if st.birth == nil {
		st.birth = birthRecord(st.Stream)
	}
	if c.Fixed = st.birth; st.whole {
		c.Birth = st.birth
	}
	c.Seen, c.Over = st.TakeSeen(st.whole)
	if st.Log == nil {
		return c
	}
	stored := st.Log.Stored()
	b, ok := st.Log.Unstored(batchBytes)
	if !ok {
		return c
	}
	c.Records, c.Hole = batchRecord(&b), b.First != stored+1
	c.through = b.First + uint64(len(b.At)) - 1
	if l := c.State.GetLog(); c.through < l.GetNewest() {
		// The rest comes in another turn: until then, nobody may know of it.
		l.Newest, l.End = c.through, holdfastv1.End_END_UNSPECIFIED
		l.NewestUnixNano = b.At[len(b.At)-1].UnixNano()
	}
	return c
}

// written says that a change was made.
func (s *Store) written(c *Change) {
	ses := c.session
	sh := s.shard(ses.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, sc := range c.Streams {
		i, ok := ses.find(sc.Number)
		if !ok {
			continue // dropped meanwhile
		}
		st := ses.streams[i]
		st.going = 0
		switch sc.Result {
		case Fenced:
			sh.remove(ses, i)
		case Missing:
			st.whole, st.dirty = true, true
			st.Log.GiveUpAbsent(&sh.arena)
		case Applied:
			st.whole = false
			if sc.through > 0 {
				st.Log.SetStored(sc.through)
				if s.opt.Flush <= 0 {
					st.Log.Wake() // see readable
				}
			}
			if st.Log.MoreUnstored() {
				st.dirty = true
			}
			if !st.Live && !st.dirty {
				sh.remove(ses, i) // it can be read from the backend
			}
		}
	}
	again := slices.ContainsFunc(ses.streams, func(st *stream) bool { return st.dirty })
	ses.written = c.gen
	if again {
		ses.written-- // of this generation not all
		s.mark(ses)
	}
	ses.answer(c)
	if len(ses.waiting) > 0 {
		s.urge(ses)
	}
	if len(ses.streams) == 0 && !ses.queued && sh.sessions[ses.id] == ses {
		delete(sh.sessions, ses.id)
	}
}

// refuse tells those who wait that it is of no use.
func (s *Store) refuse(err error) {
	f := &s.flusher
	f.mu.Lock()
	waited := f.urgent
	f.urgent = nil
	f.mu.Unlock()
	for _, c := range f.pending {
		waited = append(waited, c.session)
	}
	for _, ses := range waited {
		sh := s.shard(ses.id)
		sh.mu.Lock()
		waiting := ses.waiting
		ses.waiting = nil
		sh.mu.Unlock()
		for _, w := range waiting {
			w.ch <- err
		}
	}
}

// tend has the backend forget what is too old or too much, from time to time or
// now.
func (s *Store) tend(now bool) error {
	f := &s.flusher
	at := s.opt.Now()
	if !now && at.Sub(f.tended) < tendEvery && !at.Before(f.tended) {
		return nil
	}
	f.tended = at
	if err := s.touch(at); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyPatience)
	defer cancel()
	left, live, err := s.backend.Tend(ctx, at, s.numbers.next(at, 0))
	if err != nil {
		return fmt.Errorf("looking for expired sessions: %w", err)
	}
	f.count.Store(int64(left))
	for _, id := range live {
		s.forget(id)
	}
	return nil
}

// touch has live sessions written whose streams are silent, before they expire.
func (s *Store) touch(now time.Time) error {
	f := &s.flusher
	if now.Sub(f.touched) < s.opt.TTL/4 && !now.Before(f.touched) {
		return nil
	}
	f.touched = now
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, ses := range sh.sessions {
			if ses.live() && now.Sub(ses.touched) >= s.opt.TTL/4 {
				s.mark(ses)
			}
		}
		sh.mu.Unlock()
	}
	return s.writeOut(true)
}

// forget takes a session out of memory that was dropped or evicted.
func (s *Store) forget(id sessionstore.SessionID) {
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if ses := sh.sessions[id]; ses != nil {
		sh.removeAll(ses)
		delete(sh.sessions, id)
	}
}
