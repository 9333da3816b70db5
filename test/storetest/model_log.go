package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"holdfast/sessionstore"
)

// modelLog never forgets anything: what has been given up is only marked so.
type modelLog struct {
	limits  sessionstore.LogLimits
	head    []byte
	end     sessionstore.End
	first   uint64 // Seq of records[0]; above 1: after a hole
	records []modelRecord
	gone    int // how many were given up
}

type modelRecord struct {
	sessionstore.Record
	token uint64
	at    time.Duration
}

func (r *modelRecord) cost() int {
	return len(r.ID) + len(r.Wire) + sessionstore.RecordOverhead
}

func newModelLog(k sessionstore.Key) *modelLog {
	if k.Log.Events == 0 {
		return nil
	}
	return &modelLog{limits: k.Log, head: k.Head, first: 1}
}

func (l *modelLog) newest() uint64 { return l.first + uint64(len(l.records)) - 1 }
func (l *modelLog) oldest() uint64 { return l.first + uint64(l.gone) }

func (l *modelLog) held(now time.Duration) (held []modelRecord, size int) {
	for ; l.gone < len(l.records); l.gone++ {
		held, size = l.records[l.gone:], 0
		for _, r := range held {
			size += r.cost()
		}
		if len(held) <= l.limits.Events && size <= l.limits.Bytes && now-held[0].at < l.limits.TTL {
			return held, size
		}
	}
	return nil, 0
}

func (l *modelLog) empty(now time.Duration) bool {
	if l == nil {
		return true
	}
	held, _ := l.held(now)
	return len(held) == 0
}

func (l *modelLog) info(now time.Duration) sessionstore.LogInfo {
	if l == nil {
		return sessionstore.LogInfo{}
	}
	_, size := l.held(now)
	return sessionstore.LogInfo{Oldest: l.oldest(), Newest: l.newest(), Bytes: size, End: l.end}
}

// append says whether the records are in order.
func (l *modelLog) append(now time.Duration, token uint64, recs []sessionstore.Record) bool {
	if recs[0].Seq <= l.newest() {
		return false
	}
	if recs[0].Seq > l.newest()+1 {
		l.first, l.records, l.gone = recs[0].Seq, nil, 0
	}
	for _, r := range recs {
		l.records = append(l.records, modelRecord{Record: r, token: token, at: now})
	}
	l.held(now)
	return true
}

// seek looks at every record from which on nothing is missing.
func (l *modelLog) seek(now time.Duration, id string) (at modelRecord, err error) {
	l.held(now)
	for i := max(l.gone-1, 0); i < len(l.records); i++ {
		if string(l.records[i].ID) != id {
			continue
		}
		// Where the one before may have had it, that may be all that the client got.
		if i <= l.gone-1 && i > 0 && string(l.records[i-1].ID) == id || i == 0 && l.first > 1 {
			return modelRecord{}, sessionstore.ErrTruncated
		}
		return l.records[i], nil
	}
	if l.oldest() > 1 {
		return modelRecord{}, sessionstore.ErrTruncated
	}
	return modelRecord{}, sessionstore.ErrNotFound
}

func (l *modelLog) after(now time.Duration, p sessionstore.Position, limits sessionstore.PageLimits) ([]sessionstore.Record, error) {
	l.held(now)
	switch {
	case p.Seq > l.newest():
		return nil, sessionstore.ErrAhead
	case p.Seq+1 < l.oldest():
		return nil, sessionstore.ErrTruncated
	case p.Seq >= l.first && p.Token != 0 && l.records[p.Seq-l.first].token != p.Token:
		return nil, sessionstore.ErrAhead
	}
	var page []sessionstore.Record
	size := 0
	for _, r := range l.records[p.Seq+1-l.first:] {
		size += len(r.ID) + len(r.Wire)
		if len(page) == limits.Records || (len(page) > 0 && size > limits.Bytes) {
			break
		}
		page = append(page, r.Record)
	}
	return page, nil
}

// stream finds a stream by its lease, lost or not.
func (m *model) stream(l sessionstore.Lease) (*modelSession, *modelStream) {
	m.expire()
	if s := m.find(l.Session); s != nil {
		for _, st := range s.streams {
			if st.Lease.Number == l.Number && st.Lease.Line == l.Line {
				return s, st
			}
		}
	}
	return nil, nil
}

func drawLimits(t *rapid.T) sessionstore.LogLimits {
	return sessionstore.LogLimits{
		Events: rapid.IntRange(0, 8).Draw(t, "events"),
		Bytes:  rapid.IntRange(1, 400).Draw(t, "bytes"),
		TTL:    time.Duration(rapid.IntRange(1, 120).Draw(t, "log TTL")) * time.Second,
	}
}

var eventIDs = rapid.SampledFrom([]string{"", "a", "b", "c"})

func (r *run) append(t *rapid.T) {
	r.tick(time.Millisecond)
	l := r.lease(t)
	next := uint64(1)
	if _, st := r.model.stream(l); st != nil && st.log != nil {
		next = st.log.newest() + 1
	}
	next += uint64(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 5}).Draw(t, "hole"))
	if next > 1 && rapid.IntRange(0, 9).Draw(t, "back") == 0 {
		next--
	}
	var recs []sessionstore.Record
	for i := range rapid.IntRange(1, 5).Draw(t, "records") {
		size := rapid.SampledFrom([]int{0, 5, 20, 100, 500}).Draw(t, "size")
		recs = append(recs, sessionstore.Record{
			Seq: next + uint64(i), ID: []byte(eventIDs.Draw(t, "id")),
			Wire: bytes.Repeat([]byte{byte(next) + byte(i)}, size),
		})
	}
	err := r.Log.Append(context.Background(), l, time.Time{}, recs)
	_, st := r.model.leased(l)
	fenced := st == nil || (st.log != nil && st.log.end != sessionstore.EndNone)
	switch {
	case fenced, st.log == nil:
		wantFence(t, "Append", err, fenced)
	default:
		if ok := st.log.append(r.model.now, l.Token, recs); ok != (err == nil) {
			t.Fatalf("Append: got %v, in order: %t", err, ok)
		}
	}
}

func (r *run) finish(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "seldom") > 0 {
		t.Skip("a finished stream is of little use")
	}
	r.tick(time.Millisecond)
	l := r.lease(t)
	err := r.Log.Finish(context.Background(), l, sessionstore.EndComplete)
	_, st := r.model.leased(l)
	wantFence(t, "Finish", err, st == nil)
	if st != nil && st.log != nil {
		st.log.end = sessionstore.EndComplete
	}
}

func (r *run) seek(t *rapid.T) {
	r.tick(time.Millisecond)
	l := r.lease(t)
	if rapid.Bool().Draw(t, "any line") {
		l.Line = sessionstore.LineID{}
	}
	id := eventIDs.Draw(t, "id")
	got, err := r.Log.Seek(context.Background(), l.Session, l.Line, id)

	r.model.expire()
	var want sessionstore.Position
	wantErr := sessionstore.ErrNotFound
	if s := r.model.find(l.Session); s != nil && id != "" {
		for _, st := range slices.Backward(s.streams) {
			if st.log == nil || (l.Line != sessionstore.LineID{} && st.Lease.Line != l.Line) {
				continue
			}
			at, err := st.log.seek(r.model.now, id)
			if err == nil {
				wantErr = nil
				want = sessionstore.Position{
					Session: l.Session, Line: st.Lease.Line, Number: st.Lease.Number, Token: at.token, Seq: at.Seq,
				}
				break
			}
			if !errors.Is(err, sessionstore.ErrNotFound) {
				wantErr = err
			}
		}
	}
	wantError(t, "Seek", err, wantErr)
	same(t, "position", got, want)
}

func (r *run) after(t *rapid.T) {
	r.tick(time.Millisecond)
	l := r.lease(t)
	limits := sessionstore.PageLimits{
		Records: rapid.IntRange(1, 9).Draw(t, "limit"),
		Bytes:   rapid.IntRange(1, 600).Draw(t, "page bytes"),
	}
	p := sessionstore.Position{Session: l.Session, Line: l.Line, Number: l.Number}
	p.Token = uint64(rapid.IntRange(0, 3).Draw(t, "token"))
	_, st := r.model.stream(l)
	if st != nil && st.log != nil {
		p.Seq = uint64(max(0, int(st.log.newest())+1-rapid.IntRange(0, 9).Draw(t, "back")))
	}
	page, err := r.Log.After(context.Background(), p, limits)
	if st == nil || st.log == nil {
		wantError(t, "After", err, sessionstore.ErrNotFound)
		return
	}
	want, wantErr := st.log.after(r.model.now, p, limits)
	wantError(t, "After", err, wantErr)
	if err != nil {
		return
	}
	same(t, "records", page.Records, want)
	if oldest := st.log.oldest(); !st.Live && page.Oldest < oldest && oldest <= st.log.newest() {
		page.Oldest = oldest // see lenient
	}
	same(t, "page", page, sessionstore.Page{
		Records: page.Records, Changed: page.Changed,
		More:   p.Seq+uint64(len(want)) < st.log.newest(),
		Oldest: st.log.oldest(), Newest: st.log.newest(), Head: st.log.head,
		Token: st.Lease.Token, Live: st.Live, End: st.log.end,
	})
	if live := st.Live && !page.More; live != (page.Changed != nil) {
		t.Fatalf("After: told of changes: %t, want %t", page.Changed != nil, live)
	}
}

func (r *run) takeover(t *rapid.T) {
	r.tick(time.Millisecond)
	l := r.lease(t)
	s, st := r.model.stream(l)
	p := sessionstore.Position{Session: l.Session, Line: l.Line, Number: l.Number}
	lease, known, err := r.Log.Takeover(context.Background(), p)
	if st == nil {
		wantError(t, "Takeover", err, sessionstore.ErrNotFound)
		return
	}
	wantError(t, "Takeover", err, nil)
	got, want := r.withoutTimes(t, []sessionstore.Stream{known}), []sessionstore.Stream{r.model.copyOf(st)}
	lenient(got, want)
	same(t, "stream", got, want)
	st.Lease.Token++
	st.Live = true
	r.model.use(s)
	same(t, "lease", lease, st.Lease)
	r.leases = append(r.leases, lease)
}

func wantError(t *rapid.T, call string, got, want error) {
	if !errors.Is(got, want) || (want == nil && got != nil) {
		t.Fatal(fmt.Sprintf("%s: got %v, want %v", call, got, want))
	}
}
