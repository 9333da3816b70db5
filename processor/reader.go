package processor

import (
	"encoding/hex"
	"errors"
	"net/http"
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
	srv    *Server
	policy *boundPolicy
	w      http.ResponseWriter
	flush  http.Flusher
	r      *http.Request
	id     live.ID
	at     sessionstore.Position
	page   sessionstore.Page // what follows at
	head   logHead
	place  seal.Cursor // of the last record
	scope  seal.Scope
	from   *relayed // the stream, if it runs in this process
	leave  chan struct{}

	mu       sync.Mutex // guards what follows
	leaving  bool
	started  time.Time
	lastByte time.Time
	events   uint64
	bytes    uint64

	out, sealed []byte
}

// run sends all there is, and says how it ended.
func (rd *reader) run() splice.Outcome {
	s := rd.srv
	defer rd.part()
	copyHeader(rd.w.Header(), rd.head.Header)
	rd.w.WriteHeader(http.StatusOK)
	rd.flush.Flush()
	beat := rd.newBeat()
	defer beat.stop()
	for {
		if err := rd.forward(); err != nil {
			return splice.ClientGone
		}
		switch {
		case rd.page.More:
		case rd.page.End == sessionstore.EndComplete:
			return splice.Complete
		case rd.page.End == sessionstore.EndCut, rd.page.Changed == nil:
			return splice.Cut
		default:
			beat.reset()
			select {
			case <-rd.page.Changed:
			case <-beat.c:
				if rd.write([]byte(": keep-alive\n\n")) != nil {
					return splice.ClientGone
				}
				s.metrics.heartbeats.Inc()
			case <-rd.leave:
				return splice.Drained
			case <-rd.r.Context().Done():
				return splice.ClientGone
			}
		}
		var err error
		if rd.page, err = s.store.after(rd.r.Context(), rd.at); err != nil {
			if errors.Is(err, sessionstore.ErrTruncated) {
				return splice.Gap
			}
			return splice.Cut
		}
	}
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
	if len(rd.out) == 0 {
		return nil
	}
	return rd.write(rd.out)
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
		rd.place.Token, rd.place.Seq, rd.place.Origin = rd.page.Token, rec.Seq, rec.ID
		rd.sealed = rd.srv.sealer.Append(rd.sealed[:0], &rd.scope, &rd.place)
		rd.out = appendRelabelled(rd.out, rec.Wire, rd.sealed)
	default:
		rd.out = append(rd.out, rec.Wire...)
	}
}

func (rd *reader) write(b []byte) error {
	if _, err := rd.w.Write(b); err != nil {
		return err
	}
	rd.flush.Flush()
	rd.mu.Lock()
	rd.bytes += uint64(len(b))
	rd.lastByte = rd.srv.now()
	rd.mu.Unlock()
	return nil
}

// part ends the reader's hold on the stream.
func (rd *reader) part() {
	if rd.from != nil {
		rd.from.part()
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

// drain implements what a Server asks of its streams: a client that can come back
// is sent away, any other has until the deadline.
func (rd *reader) drain(by time.Time) {
	wait := time.Duration(0)
	if rd.r.Method != http.MethodGet {
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
		Mode: config.ModeHold.String(), Method: rd.r.Method, Path: withoutQuery(rd.r.RequestURI),
		Started: rd.started, LastByte: rd.lastByte, Trust: splice.TrustAbsent.String(),
		Events: rd.events, Bytes: rd.bytes,
	}
}

// read serves a client from the log, as one stream of its policy.
func (s *Server) read(rd *reader) {
	rd.started = s.now()
	for rd.id = live.ID(s.random()); !s.live.Add(rd.id, rd); {
		rd.id = live.ID(s.random())
	}
	s.metrics.active[config.ModeHold].Inc()
	if s.open.draining.Load() {
		rd.drain(s.now())
	}
	o := rd.run()
	s.live.Remove(rd.id)
	s.metrics.active[config.ModeHold].Dec()
	rd.policy.metrics.outcomes[config.ModeHold][o].Inc()
	s.log.Info("stream ended", zap.Stringer("stream", rd.id), zap.String("policy", rd.policy.Name),
		zap.Stringer("mode", config.ModeHold), zap.Stringer("outcome", o), zap.Bool("replay", true),
		zap.String("method", rd.r.Method), zap.String("path", withoutQuery(rd.r.RequestURI)),
		zap.String("session", hex.EncodeToString(rd.at.Session[:shownSession])),
		zap.Uint64("events", rd.events), zap.Uint64("bytes", rd.bytes), zap.Duration("duration", s.now().Sub(rd.started)))
	switch o { //nolint:exhaustive // a reader ends in no other way
	case splice.Cut, splice.Gap:
		abortHandler()
	case splice.Drained:
		if rd.r.Method != http.MethodGet {
			abortHandler()
		}
	}
}
