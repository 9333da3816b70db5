package processor

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/live"
	"holdfast/processor/seal"
	"holdfast/processor/splice"
	"holdfast/processor/sse"
	"holdfast/sessionstore"
)

// reader is a client that has come back to a stream that is kept in a log: it gets
// what follows its cursor, and then what is added, for as long as the stream runs.
// Every reader has its own place; the log is the only thing they share.
type reader struct {
	srv          *Server
	policy       *boundPolicy
	ctx          context.Context // of the client's side
	client       replaySink
	method, path string // path without its query
	id           live.ID
	over         bool // there is nothing to get, now or later

	at    sessionstore.Position
	page  sessionstore.Page // what follows at
	head  logHead
	place seal.Cursor // of the last record
	scope seal.Scope
	from  *held // the stream, if it runs in this process
	leave chan struct{}

	gapped bool // records before at are missing
	untold bool // and the client cannot be told: it gets no more

	look     time.Duration // how long until the next look at what another process writes
	attended time.Time     // when that was told last that somebody reads it

	mu       sync.Mutex // guards what follows
	leaving  bool
	started  time.Time
	lastByte time.Time
	events   uint64
	bytes    uint64

	out, sealed []byte
}

// replaySink is the client's side of a reader.
type replaySink interface {
	begin(p *boundPolicy, id live.ID, h http.Header) error
	// write waits while the client does not read.
	write(s *Server, b []byte) error
}

// read sends all there is, and says how it ended.
func (rd *reader) read() splice.Outcome {
	s := rd.srv
	defer rd.part()
	if rd.client.begin(rd.policy, rd.id, rd.head.Header) != nil {
		return splice.ClientGone
	}
	if rd.gapped && rd.tellGap() != nil {
		return splice.ClientGone
	}
	beat := rd.newBeat()
	defer beat.stop()
	for {
		if err := rd.forward(); err != nil {
			return splice.ClientGone
		}
		switch {
		case rd.page.More:
		case rd.page.End == sessionstore.EndComplete && rd.gapped:
			return splice.Gap
		case rd.page.End == sessionstore.EndComplete:
			return splice.Complete
		case rd.page.End == sessionstore.EndCut, !rd.page.Live:
			return splice.Cut
		case rd.page.Orphaned:
			if !rd.inherit() {
				return splice.Cut
			}
		default:
			if o, over := rd.wait(beat); over {
				return o
			}
		}
		var err error
		rd.page, err = s.store.after(rd.ctx, rd.at)
		switch truncated := errors.Is(err, sessionstore.ErrTruncated); {
		case truncated && rd.policy.GapEvent != "":
			if o, over := rd.skip(); over {
				return o
			}
		case truncated:
			rd.gapped, rd.untold = true, true
			return splice.Gap
		case err != nil:
			return splice.Cut
		}
	}
}

// readContained is read, and a fault of it costs this client its response.
func (rd *reader) readContained() (o splice.Outcome) {
	defer func() {
		if r := recover(); r != nil {
			o = splice.Cut
			if rd.srv.complain.fault.allow(rd.srv.now()) {
				rd.srv.log.Error("internal fault; a replay is cut", zap.Stringer("stream", rd.id),
					zap.String("policy", rd.policy.Name), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			}
		}
	}()
	return rd.read()
}

// skip goes on behind records that were given up before the client was given them.
func (rd *reader) skip() (_ splice.Outcome, over bool) {
	var err error
	if rd.at, rd.page, err = rd.srv.beyondGap(rd.ctx, rd.at); err != nil {
		rd.untold = true
		return splice.Gap, true
	}
	rd.gapped = true
	if rd.tellGap() != nil {
		return splice.ClientGone, true
	}
	if rd.from != nil {
		rd.from.given(rd)
	}
	return 0, false
}

// tellGap sends the event by which a client knows of a gap.
func (rd *reader) tellGap() error {
	rd.place.Token, rd.place.Seq, rd.place.Origin, rd.place.Referred = rd.at.Token, rd.at.Seq, nil, false
	rd.sealed = rd.srv.sealer.Append(rd.sealed[:0], &rd.scope, &rd.place)
	return rd.write(appendGapEvent(nil, rd.policy.GapEvent, rd.sealed))
}

// A stream that another process writes is looked at from time to time: soon after it
// has brought something, and ever more seldom while it is silent.
const (
	lookFirst = 50 * time.Millisecond
	lookLast  = time.Second
)

// wait waits for something new, and says if there is no point in that.
func (rd *reader) wait(beat *beat) (_ splice.Outcome, over bool) {
	if len(rd.page.Records) > 0 {
		beat.reset()
		rd.look = 0
	}
	var later <-chan time.Time
	if rd.page.Changed == nil {
		rd.attend()
		rd.look = min(max(2*rd.look, lookFirst), lookLast)
		timer := time.NewTimer(rd.look)
		defer timer.Stop()
		later = timer.C
	}
	select {
	case <-rd.page.Changed:
	case <-later:
	case <-beat.c:
		if rd.write([]byte(": keep-alive\n\n")) != nil {
			return splice.ClientGone, true
		}
		beat.reset()
		rd.srv.metrics.heartbeats.Inc()
	case <-rd.leave:
		if rd.method == http.MethodGet && rd.write(rd.srv.appendRetry(nil, 0)) != nil {
			return splice.ClientGone, true
		}
		return splice.Drained, true
	case <-rd.ctx.Done():
		return splice.ClientGone, true
	}
	return 0, false
}

// attend tells the process that writes the stream that it is read.
func (rd *reader) attend() {
	if now := rd.srv.now(); now.Sub(rd.attended) >= sessionstore.ReaderLife/3 {
		rd.attended = now
		rd.srv.store.attend(rd.ctx, rd.at)
	}
}

// inherit takes over a stream whose process has died. From then on nobody adds to it,
// so what is there is all there will be; whoever comes later is told at once.
func (rd *reader) inherit() bool {
	s := rd.srv
	lease, _, err := s.store.takeover(rd.ctx, rd.at)
	if err != nil {
		return false
	}
	s.log.Info("a stream's process has died, and it is taken over; what that process had not stored is lost",
		zap.Stringer("stream", rd.id), zap.String("policy", rd.policy.Name))
	s.store.finish(rd.ctx, lease, sessionstore.EndCut)
	s.store.release(rd.ctx, lease)
	return true
}

// forward sends a page.
func (rd *reader) forward() error {
	rd.out = rd.out[:0]
	for i := range rd.page.Records {
		rec := &rd.page.Records[i]
		rd.at.Seq = rec.Seq
		rd.append(rec)
	}
	rd.at.Token = rd.page.Token
	if len(rd.page.Records) == 0 {
		return nil
	}
	n := kept(rd.page.Records)
	rd.mu.Lock()
	rd.events += n
	rd.mu.Unlock()
	rd.policy.metrics.replayed.Add(float64(n))
	if len(rd.out) > 0 {
		if err := rd.write(rd.out); err != nil {
			return err
		}
	}
	if rd.from != nil {
		rd.from.given(rd)
	}
	return nil
}

// kept is how many of the records have something to send.
func kept(recs []sessionstore.Record) (n uint64) {
	for i := range recs {
		if len(recs[i].Wire) > 0 {
			n++
		}
	}
	return n
}

func (rd *reader) append(rec *sessionstore.Record) {
	// Its limit is of no concern here: the record was a whole block to its writer, whose
	// own limit may be any.
	scanner := sse.NewScanner(len(rec.Wire) + 1)
	scanner.Feed(rec.Wire)
	ev, whole := scanner.Next()
	switch {
	case whole && rd.policy.Sealed && relabelled(&ev):
		rd.place.Token, rd.place.Seq, rd.place.Origin, rd.place.Referred = rd.page.Token, rec.Seq, rec.ID, false
		rd.sealed = rd.srv.sealer.Append(rd.sealed[:0], &rd.scope, &rd.place)
		rd.out = appendRelabelled(rd.out, rec.Wire, rd.sealed)
	default:
		rd.out = append(rd.out, rec.Wire...)
	}
}

func (rd *reader) write(b []byte) error {
	if err := rd.client.write(rd.srv, b); err != nil {
		return err
	}
	rd.mu.Lock()
	rd.bytes += uint64(len(b))
	rd.lastByte = rd.srv.now()
	rd.mu.Unlock()
	return nil
}

// sent takes note of what Envoy says that the client has been sent.
func (rd *reader) sent(bytes uint64) {
	if c, ok := rd.client.(*injector); ok {
		c.sent(bytes)
	}
}

// part ends the reader's hold on the stream.
func (rd *reader) part() {
	if rd.from != nil {
		rd.from.part(rd)
	}
}

// beat is a timer that may be absent.
type beat struct {
	every time.Duration
	timer *time.Timer
	c     <-chan time.Time
}

func (rd *reader) newBeat() *beat {
	b := &beat{every: rd.policy.Splice.Heartbeat}
	if b.every > 0 {
		b.timer = time.NewTimer(b.every)
		b.c = b.timer.C
	}
	return b
}

func (b *beat) reset() {
	if b.timer != nil {
		b.timer.Reset(b.every)
	}
}

func (b *beat) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}

// mode is what its policy does with such streams.
func (rd *reader) mode() config.Mode { return rd.policy.Mode }

// drain implements what a Server asks of its streams: a client that can come back
// is sent away, any other has until the deadline.
func (rd *reader) drain(by time.Time) {
	wait := time.Duration(0)
	if rd.method != http.MethodGet {
		wait = time.Until(by)
	}
	time.AfterFunc(wait, func() {
		rd.mu.Lock()
		defer rd.mu.Unlock()
		if !rd.leaving {
			rd.leaving = true
			close(rd.leave)
		}
	})
}

// Snapshot implements live.Source.
func (rd *reader) Snapshot() live.Stream {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return live.Stream{
		ID: rd.id.String(), Session: hex.EncodeToString(rd.at.Session[:]), Policy: rd.policy.Name,
		Mode: rd.mode().String(), Method: rd.method, Path: rd.path,
		Started: rd.started, LastByte: rd.lastByte, Trust: splice.TrustAbsent.String(),
		Events: rd.events, Bytes: rd.bytes,
	}
}

// serve gives a client what the log has, as one stream of its policy. abort says that
// the client is to see that this is not all.
func (rd *reader) serve() (o splice.Outcome, abort bool) {
	s := rd.srv
	rd.started = s.now()
	for rd.id = live.ID(s.random()); !s.live.Add(rd.id, rd); {
		rd.id = live.ID(s.random())
	}
	mode := rd.mode()
	s.metrics.active[mode].Inc()
	if s.open.draining.Load() {
		rd.drain(s.now())
	}
	o = rd.readContained()
	s.live.Remove(rd.id)
	s.metrics.active[mode].Dec()
	rd.policy.metrics.outcomes[mode][o].Inc()
	s.log.Info("stream ended", zap.Stringer("stream", rd.id), zap.String("policy", rd.policy.Name),
		zap.Stringer("mode", mode), zap.Stringer("outcome", o), zap.Bool("replay", true),
		zap.String("method", rd.method), zap.String("path", rd.path),
		zap.String("session", hex.EncodeToString(rd.at.Session[:shownSession])),
		zap.Uint64("events", rd.events), zap.Uint64("bytes", rd.bytes), zap.Duration("duration", s.now().Sub(rd.started)))
	switch o { //nolint:exhaustive // a reader ends in no other way
	case splice.Cut:
		return o, true
	case splice.Gap:
		return o, rd.untold
	case splice.Drained:
		return o, rd.method != http.MethodGet
	}
	return o, false
}
