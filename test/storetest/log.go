package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/sessionstore"
)

func logTests() []contractTest {
	return []contractTest{
		{name: "a log is read after a position", run: logReads},
		{name: "pages are bounded, and never empty where there is more", run: logPages},
		{name: "an event ID is found in the newest stream that has it", run: logSeeks},
		{name: "where an event ID lasts, its first record counts", run: logSeeksFirst},
		{name: "a log keeps the newest events", run: logEvents},
		{name: "a log keeps the newest bytes", run: logBytes},
		{name: "a record expires", run: logExpires},
		{name: "all logs together are bounded", run: logMemory, opt: Options{Memory: 256 << 10}},
		{name: "no reader is led across a hole", run: logHole},
		{name: "an end is recorded", run: logEnds},
		{name: "a stream without a log has none", run: logNone},
		{name: "a stream with records is not forgotten for being continued", run: logContinued},
		{name: "a dropped session has no log", run: logDropped},
		{name: "whoever takes over fences the writer before", run: takesOver},
		{name: "a position of a writer that lost its lease", run: aheadOfLog},
		{name: "a reader learns of every change", run: logChanges},
		{name: "replay, then live, misses nothing", run: replayThenLive},
		{name: "nothing of a log is shared", run: logCopies},
	}
}

// logged is a key whose stream has a log.
func logged(session, line int) sessionstore.Key {
	k := key(session, line)
	k.Log = sessionstore.LogLimits{Events: 1000, Bytes: 1 << 20, TTL: time.Hour}
	k.Head = fmt.Append(nil, "head of ", session)
	return k
}

// record is an event with an ID; without one, after it, if the ID is "-id".
func record(seq int, id string) sessionstore.Record {
	wire := fmt.Sprintf("id: %s\ndata: %d\n\n", id, seq)
	if rest, ok := strings.CutPrefix(id, "-"); ok {
		id, wire = rest, fmt.Sprintf("data: %d\n\n", seq)
	}
	return sessionstore.Record{Seq: uint64(seq), ID: []byte(id), Wire: []byte(wire)}
}

// sized is a record that counts for size bytes.
func sized(seq, size int) sessionstore.Record {
	return sessionstore.Record{Seq: uint64(seq), Wire: bytes.Repeat([]byte{'x'}, size-sessionstore.RecordOverhead)}
}

func at(l sessionstore.Lease, seq int) sessionstore.Position {
	return sessionstore.Position{Session: l.Session, Line: l.Line, Number: l.Number, Token: l.Token, Seq: uint64(seq)}
}

func (h *harness) append(l sessionstore.Lease, recs ...sessionstore.Record) {
	h.Helper()
	if err := h.Log.Append(context.Background(), l, time.Time{}, recs); err != nil {
		h.Fatalf("Append: %v", err)
	}
}

// flush has a store that writes behind its streams write all.
func (h *harness) flush() {
	h.Helper()
	b, behind := h.Store.(sessionstore.Behind)
	if !behind {
		return
	}
	if err := b.Flush(context.Background()); err != nil {
		h.Fatalf("Flush: %v", err)
	}
}

// appendIDs appends one record for each ID, from seq on.
func (h *harness) appendIDs(l sessionstore.Lease, seq int, ids ...string) {
	h.Helper()
	for i, id := range ids {
		h.append(l, record(seq+i, id))
	}
}

func (h *harness) after(p sessionstore.Position, limits sessionstore.PageLimits) sessionstore.Page {
	h.Helper()
	page, err := h.Log.After(context.Background(), p, limits)
	if err != nil {
		h.Fatalf("After(%d): %v", p.Seq, err)
	}
	return page
}

func (h *harness) takeover(p sessionstore.Position) (sessionstore.Lease, sessionstore.Stream) {
	h.Helper()
	l, known, err := h.Log.Takeover(context.Background(), p)
	if err != nil {
		h.Fatalf("Takeover: %v", err)
	}
	return l, known
}

// wantAfter says which records follow a position.
func (h *harness) wantAfter(p sessionstore.Position, want ...int) {
	h.Helper()
	var got []int
	from := p.Seq
	for more := true; more; {
		page := h.after(p, sessionstore.PageLimits{})
		for _, r := range page.Records {
			got = append(got, int(r.Seq))
			p.Seq, p.Token = r.Seq, 0
		}
		more = page.More
	}
	h.wantEqual(fmt.Sprint("after ", from), got, want)
}

func (h *harness) wantAfterFails(p sessionstore.Position, want error) {
	h.Helper()
	if page, err := h.Log.After(context.Background(), p, sessionstore.PageLimits{}); !errors.Is(err, want) {
		h.Errorf("After(%d): got %d records and %v, want %v", p.Seq, len(page.Records), err, want)
	}
}

func (h *harness) wantSeek(line sessionstore.LineID, id string, want sessionstore.Position) {
	h.Helper()
	got, err := h.Log.Seek(context.Background(), sessionID(1), line, id)
	if err != nil {
		h.Errorf("Seek(%q): %v", id, err)
		return
	}
	h.wantEqual(fmt.Sprintf("position of %q", id), got, want)
}

func (h *harness) wantSeekFails(line sessionstore.LineID, id string, want error) {
	h.Helper()
	if p, err := h.Log.Seek(context.Background(), sessionID(1), line, id); !errors.Is(err, want) {
		h.Errorf("Seek(%q): got %+v and %v, want %v", id, p, err, want)
	}
}

func count(from, to int) (s []int) {
	for ; from <= to; from++ {
		s = append(s, from)
	}
	return s
}

func logReads(h *harness) {
	l, _ := h.claimKey(logged(1, 1))
	h.wantAfter(at(l, 0))
	h.wantAfterFails(at(l, 1), sessionstore.ErrAhead)
	h.append(l, record(1, "a"), record(2, "b"))
	h.append(l, record(3, "c"))
	page := h.after(at(l, 1), sessionstore.PageLimits{})
	if page.Changed == nil {
		h.Error("a live stream's last page does not tell of changes")
	}
	h.wantEqual("page", page, sessionstore.Page{
		Records: []sessionstore.Record{record(2, "b"), record(3, "c")},
		Oldest:  1, Newest: 3, Head: []byte("head of 1"), Token: l.Token, Live: true, Changed: page.Changed,
	})
	h.wantAfter(at(l, 0), 1, 2, 3)
	h.wantAfter(at(l, 3))
	h.wantAfterFails(at(l, 4), sessionstore.ErrAhead)

	h.release(l)
	page = h.after(at(l, 2), sessionstore.PageLimits{})
	h.wantEqual("page of a released stream", page, sessionstore.Page{
		Records: []sessionstore.Record{record(3, "c")},
		Oldest:  1, Newest: 3, Head: []byte("head of 1"), Token: l.Token,
	})
	for _, wrong := range []sessionstore.Position{
		{Session: sessionID(2), Line: l.Line, Number: l.Number},
		{Session: l.Session, Line: lineID(2), Number: l.Number},
		{Session: l.Session, Line: l.Line, Number: l.Number + 1},
	} {
		h.wantAfterFails(wrong, sessionstore.ErrNotFound)
	}
	h.wantEqual("log as an operator sees it", h.session(1).Streams[0].Log, sessionstore.LogInfo{
		Oldest: 1, Newest: 3, Bytes: 3 * len("aid: a\ndata: 1\n\n"+"0123456789abcdef"),
	})
}

func logPages(h *harness) {
	l, _ := h.claimKey(logged(1, 1))
	for i := range 20 {
		h.append(l, sized(i+1, 100))
	}
	h.append(l, sized(21, 100_000), sized(22, 100))
	for _, limits := range []sessionstore.PageLimits{
		{}, {Records: 1}, {Records: 7}, {Bytes: 1}, {Bytes: 250}, {Records: 2, Bytes: 1 << 20},
	} {
		var got []int
		for p := at(l, 0); ; {
			page := h.after(p, limits)
			size := 0
			for _, r := range page.Records {
				got = append(got, int(r.Seq))
				size += len(r.Wire)
				p.Seq = r.Seq
			}
			if limits.Records > 0 && len(page.Records) > limits.Records {
				h.Errorf("%d records, limit %d", len(page.Records), limits.Records)
			}
			if limits.Bytes > 0 && len(page.Records) > 1 && size > limits.Bytes {
				h.Errorf("%d bytes, limit %d", size, limits.Bytes)
			}
			if !page.More {
				break
			}
			if len(page.Records) == 0 {
				h.Fatalf("limits %+v: an empty page, and more to come", limits)
			}
			if page.Changed != nil {
				h.Error("told of changes while there is more to read")
			}
		}
		h.wantEqual(fmt.Sprintf("records by %+v", limits), got, count(1, 22))
	}
}

func logSeeks(h *harness) {
	old, _ := h.claimKey(logged(1, 1))
	h.appendIDs(old, 1, "a", "b", "c")
	h.release(old)
	newer, _ := h.claimKey(logged(1, 1))
	h.appendIDs(newer, 1, "c", "d")
	other, _ := h.claimKey(logged(1, 2))
	h.appendIDs(other, 1, "a", "e")
	h.claimKey(logged(1, 1)) // newer, and empty
	foreign, _ := h.claimKey(logged(2, 1))
	h.appendIDs(foreign, 1, "a", "f")

	h.wantSeek(lineID(1), "b", at(old, 2))
	h.wantSeek(lineID(1), "c", at(newer, 1))
	h.wantSeek(lineID(1), "a", at(old, 1))
	h.wantSeek(lineID(2), "a", at(other, 1))
	for _, id := range []string{"e", "f", "", "A", "ab"} {
		h.wantSeekFails(lineID(1), id, sessionstore.ErrNotFound)
	}
	// A line may not be known: then it is the session's.
	h.wantSeek(sessionstore.LineID{}, "a", at(other, 1))
	h.wantSeek(sessionstore.LineID{}, "d", at(newer, 2))
	h.wantSeekFails(sessionstore.LineID{}, "f", sessionstore.ErrNotFound)
	h.wantSeekFails(lineID(3), "a", sessionstore.ErrNotFound)
}

func logSeeksFirst(h *harness) {
	k := logged(1, 1)
	k.Log.Events = 6
	l, _ := h.claimKey(k)
	h.appendIDs(l, 1, "a", "-a", "-a", "b", "a", "-")
	h.wantSeek(k.Line, "a", at(l, 1)) // a client may have got that one and nothing more
	h.wantSeek(k.Line, "b", at(l, 4))
	h.wantSeekFails(k.Line, "", sessionstore.ErrNotFound)

	h.appendIDs(l, 7, "c")
	h.wantSeek(k.Line, "a", at(l, 1)) // given up, but all that follows is there
	h.appendIDs(l, 8, "c")
	h.wantSeekFails(k.Line, "a", sessionstore.ErrTruncated)
	h.appendIDs(l, 9, "-c", "c")
	h.wantSeek(k.Line, "b", at(l, 4))
	h.wantSeek(k.Line, "a", at(l, 5)) // all of the earlier ones are long gone
	h.appendIDs(l, 11, "c", "c", "c")
	h.wantSeek(k.Line, "c", at(l, 7))
	h.appendIDs(l, 14, "c")
	h.wantSeekFails(k.Line, "c", sessionstore.ErrTruncated)
	h.wantSeekFails(k.Line, "never", sessionstore.ErrTruncated) // who knows
}

func logEnds(h *harness) {
	l, _ := h.claimKey(logged(1, 1))
	h.appendIDs(l, 1, "a")
	if err := h.Log.Finish(context.Background(), l, sessionstore.EndComplete); err != nil {
		h.Fatalf("Finish: %v", err)
	}
	h.wantEqual("end", h.after(at(l, 0), sessionstore.PageLimits{}).End, sessionstore.EndComplete)
	if err := h.Log.Append(context.Background(), l, time.Time{}, []sessionstore.Record{record(2, "b")}); !errors.Is(err, sessionstore.ErrFenced) {
		h.Errorf("Append after Finish: got %v, want ErrFenced", err)
	}
	h.wantHeld(l)
	h.release(l)
	h.wantEqual("end", h.after(at(l, 1), sessionstore.PageLimits{}).End, sessionstore.EndComplete)
	_, known := h.takeover(at(l, 0))
	h.wantEqual("end, taken over", known.Log.End, sessionstore.EndComplete)
	_, earlier := h.claim(1, 1)
	h.wantEqual("end, to a later claim", earlier[0].Log, sessionstore.LogInfo{
		Oldest: 1, Newest: 1, Bytes: known.Log.Bytes, End: sessionstore.EndComplete,
	})
}

func logNone(h *harness) {
	l, _ := h.claim(1, 1)
	h.append(l, record(1, "a"))
	h.append(l, record(9, "b")) // nobody counts
	if err := h.Log.Finish(context.Background(), l, sessionstore.EndCut); err != nil {
		h.Errorf("Finish: %v", err)
	}
	h.wantAfterFails(at(l, 0), sessionstore.ErrNotFound)
	h.wantSeekFails(l.Line, "a", sessionstore.ErrNotFound)
	h.wantEqual("log", h.session(1).Streams[0].Log, sessionstore.LogInfo{})
	second, _ := h.takeover(at(l, 0)) // its state can be had all the same
	h.wantFenced(l)
	h.wantHeld(second)
}

func logContinued(h *harness) {
	k := logged(1, 1)
	k.Log.TTL = time.Minute
	a, _ := h.claimKey(k)
	h.appendIDs(a, 1, "a")
	h.release(a)
	b, _ := h.claimKey(k)
	h.save(b, sessionstore.State{LastSent: "b", Continues: a.Number})
	h.release(b) // it has no records
	h.wantAfter(at(a, 0), 1)
	c, earlier := h.claimKey(k)
	h.wantEarlier(earlier, "b", "")
	h.save(c, sessionstore.State{LastSent: "c", Continues: b.Number})
	d, earlier := h.claimKey(k)
	h.wantEarlier(earlier, "c", "")
	h.Wait(time.Minute) // and now neither has a
	h.save(d, sessionstore.State{LastSent: "d", Continues: a.Number})
	h.wantAfterFails(at(a, 1), sessionstore.ErrNotFound)
}

func logDropped(h *harness) {
	l, _ := h.claimKey(logged(1, 1))
	h.appendIDs(l, 1, "a")
	changed := h.after(at(l, 1), sessionstore.PageLimits{}).Changed
	h.drop(1)
	h.wantClosed(changed)
	h.wantAfterFails(at(l, 0), sessionstore.ErrNotFound)
	h.wantSeekFails(l.Line, "a", sessionstore.ErrNotFound)
	if _, _, err := h.Log.Takeover(context.Background(), at(l, 0)); !errors.Is(err, sessionstore.ErrNotFound) {
		h.Errorf("Takeover: got %v, want ErrNotFound", err)
	}
	h.wantFenced(l)
}

func (h *harness) wantClosed(changed <-chan struct{}) {
	h.Helper()
	select {
	case <-changed:
	default:
		h.Error("not told of a change")
	}
}

func logChanges(h *harness) {
	l, _ := h.claimKey(logged(1, 1))
	watch := func(p sessionstore.Position) <-chan struct{} {
		h.Helper()
		changed := h.after(p, sessionstore.PageLimits{}).Changed
		select {
		case <-changed:
			h.Error("told of a change that there was not")
		default:
		}
		return changed
	}
	one, two := watch(at(l, 0)), watch(at(l, 0))
	h.appendIDs(l, 1, "a")
	h.wantClosed(one)
	h.wantClosed(two)
	changed := watch(at(l, 1))
	h.advance(l, sessionstore.Progress{LastSent: []byte("a")}) // the log is as it was
	select {
	case <-changed:
		h.Error("told of a change of something else")
	default:
	}
	if err := h.Log.Finish(context.Background(), l, sessionstore.EndCut); err != nil {
		h.Fatalf("Finish: %v", err)
	}
	h.wantClosed(changed)
	changed = watch(at(l, 1))
	h.takeover(at(l, 1))
	h.wantClosed(changed)

	l, _ = h.claimKey(logged(1, 2))
	changed = watch(at(l, 0))
	h.release(l)
	h.wantClosed(changed)
	if h.after(at(l, 0), sessionstore.PageLimits{}).Changed != nil {
		h.Error("a stream that nobody writes tells of changes")
	}
	for range sessionstore.StreamsPerLine {
		last, _ := h.claimKey(logged(1, 3))
		changed := watch(at(last, 0))
		defer h.wantClosed(changed)
	}
	for range sessionstore.StreamsPerLine {
		h.claimKey(logged(1, 3)) // which pushes the others out
	}
}

// replayThenLive has one writer, and readers that join at any time.
func replayThenLive(h *harness) {
	const events, readers = 2_000, 8
	k := logged(1, 1)
	k.Log.Events = events
	l, _ := h.claimKey(k)
	var wg sync.WaitGroup
	read := func(from int) {
		ctx := context.Background()
		p := at(l, from)
		for {
			page, err := h.Log.After(ctx, p, sessionstore.PageLimits{Records: 7})
			if err != nil {
				h.Errorf("After(%d): %v", p.Seq, err)
				return
			}
			for _, r := range page.Records {
				if r.Seq != p.Seq+1 || !bytes.Equal(r.Wire, record(int(r.Seq), "x").Wire) {
					h.Errorf("record %d %q after %d", r.Seq, r.Wire, p.Seq)
					return
				}
				p.Seq = r.Seq
			}
			switch {
			case page.More:
			case page.Changed != nil:
				<-page.Changed
			default:
				if p.Seq != events || page.End != sessionstore.EndComplete {
					h.Errorf("a reader was told of the end %d after %d of %d", page.End, p.Seq, events)
				}
				return
			}
		}
	}
	for i := range events {
		if i%(events/readers) == 0 {
			wg.Go(func() { read(max(0, i-500)) })
		}
		h.append(l, record(i+1, "x"))
	}
	if err := h.Log.Finish(context.Background(), l, sessionstore.EndComplete); err != nil {
		h.Fatalf("Finish: %v", err)
	}
	h.release(l)
	wg.Wait()
}

func logCopies(h *harness) {
	k := logged(1, 1)
	l, _ := h.claimKey(k)
	k.Head[0] = '!'
	r := record(1, "a")
	h.append(l, r)
	r.ID[0], r.Wire[0] = '!', '!'
	page := h.after(at(l, 0), sessionstore.PageLimits{})
	page.Records[0].ID[0], page.Records[0].Wire[0], page.Head[0] = '?', '?', '?'
	_ = append(page.Records[0].ID, "over the wire"...)
	page = h.after(at(l, 0), sessionstore.PageLimits{})
	h.wantEqual("records", page.Records, []sessionstore.Record{record(1, "a")})
	h.wantEqual("head", page.Head, []byte("head of 1"))

	longest := bytes.Repeat([]byte("i"), sessionstore.MaxID)
	h.append(l, sessionstore.Record{Seq: 2, ID: longest}, sessionstore.Record{Seq: 3, ID: append(longest, 'i')})
	page = h.after(at(l, 1), sessionstore.PageLimits{})
	h.wantEqual("longest ID", page.Records, []sessionstore.Record{{Seq: 2, ID: longest}, {Seq: 3}})
}
