package bolt

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	bbolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/behind"
)

// tx is a transaction with its buckets.
type tx struct {
	*bbolt.Tx

	meta, sessions, streams, idle, live, logs *bbolt.Bucket
}

func (t *tx) open() {
	t.meta, t.sessions, t.streams = t.Bucket([]byte(bucketMeta)), t.Bucket([]byte(bucketSessions)), t.Bucket([]byte(bucketStreams))
	t.idle, t.live, t.logs = t.Bucket([]byte(bucketIdle)), t.Bucket([]byte(bucketLive)), t.Bucket([]byte(bucketLogs))
}

// update runs f in a transaction. Once a page made no sense, none is begun any
// more: bbolt may hold locks that it would wait for.
func (f *file) update(do func(*tx) error) error { return f.transact(f.db.Update, do) }
func (f *file) view(do func(*tx) error) error   { return f.transact(f.db.View, do) }

func (f *file) transact(run func(func(*bbolt.Tx) error) error, do func(*tx) error) error {
	if broken := f.broken.Load(); broken != nil {
		return *broken
	}
	_, err := guarded(func() (struct{}, error) {
		return struct{}{}, run(func(raw *bbolt.Tx) error {
			t := &tx{Tx: raw}
			t.open()
			return do(t)
		})
	})
	if isPage(err) {
		err = explain(f.path, err)
		f.broken.Store(&err)
	}
	return err
}

// session returns a session's value, or nil.
func (t *tx) session(id sessionstore.SessionID) (*sessionValue, error) {
	b := t.sessions.Get(id[:])
	if b == nil {
		return nil, nil //nolint:nilnil // none is no failure
	}
	return unmarshalSession(b)
}

// putSession stores a session's value, in place of old, and keeps its place among
// the idle or the live.
func (t *tx) putSession(id sessionstore.SessionID, old, v *sessionValue) error {
	b, err := v.marshal()
	if err != nil {
		return err
	}
	if err := t.sessions.Put(id[:], b); err != nil {
		return err
	}
	if old != nil && old.live == 0 {
		if key := old.idleKey(id); v.live > 0 || !bytes.Equal(key, v.idleKey(id)) {
			if err := t.idle.Delete(key); err != nil {
				return err
			}
		}
	}
	if v.live > 0 {
		if old == nil || old.live == 0 {
			return t.live.Put(id[:], nil)
		}
		return nil
	}
	if old != nil && old.live > 0 {
		if err := t.live.Delete(id[:]); err != nil {
			return err
		}
	}
	return t.idle.Put(v.idleKey(id), nil)
}

// dropSession forgets a session and all of its streams. When their logs expire is
// left to be found out.
func (t *tx) dropSession(id sessionstore.SessionID, v *sessionValue) error {
	if err := t.deleteAll(t.streams, id[:]); err != nil {
		return err
	}
	if err := t.sessions.Delete(id[:]); err != nil {
		return err
	}
	if v.live > 0 {
		return t.live.Delete(id[:])
	}
	return t.idle.Delete(v.idleKey(id))
}

// deleteAll deletes the keys that begin with prefix, from that key or the given one on.
func (t *tx) deleteAll(b *bbolt.Bucket, prefix []byte, from ...[]byte) error {
	c := b.Cursor()
	start := prefix
	if len(from) > 0 {
		start = from[0]
	}
	// A cursor that deletes does not say where it is afterwards.
	var keys [][]byte
	for k, _ := c.Seek(start); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// count changes the number of sessions.
func (t *tx) count(by int) error {
	return t.meta.Put([]byte(keyCount), bytes8(number(t.meta.Get([]byte(keyCount)))+uint64(by)))
}

// state returns a stream's state, or nil.
func (t *tx) state(id sessionstore.SessionID, n uint64) (*holdfastv1.StreamState, error) {
	b := t.streams.Get(streamKey(id, n, kindState))
	if b == nil {
		return nil, nil //nolint:nilnil // none is no failure
	}
	s := new(holdfastv1.StreamState)
	return s, unmarshal(b, s)
}

func (t *tx) birth(id sessionstore.SessionID, n uint64) (*holdfastv1.StreamBirth, error) {
	s := new(holdfastv1.StreamBirth)
	return s, unmarshal(t.streams.Get(streamKey(id, n, kindBirth)), s)
}

func (t *tx) put(key []byte, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return t.streams.Put(key, b)
}

// numbers lists a session's streams, oldest first.
func (t *tx) numbers(id sessionstore.SessionID) (numbers []uint64) {
	c := t.streams.Cursor()
	for k, _ := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); {
		n := binary.BigEndian.Uint64(k[idSize:])
		numbers = append(numbers, n)
		k, _ = c.Seek(streamKey(id, n+1, 0))
	}
	return numbers
}

// stream returns a stream as it is stored.
func (t *tx) stream(id sessionstore.SessionID, n uint64, window bool) (*behind.Stream, error) {
	s := &behind.Stream{Number: n}
	var err error
	if s.Birth, err = t.birth(id, n); err != nil {
		return nil, err
	}
	if s.State, err = t.state(id, n); err != nil {
		return nil, err
	}
	if s.State == nil {
		return nil, errDamaged
	}
	if window {
		s.Window = t.window(id, n, int(s.Birth.GetWindow()))
	}
	return s, nil
}

// window reads the newest entries of a window.
func (t *tx) window(id sessionstore.SessionID, n uint64, limit int) []uint64 {
	var entries []uint64
	prefix := streamKey(id, n, kindWindow)
	c := t.streams.Cursor()
	for k, v := c.Seek(prefix); kindOf(k, prefix); k, v = c.Next() {
		for ; len(v) >= 8; v = v[8:] {
			entries = append(entries, binary.LittleEndian.Uint64(v))
		}
	}
	return entries[max(0, len(entries)-limit):]
}

// addToWindow appends entries to a window, and lets go of chunks that are too old.
func (t *tx) addToWindow(id sessionstore.SessionID, n uint64, limit int, entries []uint64, over bool) error {
	prefix := streamKey(id, n, kindWindow)
	if over {
		if err := t.deleteAll(t.streams, prefix); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		return nil
	}
	index := uint64(0)
	var chunk []byte
	c := t.streams.Cursor()
	c.Seek(streamKey(id, n, kindWindow+1))
	if k, v := c.Prev(); kindOf(k, prefix) {
		index, chunk = number(k[streamSize+1:]), slices.Clone(v)
	}
	for len(entries) > 0 {
		if len(chunk) >= 8*windowStep {
			index, chunk = index+1, nil
		}
		room := min(windowStep-len(chunk)/8, len(entries))
		for _, e := range entries[:room] {
			chunk = binary.LittleEndian.AppendUint64(chunk, e)
		}
		entries = entries[room:]
		if err := t.streams.Put(streamKey(id, n, kindWindow, index), chunk); err != nil {
			return err
		}
	}
	// All but the last are full.
	keep := uint64(limit/windowStep) + 2
	for old := index - keep; index > keep; old-- {
		key := streamKey(id, n, kindWindow, old)
		if t.streams.Get(key) == nil {
			return nil
		}
		if err := t.streams.Delete(key); err != nil {
			return err
		}
		if old == 0 {
			return nil
		}
	}
	return nil
}

// logExpiry is the key in bucketLogs of a stream that has ended; nil: it has no log.
func logExpiry(id sessionstore.SessionID, n uint64, birth *holdfastv1.StreamBirth, state *holdfastv1.StreamState) []byte {
	l := birth.GetLog()
	if l == nil || state.GetLive() || state.GetLog().GetOldest() > state.GetLog().GetNewest() {
		return nil
	}
	at := state.GetLog().GetNewestUnixNano() + l.GetTtlNanos()
	return timeKey(at, id[:], bytes8(n))
}

// putState stores a stream's state in place of old, and when its log will expire.
func (t *tx) putState(id sessionstore.SessionID, n uint64, birth *holdfastv1.StreamBirth, old, state *holdfastv1.StreamState) error {
	if err := t.put(streamKey(id, n, kindState), state); err != nil {
		return err
	}
	if old != nil {
		if key := logExpiry(id, n, birth, old); key != nil {
			if err := t.logs.Delete(key); err != nil {
				return err
			}
		}
	}
	if key := logExpiry(id, n, birth, state); key != nil {
		return t.logs.Put(key, nil)
	}
	return nil
}

// endAll ends the streams that were live: their process is no more.
func (t *tx) endAll() error {
	var ids []sessionstore.SessionID
	c := t.live.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		ids = append(ids, sessionstore.SessionID(k))
	}
	for _, id := range ids {
		old, err := t.session(id)
		if err != nil {
			return err
		}
		if old == nil {
			continue
		}
		for _, n := range t.numbers(id) {
			st, err := t.stream(id, n, false)
			if err != nil {
				return err
			}
			if !st.State.GetLive() {
				continue
			}
			ended := proto.CloneOf(st.State)
			ended.Live = false
			if err := t.putState(id, n, st.Birth, st.State, ended); err != nil {
				return err
			}
		}
		idle := *old
		idle.live = 0
		if err := t.putSession(id, old, &idle); err != nil {
			return err
		}
	}
	return nil
}

// expireLogs deletes the records of logs that have expired.
func (t *tx) expireLogs(now time.Time) error {
	until := bytes8(uint64(max(now.UnixNano(), 0)))
	var due [][]byte
	c := t.logs.Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k[:8], until) <= 0 && len(due) < expireAtOnce; k, _ = c.Next() {
		due = append(due, slices.Clone(k))
	}
	for _, k := range due {
		id := sessionstore.SessionID(k[8 : 8+idSize])
		n := number(k[8+idSize:])
		if err := t.deleteOldRecords(id, n); err != nil {
			return err
		}
		if err := t.logs.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// deleteOldRecords deletes all of a log but its newest batch, which tells those who
// come with the last position that it is the last.
func (t *tx) deleteOldRecords(id sessionstore.SessionID, n uint64) error {
	prefix := streamKey(id, n, kindRecords)
	c := t.streams.Cursor()
	c.Seek(prefix)
	if k, _ := c.Next(); kindOf(k, prefix) {
		return t.deleteAll(t.streams, prefix, slices.Clone(k))
	}
	return nil
}
