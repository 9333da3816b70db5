package processor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/splice"
	"holdfast/sessionstore"
)

// guardedStore is the store as streams see it: it never fails and never takes
// long. What goes wrong is counted, logged when it begins and when it is over,
// and shown by failure; the stream goes on with less memory.
type guardedStore struct {
	store     sessionstore.Store
	directory sessionstore.Directory // nil: the store offers none
	records   sessionstore.Log       // nil: the store keeps none
	behind    sessionstore.Behind    // nil: the same
	shared    sessionstore.Shared    // nil: no other process has it
	timeout   time.Duration
	writing   time.Duration // the same for what a stream writes while it runs
	log       *zap.Logger
	metrics   *metrics

	failing atomic.Pointer[error] // the newest error, until something succeeds
	scratch sync.Pool             // *scratch
}

// scratch is memory for one State on its way into the store: the window of a
// full session is 8 KB, which no stream should keep just for that.
type scratch struct {
	machine splice.State
	stored  sessionstore.State
}

// patience bounds calls that somebody waits for. It outlives the stream, whose end
// is what has to be recorded; and a client that leaves while the store is asked
// would look like a store that failed.
func (g *guardedStore) patience(ctx context.Context) *patience {
	return newPatience(context.WithoutCancel(ctx), g.timeout)
}

// writePatience is patience for what a stream writes while it runs.
func (g *guardedStore) writePatience(ctx context.Context) *patience {
	return newPatience(context.WithoutCancel(ctx), g.writing)
}

func (g *guardedStore) claim(wait *patience, k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, bool) {
	lease, earlier, err := g.store.Claim(wait, k)
	return lease, earlier, g.done(opClaim, err) == nil
}

// save stores what is known, if state can tell. It says false if the lease is lost
// for good.
func (g *guardedStore) save(wait *patience, l sessionstore.Lease, continues uint64, state func(*splice.State) bool) bool {
	sc, _ := g.scratch.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	defer g.scratch.Put(sc)
	sc.machine = splice.State{Window: sc.machine.Window[:0]}
	if !state(&sc.machine) {
		return true
	}
	sc.stored = stored(&sc.machine, continues)

	err := g.done(opSave, g.store.Save(wait, l, &sc.stored))
	return !errors.Is(err, sessionstore.ErrFenced)
}

// append keeps records, if the store has logs. It says false if there is no point
// in going on: a log that lacks what failed would look whole to who reads it.
func (g *guardedStore) append(ctx context.Context, wait *patience, l sessionstore.Lease, now time.Time, recs []sessionstore.Record) bool {
	wait.renew(ctx, now.Add(g.writing))
	defer wait.over()
	return g.done(opAppend, g.records.Append(wait, l, now, recs)) == nil
}

// after reads a page of a log.
func (g *guardedStore) after(ctx context.Context, at sessionstore.Position) (sessionstore.Page, error) {
	return g.page(ctx, at, sessionstore.PageLimits{})
}

func (g *guardedStore) page(ctx context.Context, at sessionstore.Position, limits sessionstore.PageLimits) (sessionstore.Page, error) {
	wait := g.patience(ctx)
	defer wait.over()
	page, err := g.records.After(wait, at, limits)
	return page, g.done(opRead, err)
}

// streams are those of a session, newest first, if the store can tell.
func (g *guardedStore) streams(wait *patience, id sessionstore.SessionID) []sessionstore.Stream {
	if g.directory == nil {
		return nil
	}
	session, err := g.directory.Session(wait, id)
	if g.done(opRead, err) != nil {
		return nil
	}
	return session.Streams
}

func (g *guardedStore) seek(ctx context.Context, id sessionstore.SessionID, line sessionstore.LineID, cursor string) (sessionstore.Position, error) {
	wait := g.patience(ctx)
	defer wait.over()
	at, err := g.records.Seek(wait, id, line, cursor)
	return at, g.done(opSeek, err)
}

// ambiguous says whether another stream of the line has this id in its log, or may have:
// then nobody knows which of them a client means that brings it.
func (g *guardedStore) ambiguous(ctx context.Context, at sessionstore.Position, cursor string) bool {
	if g.directory == nil {
		return true
	}
	wait := g.patience(ctx)
	defer wait.over()
	ses, err := g.directory.Session(wait, at.Session)
	if g.done(opRead, err) != nil {
		return true
	}
	return slices.ContainsFunc(ses.Streams, func(st sessionstore.Stream) bool {
		return st.Lease.Line == at.Line && st.Lease.Number != at.Number && g.holds(ctx, &st, cursor)
	})
}

// holds says whether an id is in a stream's log, or may be.
func (g *guardedStore) holds(ctx context.Context, st *sessionstore.Stream, cursor string) bool {
	at := sessionstore.Position{Session: st.Lease.Session, Line: st.Lease.Line, Number: st.Lease.Number, Seq: st.Log.Oldest - 1}
	for more := st.Log.Oldest <= st.Log.Newest; more; {
		page, err := g.after(ctx, at)
		switch {
		case errors.Is(err, sessionstore.ErrNotFound):
			return false // it is gone meanwhile
		case err != nil:
			return true
		}
		for i := range page.Records {
			if string(page.Records[i].ID) == cursor {
				return true
			}
			at.Seq = page.Records[i].Seq
		}
		more = page.More
	}
	return false
}

// takeover makes the caller the one who writes a stream. It has more patience than
// others, for nothing else is to be done about such a stream.
func (g *guardedStore) takeover(ctx context.Context, at sessionstore.Position) (sessionstore.Lease, sessionstore.Stream, error) {
	wait := newPatience(context.WithoutCancel(ctx), max(g.timeout, sessionstore.WriterLife))
	defer wait.over()
	lease, known, err := g.records.Takeover(wait, at)
	return lease, known, g.done(opTakeover, err)
}

// attend says that a stream of another process is read here.
func (g *guardedStore) attend(ctx context.Context, at sessionstore.Position) {
	if g.shared == nil {
		return
	}
	wait := g.patience(ctx)
	defer wait.over()
	_ = g.done(opAttend, g.shared.Attend(wait, at))
}

// attended says whether a stream is read in another process.
func (g *guardedStore) attended(ctx context.Context, l sessionstore.Lease) bool {
	if g.shared == nil {
		return false
	}
	wait := g.patience(ctx)
	defer wait.over()
	read, err := g.shared.Attended(wait, l)
	return g.done(opAttend, err) == nil && read
}

// finish records how a stream ended.
func (g *guardedStore) finish(ctx context.Context, l sessionstore.Lease, end sessionstore.End) {
	wait := g.patience(ctx)
	defer wait.over()
	_ = g.done(opFinish, g.records.Finish(wait, l, end))
}

func (g *guardedStore) release(ctx context.Context, l sessionstore.Lease) {
	wait := g.patience(ctx)
	defer wait.over()
	_ = g.done(opRelease, g.store.Release(wait, l))
}

// drop forgets a session, where the store can.
func (g *guardedStore) drop(ctx context.Context, id sessionstore.SessionID) {
	if g.directory == nil {
		return
	}
	wait := g.patience(ctx)
	defer wait.over()
	_ = g.done(opDrop, g.directory.Drop(wait, id))
}

// done counts an operation and keeps track of whether the store works. The
// sentinels are answers, not failures.
func (g *guardedStore) done(op storeOp, err error) error {
	switch {
	case err == nil:
		g.metrics.storeOps[op][storeOK].Inc()
	case errors.Is(err, sessionstore.ErrFenced):
		g.metrics.storeOps[op][storeFenced].Inc()
		return err
	case errors.Is(err, sessionstore.ErrNotFound), errors.Is(err, sessionstore.ErrTruncated), errors.Is(err, sessionstore.ErrAhead):
		g.metrics.storeOps[op][storeNotFound].Inc()
		return err
	default:
		g.metrics.storeOps[op][storeError].Inc()
		failure := err // which alone is to be on the heap
		if g.failing.Swap(&failure) == nil {
			g.log.Warn("session store fails; streams go on without their state",
				zap.String("operation", op.String()), zap.Error(err))
		}
		return err
	}
	if g.failing.Load() != nil && g.failing.Swap(nil) != nil {
		g.log.Info("session store works again")
	}
	return nil
}

// flushed is told of every attempt to write behind the streams.
func (g *guardedStore) flushed(f sessionstore.Flush) {
	g.metrics.flushTime.Observe(f.Took.Seconds())
	_ = g.done(opFlush, f.Err)
}

// failure is the store's newest error if nothing has succeeded since.
func (g *guardedStore) failure() error {
	if g.behind != nil {
		if err := g.behind.Failure(); err != nil {
			return err
		}
	}
	if err := g.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// earlierState picks what a returning client's stream begins from: the newest
// earlier stream that delivered the event the client's cursor names. One that did
// not cannot tell what the client has. It also says that stream's number.
func earlierState(p *splice.Policy, cursor string, streams []sessionstore.Stream) (splice.State, uint64) {
	for i := range streams {
		s := known(&streams[i].State)
		if p.Remembers(&s, cursor) {
			return s, streams[i].Lease.Number
		}
		if s.Trust.Disproved() {
			break // the line's ids were reused: an older stream may mean another event by this one
		}
	}
	return splice.State{}, 0
}

func stored(s *splice.State, continues uint64) sessionstore.State {
	return sessionstore.State{
		Acked:      s.Acked,
		LastSent:   s.LastSent,
		Window:     s.Window,
		Key:        s.Key,
		Epoch:      s.Epoch,
		Trust:      uint8(s.Trust),
		Events:     s.Events,
		Duplicates: s.Duplicates,
		Continues:  continues,
	}
}

func known(s *sessionstore.State) splice.State {
	return splice.State{
		Acked:      s.Acked,
		LastSent:   s.LastSent,
		Window:     s.Window,
		Key:        s.Key,
		Epoch:      s.Epoch,
		Trust:      splice.Trust(s.Trust),
		Events:     s.Events,
		Duplicates: s.Duplicates,
	}
}
