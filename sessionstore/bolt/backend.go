package bolt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/behind"
)

// expireAtOnce bounds what one transaction deletes.
const expireAtOnce = 1000

func isPage(err error) bool { return errors.Is(err, errPage) }

// Apply makes changes, all of them or none; see behind.Backend.
func (f *file) Apply(_ context.Context, now time.Time, changes []*behind.Change) error {
	if len(changes) == 0 {
		return nil
	}
	return f.update(func(t *tx) error {
		for _, c := range changes {
			if err := t.apply(now, f.ttl, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tx) apply(now time.Time, ttl time.Duration, c *behind.Change) error {
	old, err := t.session(c.ID)
	if err != nil {
		return err
	}
	if old != nil && c.Claimed && old.expired(now, ttl) {
		if err := t.dropSession(c.ID, old); err != nil {
			return err
		}
		if err := t.count(-1); err != nil {
			return err
		}
		old = nil
	}
	v := &sessionValue{record: c.Record}
	switch {
	case old != nil:
		v.live, v.newest, v.record = old.live, old.newest, proto.CloneOf(old.record)
		v.record.UsedUnixNano = max(v.record.GetUsedUnixNano(), c.Record.GetUsedUnixNano())
	case !slices.ContainsFunc(c.Streams, func(sc *behind.StreamChange) bool { return sc.Birth != nil }):
		// It was dropped, and nothing begins it anew.
		for _, sc := range c.Streams {
			sc.Result = behind.Fenced
		}
		return nil
	default:
		if err := t.count(1); err != nil {
			return err
		}
	}
	for _, sc := range c.Streams {
		if sc.Result, err = t.applyStream(now, c.ID, v, sc); err != nil {
			return err
		}
	}
	return t.putSession(c.ID, old, v)
}

func (t *tx) applyStream(now time.Time, id sessionstore.SessionID, v *sessionValue, sc *behind.StreamChange) (behind.Result, error) {
	old, err := t.state(id, sc.Number)
	if err != nil {
		return 0, err
	}
	birth := sc.Fixed
	switch {
	case old != nil && old.GetToken() > sc.State.GetToken():
		return behind.Fenced, nil
	case old != nil && old.GetToken() == sc.State.GetToken() && old.GetRevision() >= sc.State.GetRevision():
		return behind.Applied, nil
	case old == nil && sc.Birth == nil:
		return behind.Fenced, nil // a file loses nothing: it was dropped, or pushed out
	case old == nil:
		if err := t.begin(id, v, sc); err != nil {
			return 0, err
		}
	}
	if sc.Forget != 0 {
		if err := t.forget(now, id, v, sc.Forget, birth.GetLine()); err != nil {
			return 0, err
		}
	}
	if err := t.addToWindow(id, sc.Number, int(birth.GetWindow()), sc.Seen, sc.Over); err != nil {
		return 0, err
	}
	if err := t.putRecords(id, sc, old); err != nil {
		return 0, err
	}
	v.count(old.GetLive(), sc.State.GetLive())
	return behind.Applied, t.putState(id, sc.Number, birth, old, sc.State)
}

// count keeps the number of live streams.
func (v *sessionValue) count(was, is bool) {
	switch {
	case is && !was:
		v.live++
	case was && !is:
		v.live--
	}
}

// begin stores the birth of a stream, and pushes out those that are too many for it.
func (t *tx) begin(id sessionstore.SessionID, v *sessionValue, sc *behind.StreamChange) error {
	var all []behind.Kept
	for _, n := range t.numbers(id) {
		st, err := t.stream(id, n, false)
		if err != nil {
			return err
		}
		all = append(all, behind.Kept{Number: n, Line: st.Line(), Live: st.State.GetLive()})
	}
	for _, victim := range behind.PushOut(all, (&behind.Stream{Birth: sc.Birth}).Line()) {
		if err := t.deleteStream(id, v, victim); err != nil {
			return err
		}
	}
	if sc.Number > number(t.meta.Get([]byte(keyLast))) {
		if err := t.meta.Put([]byte(keyLast), bytes8(sc.Number)); err != nil {
			return err
		}
	}
	v.newest = max(v.newest, sc.Number)
	return t.put(streamKey(id, sc.Number, kindBirth), sc.Birth)
}

func (t *tx) deleteStream(id sessionstore.SessionID, v *sessionValue, n uint64) error {
	state, err := t.state(id, n)
	if err != nil {
		return err
	}
	v.count(state.GetLive(), false)
	return t.deleteAll(t.streams, streamKey(id, n, 0)[:streamSize])
}

// forget deletes a stream that was continued, if it has ended and has no records.
func (t *tx) forget(now time.Time, id sessionstore.SessionID, v *sessionValue, n uint64, line []byte) error {
	if t.streams.Get(streamKey(id, n, kindState)) == nil {
		return nil
	}
	st, err := t.stream(id, n, false)
	if err != nil {
		return err
	}
	if st.State.GetLive() || !bytes.Equal(st.Birth.GetLine(), line) || st.HasRecords(now) {
		return nil
	}
	return t.deleteStream(id, v, n)
}

// putRecords adds records to a log, and deletes what is older than its oldest.
func (t *tx) putRecords(id sessionstore.SessionID, sc *behind.StreamChange, old *holdfastv1.StreamState) error {
	prefix := streamKey(id, sc.Number, kindRecords)
	if sc.Hole && old != nil {
		if err := t.deleteAll(t.streams, prefix); err != nil {
			return err
		}
	}
	if r := sc.Records; r != nil {
		last := r.GetFirst() + uint64(len(r.GetWire())) - 1
		if err := t.put(streamKey(id, sc.Number, kindRecords, ^last), r); err != nil {
			return err
		}
	}
	oldest := sc.State.GetLog().GetOldest()
	if oldest > 1 && oldest != old.GetLog().GetOldest() {
		return t.deleteAll(t.streams, prefix, streamKey(id, sc.Number, kindRecords, ^(oldest-1)))
	}
	return nil
}

// Load returns a session; see behind.Backend.
func (f *file) Load(_ context.Context, now time.Time, id sessionstore.SessionID, windows sessionstore.LineID) (ses *behind.Session, err error) {
	err = f.view(func(t *tx) error {
		ses, err = t.load(now, f.ttl, id, windows)
		return err
	})
	return ses, err
}

func (t *tx) load(now time.Time, ttl time.Duration, id sessionstore.SessionID, windows sessionstore.LineID) (*behind.Session, error) {
	v, err := t.session(id)
	if err != nil {
		return nil, err
	}
	if v == nil || v.expired(now, ttl) {
		return nil, sessionstore.ErrNotFound
	}
	ses := &behind.Session{ID: id, Record: v.record}
	for _, n := range slices.Backward(t.numbers(id)) {
		st, err := t.stream(id, n, false)
		if err != nil {
			return nil, err
		}
		if windows != (sessionstore.LineID{}) && st.Line() == windows {
			st.Window = t.window(id, n, int(st.Birth.GetWindow()))
		}
		ses.Streams = append(ses.Streams, st)
	}
	return ses, nil
}

// Records reads a log; see behind.Backend.
func (f *file) Records(_ context.Context, id sessionstore.SessionID, n, from uint64, size int) (batches []*holdfastv1.RecordBatch, err error) {
	err = f.view(func(t *tx) error {
		prefix := streamKey(id, n, kindRecords)
		start := streamKey(id, n, kindRecords, ^from)
		c := t.streams.Cursor()
		// The keys fall: the first that ends at from or after it is there, or before.
		k, v := c.Seek(start)
		if !bytes.Equal(k, start) {
			k, v = c.Prev()
		}
		for read := 0; kindOf(k, prefix) && (read == 0 || read < size); k, v = c.Prev() {
			b := new(holdfastv1.RecordBatch)
			if err := unmarshal(v, b); err != nil {
				return err
			}
			batches = append(batches, b)
			read += len(v)
		}
		return nil
	})
	return batches, err
}

// Takeover raises a stream's token; see behind.Backend.
func (f *file) Takeover(_ context.Context, now time.Time, id sessionstore.SessionID, n uint64) (was *behind.Stream, err error) {
	err = f.update(func(t *tx) error {
		old, err := t.session(id)
		if err != nil {
			return err
		}
		if old == nil || old.expired(now, f.ttl) || t.streams.Get(streamKey(id, n, kindState)) == nil {
			return sessionstore.ErrNotFound
		}
		if was, err = t.stream(id, n, true); err != nil {
			return err
		}
		state := proto.CloneOf(was.State)
		state.Token++
		state.Live = true
		if err := t.putState(id, n, was.Birth, was.State, state); err != nil {
			return err
		}
		v := &sessionValue{live: old.live, newest: old.newest, record: proto.CloneOf(old.record)}
		v.count(was.State.GetLive(), true)
		v.record.UsedUnixNano = max(v.record.GetUsedUnixNano(), now.UnixNano())
		return t.putSession(id, old, v)
	})
	return was, err
}

// List returns a page of sessions; see behind.Backend.
func (f *file) List(_ context.Context, now time.Time, after sessionstore.SessionID, limit int) (list []*behind.Session, err error) {
	err = f.view(func(t *tx) error {
		c := t.sessions.Cursor()
		k, _ := c.Seek(after[:])
		if bytes.Equal(k, after[:]) {
			k, _ = c.Next()
		}
		for ; k != nil && len(list) < limit; k, _ = c.Next() {
			ses, err := t.load(now, f.ttl, sessionstore.SessionID(k), sessionstore.LineID{})
			if errors.Is(err, sessionstore.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, ses)
		}
		return nil
	})
	return list, err
}

// Drop forgets a session; see behind.Backend. Who does not find a stream is fenced,
// for a file loses none.
func (f *file) Drop(_ context.Context, now time.Time, id sessionstore.SessionID, _ uint64) error {
	var expired bool
	err := f.update(func(t *tx) error {
		v, err := t.session(id)
		if err != nil {
			return err
		}
		if v == nil {
			return sessionstore.ErrNotFound
		}
		if err := t.dropSession(id, v); err != nil {
			return err
		}
		if err := t.count(-1); err != nil {
			return err
		}
		expired = v.expired(now, f.ttl)
		return nil
	})
	if err == nil && expired {
		return sessionstore.ErrNotFound
	}
	return err
}

// Tend forgets sessions that are too old or too many; see behind.Backend.
func (f *file) Tend(_ context.Context, now time.Time, _ uint64) (left int, live []sessionstore.SessionID, err error) {
	var work bool
	err = f.view(func(t *tx) error {
		left = int(number(t.meta.Get([]byte(keyCount))))
		work = left > f.sessions || t.due(now, f.ttl)
		return nil
	})
	for err == nil && work {
		err = f.update(func(t *tx) error {
			if err := t.expireLogs(now); err != nil {
				return err
			}
			gone, err := t.expireSessions(now, f.ttl)
			if err != nil {
				return err
			}
			count := int(number(t.meta.Get([]byte(keyCount)))) - gone
			evicted, fenced, err := t.evict(min(count-f.sessions, expireAtOnce))
			if err != nil {
				return err
			}
			live = append(live, fenced...)
			left = count - evicted
			work = left > f.sessions || t.due(now, f.ttl)
			return t.count(-gone - evicted)
		})
	}
	return left, live, err
}

// due says whether a session or a log has expired.
func (t *tx) due(now time.Time, ttl time.Duration) bool {
	if k, _ := t.idle.Cursor().First(); k != nil && !time.Unix(0, int64(number(k[:8]))).After(now.Add(-ttl)) {
		return true
	}
	k, _ := t.logs.Cursor().First()
	return k != nil && !time.Unix(0, int64(number(k[:8]))).After(now)
}

func (t *tx) expireSessions(now time.Time, ttl time.Duration) (gone int, err error) {
	deadline := now.Add(-ttl)
	ids := t.idlest(expireAtOnce, func(used time.Time) bool { return !used.After(deadline) })
	return len(ids), t.dropAll(ids)
}

// idlest lists sessions without live streams, those unused for longest first.
func (t *tx) idlest(limit int, match func(used time.Time) bool) (ids []sessionstore.SessionID) {
	c := t.idle.Cursor()
	for k, _ := c.First(); k != nil && len(ids) < limit && match(time.Unix(0, int64(number(k[:8])))); k, _ = c.Next() {
		ids = append(ids, sessionstore.SessionID(k[16:]))
	}
	return ids
}

func (t *tx) dropAll(ids []sessionstore.SessionID) error {
	for _, id := range ids {
		v, err := t.session(id)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		if err := t.dropSession(id, v); err != nil {
			return err
		}
	}
	return nil
}

// evict forgets n sessions, those unused for longest first, idle ones before live.
func (t *tx) evict(n int) (evicted int, live []sessionstore.SessionID, err error) {
	if n <= 0 {
		return 0, nil, nil
	}
	ids := t.idlest(n, func(time.Time) bool { return true })
	if n > len(ids) {
		if live, err = t.oldestLive(n - len(ids)); err != nil {
			return 0, nil, err
		}
	}
	ids = append(ids, live...)
	return len(ids), live, t.dropAll(ids)
}

// oldestLive looks at every session with live streams: all of them have, or it
// would not be asked.
func (t *tx) oldestLive(n int) ([]sessionstore.SessionID, error) {
	type candidate struct {
		id           sessionstore.SessionID
		used, newest uint64
	}
	var all []candidate
	c := t.live.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		v, err := t.session(sessionstore.SessionID(k))
		if err != nil {
			return nil, err
		}
		if v != nil {
			all = append(all, candidate{id: sessionstore.SessionID(k), used: uint64(v.record.GetUsedUnixNano()), newest: v.newest})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.newest, b.newest))
	})
	var ids []sessionstore.SessionID
	for _, c := range all[:min(n, len(all))] {
		ids = append(ids, c.id)
	}
	return ids, nil
}
