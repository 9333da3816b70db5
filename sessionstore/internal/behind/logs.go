package behind

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/kept"
)

// readAtOnce is how much of a log is asked for at a time when all of it is wanted.
const readAtOnce = 256 << 10

// Seek finds an event ID; see sessionstore.Log.
func (s *Store) Seek(ctx context.Context, session sessionstore.SessionID, line sessionstore.LineID, eventID string) (sessionstore.Position, error) {
	if eventID == "" {
		return sessionstore.Position{}, sessionstore.ErrNotFound
	}
	now := s.opt.Now()
	known, err := s.load(ctx, now, session, sessionstore.LineID{})
	if err != nil && (!errors.Is(err, sessionstore.ErrNotFound)) {
		return sessionstore.Position{}, err
	}
	err = sessionstore.ErrNotFound
	for _, number := range s.numbered(session, line, known) {
		p, found, lost, readErr := s.seek(ctx, now, session, number, known, []byte(eventID))
		switch {
		case readErr != nil:
			return sessionstore.Position{}, readErr
		case found:
			return p, nil
		case lost:
			err = sessionstore.ErrTruncated
		}
	}
	return sessionstore.Position{}, err
}

// numbered lists the streams of a line, in memory or stored, newest first; with the
// zero line, of the session.
func (s *Store) numbered(id sessionstore.SessionID, line sessionstore.LineID, known *Session) []uint64 {
	var numbers []uint64
	every := line == sessionstore.LineID{}
	for _, st := range known.Streams {
		if every || st.Line() == line {
			numbers = append(numbers, st.Number)
		}
	}
	sh := s.shard(id)
	sh.mu.Lock()
	if ses := sh.sessions[id]; ses != nil {
		for _, st := range ses.streams {
			if every || st.Line == line {
				numbers = append(numbers, st.Number)
			}
		}
	}
	sh.mu.Unlock()
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	slices.Reverse(numbers)
	return numbers
}

// seek looks for an ID in one stream's log: in what of it is stored only, then in
// memory.
func (s *Store) seek(ctx context.Context, now time.Time, id sessionstore.SessionID, number uint64, known *Session, eventID []byte) (
	p sessionstore.Position, found, lost bool, err error,
) {
	p = sessionstore.Position{Session: id, Number: number}
	var oldest, resident uint64
	search := func() {
		sh := s.shard(id)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		_, st := sh.stream(id, number)
		if st == nil || st.Log == nil {
			return
		}
		st.Log.Trim(&sh.arena, now)
		oldest, resident = st.Log.Oldest(), st.Log.Resident()
		p.Line = st.Line
		if p.Seq, found, lost = st.Log.Seek(eventID); found {
			p.Token = st.Log.Token(p.Seq)
		}
	}
	search()
	switch {
	case resident == 0: // not in memory at all
		i := slices.IndexFunc(known.Streams, func(st *Stream) bool { return st.Number == number })
		if i < 0 || known.Streams[i].Birth.GetLog() == nil {
			return p, false, false, nil
		}
		p.Line = known.Streams[i].Line()
		st := known.Streams[i]
		batches, err := s.batches(ctx, id, st)
		if err != nil {
			return p, false, false, err
		}
		arena := kept.NewArena(new(kept.Memory)) // for as long as this takes
		lg := kept.RestoreLog(&arena, limits(st.Birth), nil, logState(st.State.GetLog()), batches)
		lg.Trim(&arena, now)
		if p.Seq, found, lost = lg.Seek(eventID); found {
			p.Token = lg.Token(p.Seq)
		}
		return p, found, lost, nil
	case oldest == resident, found && p.Seq < oldest:
		return p, found, lost, nil
	}
	// An earlier record may have it too, and comes first.
	err = s.records(ctx, id, number, oldest, func(b *holdfastv1.RecordBatch) bool {
		for i, got := range b.GetId() {
			seq := b.GetFirst() + uint64(i)
			if seq >= resident {
				return false
			}
			// The run of the oldest record may have begun before it.
			if seq >= oldest && bytes.Equal(got, eventID) {
				p.Seq, p.Token, found = seq, b.GetToken(), seq > oldest || oldest == 1
				lost = !found
				return false
			}
		}
		return true
	})
	return p, found, lost, err
}

// records goes through a stream's stored batches, from the one with the given
// record on, until f has had enough.
func (s *Store) records(ctx context.Context, id sessionstore.SessionID, number, from uint64, f func(*holdfastv1.RecordBatch) bool) error {
	for {
		batches, err := s.backend.Records(ctx, id, number, from, readAtOnce)
		if err := s.reading(err); err != nil {
			return err
		}
		next := from
		for _, b := range batches {
			if !f(b) {
				return nil
			}
			next = max(next, b.GetFirst()+uint64(len(b.GetWire())))
		}
		if next == from {
			return nil
		}
		from = next
	}
}

// batches reads all of a stored log.
func (s *Store) batches(ctx context.Context, id sessionstore.SessionID, st *Stream) (batches []kept.Batch, err error) {
	if st.Birth.GetLog() == nil {
		return nil, nil
	}
	err = s.records(ctx, id, st.Number, st.State.GetLog().GetOldest(), func(b *holdfastv1.RecordBatch) bool {
		batches = append(batches, batch(b))
		return true
	})
	return batches, err
}

// After returns a page of a log; see sessionstore.Log. What is in memory costs no
// look elsewhere, but where nothing may lag behind.
func (s *Store) After(ctx context.Context, p sessionstore.Position, limits sessionstore.PageLimits) (sessionstore.Page, error) {
	now := s.opt.Now()
	if s.opt.Flush <= 0 {
		if _, err := s.load(ctx, now, p.Session, sessionstore.LineID{}); err != nil {
			return sessionstore.Page{}, err
		}
	}
	page, resident, err := s.pageInMemory(now, p, limits)
	for errors.Is(err, errFrozen) {
		if err := s.Flush(ctx); err != nil { // which comes after it
			return sessionstore.Page{}, err
		}
		page, resident, err = s.pageInMemory(now, p, limits)
	}
	switch {
	case err != nil || resident == 0:
		return page, err
	case resident < maxSeq:
		// The beginning is stored only, and has been found to be there.
		r := pageReader{after: p.Seq, through: resident - 1, limits: kept.Limits(limits)}
		if err := s.records(ctx, p.Session, p.Number, p.Seq+1, r.add); err != nil {
			return sessionstore.Page{}, err
		}
		if len(r.records) == 0 {
			return sessionstore.Page{}, sessionstore.ErrTruncated
		}
		page.Records, page.More = r.records, true
		return page, nil
	}
	// Not in memory: if it has ended, all of it is stored.
	if s.forgetting(p) {
		if err := s.settleSession(ctx, now, p.Session); err != nil {
			return sessionstore.Page{}, err
		}
	}
	known, err := s.backend.Load(ctx, now, p.Session, sessionstore.LineID{})
	if err := s.reading(err); err != nil {
		return sessionstore.Page{}, err
	}
	i := slices.IndexFunc(known.Streams, func(st *Stream) bool { return st.Number == p.Number && st.Line() == p.Line })
	if i < 0 || known.Streams[i].Birth.GetLog() == nil {
		return sessionstore.Page{}, sessionstore.ErrNotFound
	}
	return s.storedPage(ctx, now, p, known.Streams[i], limits)
}

// forgetting says that a stream which continues p's may have it forgotten, by a change
// that is not made yet.
func (s *Store) forgetting(p sessionstore.Position) bool {
	sh := s.shard(p.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ses := sh.sessions[p.Session]
	return ses != nil && slices.ContainsFunc(ses.streams, func(st *stream) bool {
		return st.forget == p.Number || st.going == p.Number
	})
}

const maxSeq = 1<<64 - 1

// pageInMemory is After as far as memory goes. resident is zero if that is all;
// where the log's beginning, up to resident, is stored only, the page has no
// records; and it is maxSeq if the stream is not in memory.
func (s *Store) pageInMemory(now time.Time, p sessionstore.Position, limits sessionstore.PageLimits) (page sessionstore.Page, resident uint64, err error) {
	sh := s.shard(p.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, st := sh.stream(p.Session, p.Number)
	if st == nil {
		return page, maxSeq, nil
	}
	if st.Log == nil || st.Line != p.Line {
		return page, 0, sessionstore.ErrNotFound
	}
	if st.frozen {
		return page, 0, errFrozen
	}
	st.Log.Trim(&sh.arena, now)
	if err := st.Log.Check(p.Seq, p.Token); err != nil {
		return page, 0, err
	}
	if r := st.Log.Resident(); p.Seq+1 < r {
		page, resident = st.Log.Page(), r
	} else {
		page = st.Log.After(p.Seq, s.readable(st), limits)
	}
	page.Token, page.Live = st.Token, st.Live
	if st.Live && !page.More && resident == 0 {
		page.Changed = st.Log.Changed()
	}
	return page, resident, nil
}

// storedPage is After for a stream that is not in memory.
func (s *Store) storedPage(ctx context.Context, now time.Time, p sessionstore.Position, st *Stream, limits sessionstore.PageLimits) (sessionstore.Page, error) {
	l := logState(st.State.GetLog())
	page := sessionstore.Page{
		Oldest: l.Oldest, Newest: l.Newest, Head: st.Birth.GetHead(),
		Token: st.State.GetToken(), Live: st.State.GetLive(), End: l.End,
	}
	if !st.HasRecords(now) {
		page.Oldest = l.Newest + 1
	}
	if page.Live {
		lives, err := s.writers.lives(ctx, st.State.GetWriter())
		if err := s.reading(err); err != nil {
			return sessionstore.Page{}, err
		}
		page.Orphaned = !lives
	}
	written := uint64(0) // the token of the position's own record
	switch {
	case p.Seq > l.Newest:
		return sessionstore.Page{}, sessionstore.ErrAhead
	case p.Seq+1 < l.Oldest:
		return sessionstore.Page{}, sessionstore.ErrTruncated
	case p.Seq+1 == l.Oldest:
		written = l.GoneToken
	}
	r := pageReader{after: p.Seq, through: l.Newest, limits: kept.Limits(limits)}
	err := s.records(ctx, p.Session, p.Number, max(p.Seq, l.Oldest), func(b *holdfastv1.RecordBatch) bool {
		if b.GetFirst() <= p.Seq && p.Seq < b.GetFirst()+uint64(len(b.GetWire())) {
			written = b.GetToken()
		}
		return r.add(b)
	})
	switch ttl := time.Duration(st.Birth.GetLog().GetTtlNanos()); {
	case err != nil:
		return sessionstore.Page{}, err
	case p.Seq < l.Newest && (len(r.records) == 0 || now.Sub(r.first) >= ttl):
		// It is stored for a while longer, but not to be read.
		return sessionstore.Page{}, sessionstore.ErrTruncated
	case p.Token != 0 && written != 0 && p.Token != written:
		return sessionstore.Page{}, sessionstore.ErrAhead
	case p.Seq == l.Newest:
		return page, nil
	}
	page.Records = r.records
	page.More = r.after < l.Newest
	return page, nil
}

// pageReader takes the records of a page out of batches.
type pageReader struct {
	after   uint64 // the last record there is
	through uint64 // the last there may be
	limits  sessionstore.PageLimits

	records []sessionstore.Record
	size    int
	first   time.Time // when the first was made
}

// add says whether more are wanted. What does not follow without a hole is not taken.
func (r *pageReader) add(rec *holdfastv1.RecordBatch) bool {
	b := batch(rec)
	for i := range b.Wires {
		seq := b.First + uint64(i)
		size := len(b.IDs[i]) + len(b.Wires[i])
		switch {
		case seq <= r.after:
			continue
		case seq != r.after+1, seq > r.through, len(r.records) == r.limits.Records,
			len(r.records) > 0 && r.size+size > r.limits.Bytes:
			return false
		}
		if len(r.records) == 0 {
			r.first = b.At[i]
		}
		r.records = append(r.records, sessionstore.Record{Seq: seq, ID: b.IDs[i], Wire: b.Wires[i]})
		r.size += size
		r.after = seq
	}
	return r.after < r.through
}

// Takeover gives a stream to another writer; see sessionstore.Log. It waits for the
// backend, which alone can know whether another process has done the same.
func (s *Store) Takeover(ctx context.Context, p sessionstore.Position) (lease sessionstore.Lease, known sessionstore.Stream, err error) {
	if err := s.settleSession(ctx, s.opt.Now(), p.Session); err != nil {
		return lease, known, err
	}
	t := new(taking)
	err = s.do(ctx, func(task context.Context) error { return t.take(task, s, p) })
	if err != nil && t.giveUp() {
		return lease, known, err
	}
	return t.lease, t.known, t.err
}

// taking is a Takeover that its caller may not wait for: then nobody has the lease, and
// it is given back.
type taking struct {
	mu    sync.Mutex
	done  bool
	given bool // up
	lease sessionstore.Lease
	known sessionstore.Stream
	err   error
}

func (t *taking) take(ctx context.Context, s *Store, p sessionstore.Position) error {
	if t.givenUp() {
		return context.Canceled
	}
	lease, known, err := s.takeover(ctx, p)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lease, t.known, t.err, t.done = lease, known, err, true; err == nil && t.given {
		_, _, _ = s.letGo(lease) // unless another has it already
	}
	return err
}

func (t *taking) givenUp() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.given
}

// giveUp says whether nothing has been taken, nor will be kept.
func (t *taking) giveUp() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.given = true
	return !t.done
}

// takeover is done by the flusher, so that no write is under way.
func (s *Store) takeover(ctx context.Context, p sessionstore.Position) (sessionstore.Lease, sessionstore.Stream, error) {
	var none sessionstore.Lease
	now := s.opt.Now()
	whole, err := s.backend.Load(ctx, now, p.Session, sessionstore.LineID{})
	if err := s.reading(err); err != nil {
		return none, sessionstore.Stream{}, err
	}
	if !slices.ContainsFunc(whole.Streams, func(st *Stream) bool { return st.Number == p.Number && st.Line() == p.Line }) {
		return none, sessionstore.Stream{}, sessionstore.ErrNotFound
	}
	thaw, err := s.freeze(p)
	if err != nil {
		return none, sessionstore.Stream{}, err
	}
	defer thaw()
	was, err := s.backend.Takeover(ctx, now, p.Session, p.Number)
	if err := s.reading(err); err != nil {
		return none, sessionstore.Stream{}, err
	}
	token := was.State.GetToken() + 1

	sh := s.shard(p.Session)
	sh.mu.Lock()
	ses, st := sh.stream(p.Session, p.Number)
	var known sessionstore.Stream
	if st != nil && st.Token+1 == token { // ours, and so newer than what is stored
		known = sh.wholeCopy(ses, st, now)
	} else {
		sh.mu.Unlock()
		batches, err := s.batches(ctx, p.Session, was)
		if err != nil {
			return none, sessionstore.Stream{}, err
		}
		known = was.showWhole(p.Session, now)
		sh.mu.Lock()
		ses, st = sh.restore(whole, was, batches, now)
		known.Log = st.Log.Info()
	}
	st.Token, st.Live, st.dirty = token, true, true
	ses.used = now
	st.Log.Wake()
	s.mark(ses)
	sh.mu.Unlock()
	if s.opt.Memory > 0 && s.logs.Bytes() > s.opt.Memory {
		s.evictLogs()
	}
	return sessionstore.Lease{Session: p.Session, Line: p.Line, Number: p.Number, Token: token}, known, nil
}

// readable is the last record that may be seen: where nothing is sent before it is
// stored, that goes for readers too.
func (s *Store) readable(st *stream) uint64 {
	if s.opt.Flush <= 0 && st.Log.MoreUnstored() {
		return max(st.Log.Stored(), st.Log.Resident()-1)
	}
	return maxSeq
}

// errFrozen: the stream is being taken over. It has no old writer any more, and no new
// one yet.
var errFrozen = errors.New("frozen")

// freeze keeps a stream of ours from being written, until it is thawed, and has stored
// what was written before. Otherwise what an old lease wrote at that moment might be
// stored under the new one: after it, for another process. It is for the flusher.
func (s *Store) freeze(p sessionstore.Position) (thaw func(), err error) {
	sh := s.shard(p.Session)
	sh.mu.Lock()
	ses, st := sh.stream(p.Session, p.Number)
	if st == nil {
		sh.mu.Unlock()
		return func() {}, nil
	}
	st.frozen = true
	dirty := st.dirty
	sh.mu.Unlock()
	thaw = func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		st.frozen = false
	}
	for dirty {
		s.urge(ses)
		if err := s.writeOut(false); err != nil {
			thaw()
			return nil, err
		}
		sh.mu.Lock()
		_, left := sh.stream(p.Session, p.Number)
		dirty = left == st && st.dirty // if there was too much for one turn
		sh.mu.Unlock()
	}
	return thaw, nil
}

// restore brings a stored stream into memory, in place of what is there of it: that
// was another's since.
func (sh *shard) restore(whole *Session, was *Stream, batches []kept.Batch, now time.Time) (*session, *stream) {
	ses := sh.sessions[whole.ID]
	if ses == nil {
		shown := whole.show(now)
		ses = &session{id: whole.ID, info: shown.Info, created: shown.Created, used: shown.Used}
		sh.sessions[whole.ID] = ses
	}
	i, here := ses.find(was.Number)
	if here {
		sh.remove(ses, i)
	}
	shown := was.showWhole(whole.ID, now)
	st := &stream{Stream: kept.Restore(&shown, int(was.Birth.GetWindow())), revision: was.State.GetRevision()}
	st.Log = kept.RestoreLog(&sh.arena, limits(was.Birth), was.Birth.GetHead(), logState(was.State.GetLog()), batches)
	st.Log.Trim(&sh.arena, now)
	ses.streams = slices.Insert(ses.streams, i, st)
	return ses, st
}
