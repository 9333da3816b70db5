package processor

import (
	"context"
	"encoding/binary"
	"time"

	"holdfast/processor/config"
	"holdfast/processor/seal"
	"holdfast/processor/splice"
	"holdfast/processor/sse"
	"holdfast/sessionstore"
)

// recorder takes in all that a stream's client gets: it keeps it for the client's
// return, if there is a log, and puts ids of ours in its events, if they are wanted.
// What it reads is what the machine has decided to send, so it knows no more than
// the client does, and what it keeps is what the client got.
//
// It belongs to the gate's holder.
type recorder struct {
	ctx      context.Context // of the store's calls: it outlives the client
	scanner  *sse.Scanner
	identity func(*sse.Event) (id []byte, ok bool) // nil: the id field
	cursor   []byte                                // what the origin calls the place of the last block
	seq      uint64                                // of the last block that counts
	keeps    bool                                  // there is a log, as far as we know
	within   bool                                  // a block that is too large to be kept
	returned bool                                  // the stream begins behind an id, of which the log is to know

	gap    string       // the type of the event that is to come first; "": none is
	sealer *seal.Sealer // nil: the ids are the origin's
	scope  seal.Scope
	place  seal.Cursor // of the last block
}

// recording is memory for the work on one chunk, which no stream should keep.
type recording struct {
	wait    patience // for the store
	records []sessionstore.Record
	ids     []byte // of the records
	wires   []byte // of records that do not lie within the chunk
	id      []byte
	out     []byte // what the client gets instead
	chunk   []byte
	ev      sse.Event
	pos     int // how far of the chunk is decided about; negative: within what was held before it
}

const byteOrderMark = "\uFEFF"

// keptRecording is the most memory of one kind that waits to be used again.
const keptRecording = 64 << 10

func (s *Server) newRecording() *recording {
	rec, _ := s.recordings.Get().(*recording)
	if rec == nil {
		rec = new(recording)
	}
	return rec
}

func (s *Server) putRecording(rec *recording) {
	if cap(rec.ids)+cap(rec.wires)+cap(rec.out) > keptRecording {
		return
	}
	clear(rec.records)
	rec.records, rec.ids, rec.wires, rec.out, rec.chunk = rec.records[:0], rec.ids[:0], rec.wires[:0], rec.out[:0], nil
	rec.ev = sse.Event{}
	s.recordings.Put(rec)
}

// hand gives the client bytes, which are whole blocks as the machine sends them.
func (st *stream) hand(now time.Time, b []byte) error {
	if st.rec == nil {
		return st.out.write(b)
	}
	rec := st.srv.newRecording()
	defer st.srv.putRecording(rec)
	if b = st.take(now, rec, b); len(b) == 0 {
		st.out.took()
		return nil
	}
	return st.out.write(b)
}

// handLast is hand for the last bytes, which go out with the end of the response.
// What b is goes on being what it is until the recording is put back.
func (st *stream) handLast(now time.Time, rec *recording, b []byte, o splice.Outcome) []byte {
	r := st.rec
	b = st.take(now, rec, b)
	rest := r.scanner.Held()
	complete := o == splice.Complete || o == splice.Resumed
	if complete && (len(rest) > 0 || r.within) && r.keeps {
		// Some servers leave out the blank line after their last event.
		r.seq++
		last := [1]sessionstore.Record{{Seq: r.seq, ID: r.cursor, Wire: rest}}
		r.keeps = st.srv.store.append(r.ctx, &rec.wait, st.lease, now, last[:])
	}
	if r.sealer != nil {
		b = append(b, rest...) // else it is in b
	}
	return b
}

// stopRecording is for a stream that is copied from here on.
func (st *stream) stopRecording() {
	if r := st.rec; r != nil {
		st.rec = nil
		if r.sealer != nil {
			_ = st.out.write(r.scanner.Held())
		}
	}
}

// take keeps what b brings and returns what the client is to get.
func (st *stream) take(now time.Time, rec *recording, b []byte) []byte {
	r := st.rec
	if r.sealer != nil {
		r.place.Epoch = st.epoch()
	}
	rec.chunk, rec.pos = b, -len(r.scanner.Held())
	if r.returned && r.keeps {
		// A record of nothing: who comes back with this id has none of what follows
		// it here, whatever of that has the same id in force.
		r.returned = false
		r.seq++
		rec.keep(r.seq, r.cursor, nil)
	}
	r.scanner.Feed(b)
	for {
		var ok bool
		if rec.ev, ok = r.scanner.Next(); !ok {
			break
		}
		r.piece(rec, &rec.ev)
	}
	for rest := rec.records; len(rest) > 0 && r.keeps; {
		n := unbroken(rest)
		r.keeps = st.srv.store.append(r.ctx, &rec.wait, st.lease, now, rest[:n])
		rest = rest[n:]
	}
	if r.sealer == nil {
		return b
	}
	return rec.out
}

// unbroken is how many records there are before the first hole.
func unbroken(recs []sessionstore.Record) int {
	n := 1
	for n < len(recs) && recs[n].Seq == recs[n-1].Seq+1 {
		n++
	}
	return n
}

// piece takes in the next piece of the stream.
func (r *recorder) piece(rec *recording, ev *sse.Event) {
	raw := rec.next(ev.Raw)
	if ev.BOM { // it belongs to the stream, and comes before any id
		if r.sealer != nil {
			rec.out = append(rec.out, byteOrderMark...)
		}
		raw = raw[len(byteOrderMark):]
	}
	if r.gap != "" {
		r.place.Seq, r.place.Origin = r.seq, nil
		rec.id = r.sealer.Append(rec.id[:0], &r.scope, &r.place)
		rec.out = appendGapEvent(rec.out, r.gap, rec.id)
		r.gap = ""
	}
	switch {
	case ev.Part == sse.Whole && tells(ev):
		r.blockEnded(ev)
		if r.keeps {
			rec.keep(r.seq, r.cursor, raw)
		}
		if r.sealer != nil && relabelled(ev) {
			r.relabel(rec, raw)
			return
		}
	case ev.Part == sse.Fragment && !r.within:
		// It has a place of its own, so that who was given it can be told from who was
		// not, but it is not kept, and cannot be replayed. What follows it is, if only
		// a record of nothing: a log that ends before it would look whole.
		r.within = true
		r.seq++
		if r.sealer != nil {
			r.relabel(rec, raw)
			return
		}
	case ev.Part == sse.Last:
		r.within = false
		r.blockEnded(ev)
		if r.keeps {
			rec.keep(r.seq, r.cursor, nil)
		}
	}
	if r.sealer != nil {
		rec.out = append(rec.out, raw...)
	}
}

// tells says whether a block is worth keeping: it has a field that clients know, or
// text that may be an origin's last words. What has none, a comment or a blank
// line, keeps connections open and has done so.
func tells(ev *sse.Event) bool {
	if ev.HasData || ev.HasID || ev.HasRetry || len(ev.Type) > 0 {
		return true
	}
	for rest := ev.Raw; len(rest) > 0; rest = rest[lineLength(rest):] {
		if c := rest[0]; c != ':' && c != '\n' && c != '\r' {
			return true
		}
	}
	return false
}

func (r *recorder) blockEnded(ev *sse.Event) {
	r.seq++
	r.cursorMoved(ev)
}

func (r *recorder) cursorMoved(ev *sse.Event) {
	id, named := ev.ID, ev.HasID
	if r.identity != nil && ev.Part == sse.Whole {
		id, named = r.identity(ev)
	}
	if named {
		r.cursor = append(r.cursor[:0], id...)
	}
}

// relabel sends a block with an id that names its place.
func (r *recorder) relabel(rec *recording, raw []byte) {
	r.place.Seq, r.place.Origin = r.seq, r.cursor
	rec.id = r.sealer.Append(rec.id[:0], &r.scope, &r.place)
	rec.out = appendRelabelled(rec.out, raw, rec.id)
}

// next returns a piece's bytes such that they stay as they are: within the chunk,
// or as a copy, because the scanner uses its own memory again.
func (rec *recording) next(raw []byte) []byte {
	start := rec.pos
	rec.pos += len(raw)
	if start >= 0 {
		return rec.chunk[start:rec.pos:rec.pos]
	}
	from := len(rec.wires)
	rec.wires = append(rec.wires, raw...)
	return rec.wires[from:len(rec.wires):len(rec.wires)]
}

func (rec *recording) keep(seq uint64, cursor, raw []byte) {
	from := len(rec.ids)
	rec.ids = append(rec.ids, cursor...)
	rec.records = append(rec.records, sessionstore.Record{Seq: seq, ID: rec.ids[from:len(rec.ids):len(rec.ids)], Wire: raw})
}

// keep asks for a log, if the stream is to have one.
func (st *stream) keep(key *sessionstore.Key, b *beginning) (mark seal.Mark) {
	if b.header == nil {
		return mark
	}
	binary.NativeEndian.PutUint64(mark[:], st.srv.random())
	limits := st.policy.Replay
	key.Log = sessionstore.LogLimits{Events: limits.Events, Bytes: limits.Bytes, TTL: limits.TTL}
	key.Head = encodeHead(mark, b.header)
	return mark
}

// closeLog records the end that the stream's readers are to see.
func (st *stream) closeLog(o splice.Outcome) {
	if st.rec == nil || !st.rec.keeps {
		return
	}
	switch o { //nolint:exhaustive // after any other end there may be more to get
	case splice.Complete, splice.Resumed:
		st.srv.store.finish(st.rec.ctx, st.lease, sessionstore.EndComplete)
	case splice.Cut, splice.Gap:
		st.srv.store.finish(st.rec.ctx, st.lease, sessionstore.EndCut)
	}
}

// newRecorder returns the recorder of a stream that begins, or nil if none is
// needed.
func (st *stream) newRecorder(b *beginning, mark seal.Mark, keeps bool) *recorder {
	sealed := st.policy.Sealed && st.mode != config.ModeObserve
	if !sealed && !keeps {
		return nil
	}
	r := &recorder{
		ctx:     context.WithoutCancel(st.ctx),
		scanner: sse.NewScanner(st.policy.Splice.EventBytes),
		cursor:  []byte(b.cursor),
		keeps:   keeps,
		place:   seal.Cursor{Method: st.method},
	}
	if sealed {
		r.sealer, r.scope = st.srv.sealer, b.id.scope()
		if b.lost {
			r.gap = st.policy.GapEvent
		}
	}
	r.returned = !sealed && b.cursor != ""
	if keeps {
		r.place.Mark, r.place.Number, r.place.Token = mark, st.lease.Number, st.lease.Token
	}
	if st.origin != nil {
		r.identity = st.origin.identity()
	}
	return r
}
