package processor

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/health"
	"holdfast/processor/splice"
	"holdfast/processor/sse"
	"holdfast/processor/upstream"
)

// origin is the upstream's side of a stream that can be fetched: it makes the
// attempts that the machine asks for, one at a time. It belongs to the gate's
// holder, but for reader.
type origin struct {
	dialer   *upstream.Dialer
	monitor  *health.Monitor
	metrics  *policyMetrics
	strategy upstream.Strategy
	first    upstream.Request // as the client made it
	repeats  bool             // first can be sent again: it has no body, or all of it is at hand

	// dials hands attempts to the handler's goroutine, which has nothing else to
	// do. nil: the handler waits for Envoy, and each attempt gets a goroutine.
	dials chan splice.Dial

	n       splice.Attempt // the present attempt: facts of any other are stale
	open    bool           // its body is being read
	stop    func()         // ends its fetch; nil: there is none
	target  health.Target  // where it comes from, if that is known
	praised bool           // the monitor has heard of its success
	trailer http.Header    // what the last clean end brought

	why      retry // what the next attempt is for
	failedAt time.Time

	watch *sse.Scanner // of what the client got, while the strategy wants to see it
	data  []byte       // of an event it is shown, used again

	// reader is when the goroutine that reads the body began to wait for bytes,
	// in Unix nanoseconds.
	reader atomic.Int64
}

// States of origin.reader other than a time.
const (
	nobodyReads int64 = 0
	bytesInHand int64 = -1 // they wait for the gate, or for the client to take earlier ones
)

func (o *origin) waits(now time.Time) { o.reader.Store(now.UnixNano()) }
func (o *origin) got()                { o.reader.Store(bytesInHand) }

// settle is how long a reader gets to find bytes that have arrived.
const settle = 10 * time.Millisecond

// settled is when a Tick is fair. While a client does not read, nobody reads from
// the upstream: then its silence says nothing, and what it has sent meanwhile has
// to be taken in before anybody calls it stalled.
func (o *origin) settled(now time.Time) time.Time {
	switch since := o.reader.Load(); since {
	case nobodyReads:
		return now
	case bytesInHand:
		return now.Add(settle)
	default:
		return time.Unix(0, since).Add(settle)
	}
}

// whole says whether all that the client has is what attempt 0 has brought, and
// that goes on.
func (o *origin) whole() bool { return o.n == 0 && o.open }

// end gives up whatever is under way.
func (o *origin) end() {
	if o.stop != nil {
		o.stop()
		o.stop = nil
	}
	o.open = false
}

// suppose notes what the next attempt will be for.
func (o *origin) suppose(in splice.Input) {
	switch in := in.(type) {
	case splice.Ended:
		if in.Attempt != o.n {
			return
		}
		switch in.Cause {
		case splice.CleanEnd:
			o.why = retryEarlyEnd
		case splice.Reset:
			o.why = retryReset
		default:
			o.why = retryRefused
		}
	case splice.Opened:
		if in.Attempt == o.n && in.Verdict != splice.Continue {
			o.why = retryStatus
		}
	}
}

// dial begins the attempt that the machine asks for; it supersedes any other.
func (st *stream) dial(now time.Time, d splice.Dial) {
	o := st.origin
	if o == nil {
		return // the machine was told that nothing can be fetched
	}
	o.end()
	o.n, o.praised = d.Attempt, false
	if o.failedAt.IsZero() {
		o.failedAt = now
	}
	o.metrics.retries[o.why].Inc()
	if o.dials == nil {
		go st.follow(d)
		return
	}
	select {
	case <-o.dials: // superseded before it began
	default:
	}
	o.dials <- d
}

func (st *stream) cancel(n splice.Attempt) {
	if st.origin != nil && st.origin.n == n {
		st.origin.end()
	}
}

// follow carries an attempt through: request, answer, body. The gate is held only
// to tell what happened.
func (st *stream) follow(d splice.Dial) {
	ctx, cancel := context.WithCancel(st.ctx)
	defer cancel()
	req, ok := st.prepare(d, cancel)
	if !ok {
		return
	}
	res, err := st.resume(ctx, &req)
	if err != nil {
		st.refused(d.Attempt, err)
		return
	}
	defer res.Close()
	if st.answered(d.Attempt, res) {
		st.read(d.Attempt, res)
	}
}

// prepare makes the request of an attempt, or says that there is none.
func (st *stream) prepare(d splice.Dial, cancel func()) (upstream.Request, bool) {
	st.gate.lock()
	defer st.gate.unlock()
	o := st.origin
	if st.ended || o.n != d.Attempt {
		return upstream.Request{}, false
	}
	req, ok := o.strategy.Request(d.Cursor)
	if d.Cursor == "" && !ok {
		req, ok = o.first, o.repeats
	}
	if !ok {
		o.metrics.resumes[resumeImpossible].Inc()
		st.perform(st.srv.now(), splice.Ended{Attempt: d.Attempt, Cause: splice.Unresumable})
		return upstream.Request{}, false
	}
	o.stop = cancel
	return req, true
}

// resume sends an attempt's request when it is its turn.
func (st *stream) resume(ctx context.Context, req *upstream.Request) (*upstream.Response, error) {
	done, err := st.srv.resuming.enter(ctx, req.Authority, st.srv.jitter)
	if err != nil {
		return nil, err
	}
	defer done()
	req.AnswerWithin = st.policy.Health.Connect()
	return st.origin.dialer.Fetch(ctx, *req)
}

// refused tells of an attempt that got no answer.
func (st *stream) refused(n splice.Attempt, err error) {
	st.gate.lock()
	defer st.gate.unlock()
	o := st.origin
	if st.ended || o.n != n || st.ctx.Err() != nil {
		return
	}
	o.stop = nil
	cause := splice.Refused
	switch upstream.CauseOf(err) {
	case upstream.Looped, upstream.Malformed:
		cause = splice.Unresumable
	}
	o.metrics.resumes[resumeRefused].Inc()
	st.srv.log.Debug("no answer to a resume", zap.Stringer("stream", st.id), zap.Error(err))
	st.perform(st.srv.now(), splice.Ended{Attempt: n, Cause: cause})
}

// answered tells of an attempt's answer, and says whether its body is to be read.
func (st *stream) answered(n splice.Attempt, res *upstream.Response) bool {
	st.gate.lock()
	defer st.gate.unlock()
	o := st.origin
	if st.ended || o.n != n {
		return false
	}
	now := st.srv.now()
	target := takeTarget(res.Header)
	v := o.strategy.Judge(now, res.Status, res.Header)
	o.metrics.resumes[resumeResult(v.Action)].Inc()
	o.target = target
	if res.Status >= http.StatusInternalServerError {
		o.report(now, health.BadStatus)
	}
	in := splice.Opened{
		Attempt: n, Status: res.Status, EventType: upstream.IsEventStream(res.Header),
		Verdict: splice.Verdict(v.Action), RetryAfter: v.Wait,
	}
	if v.Action == upstream.Continue {
		st.mu.Lock()
		st.resumes++
		if target.Address != "" {
			st.upstream = target.Address
		}
		st.mu.Unlock()
		o.open = true
	} else {
		o.stop = nil
		if entry := st.srv.log.Check(zap.DebugLevel, "resume not granted"); entry != nil {
			entry.Write(zap.Stringer("stream", st.id), zap.Int("status", res.Status), zap.String("reason", v.Reason))
		}
	}
	st.perform(now, in)
	return !st.ended && o.n == n && o.open
}

// read takes in an attempt's body until its end, or until nobody wants it any
// more. Between two chunks it holds no buffer: an idle stream needs none.
func (st *stream) read(n splice.Attempt, res *upstream.Response) {
	o := st.origin
	defer o.reader.Store(nobodyReads)
	for {
		o.waits(st.srv.now())
		err := res.Wait()
		o.got()
		if err == nil {
			var wanted bool
			if wanted, err = st.readChunk(n, res); !wanted {
				return
			}
		}
		if err != nil {
			st.over(n, res, err)
			return
		}
	}
}

func (st *stream) readChunk(n splice.Attempt, res *upstream.Response) (wanted bool, err error) {
	buf := st.srv.buffers.get()
	defer st.srv.buffers.put(buf)
	k, err := res.Read(buf[:])
	if k == 0 {
		return true, err
	}
	st.gate.lock()
	defer st.gate.unlock()
	if st.ended || st.origin.n != n || !st.origin.open {
		return false, nil
	}
	st.chunk(n, buf[:k])
	return !st.ended, err
}

// over tells how an attempt's body ended.
func (st *stream) over(n splice.Attempt, res *upstream.Response, err error) {
	st.gate.lock()
	defer st.gate.unlock()
	o := st.origin
	if st.ended || o.n != n || !o.open || st.ctx.Err() != nil {
		return
	}
	o.open, o.stop = false, nil
	now := st.srv.now()
	cause := splice.Reset
	if upstream.CauseOf(err) == upstream.CleanEnd {
		cause, o.trailer = splice.CleanEnd, res.Trailer()
	} else {
		o.report(now, health.Reset)
	}
	st.perform(now, splice.Ended{Attempt: n, Cause: cause})
}

// brought takes in what a chunk has changed.
func (st *stream) brought(now time.Time, before splice.Counts) {
	o := st.origin
	news := (st.counts.Events - st.counts.Duplicates) - (before.Events - before.Duplicates)
	if news == 0 || news > st.counts.Events { // or only repeats
		return
	}
	if !o.praised {
		o.praised = true
		o.report(now, health.Success)
	}
	if o.n > 0 && !o.failedAt.IsZero() {
		st.srv.metrics.resumeTime.Observe(st.srv.now().Sub(o.failedAt).Seconds())
	}
	o.failedAt, o.why = time.Time{}, retryStall // all that can happen to a stream that is well, unless it says otherwise
}

func (o *origin) report(now time.Time, how health.Outcome) {
	if o.target.Address != "" {
		o.monitor.Report(now, o.target, how)
	}
}

// delivered shows the strategy the events that the client got.
func (o *origin) delivered(b []byte) {
	if !o.strategy.Watches() {
		o.watch = nil
		return
	}
	if o.watch == nil {
		o.watch = sse.NewScanner(watchBytes)
	}
	o.watch.Feed(b)
	for {
		ev, ok := o.watch.Next()
		if !ok {
			return
		}
		if ev.Part != sse.Whole || !ev.HasData {
			continue
		}
		o.data = sse.AppendData(o.data[:0], ev)
		o.strategy.Observe(upstream.Event{Type: ev.Type, Data: o.data})
	}
}

// watchBytes bounds the events that a strategy is shown: what it looks for are
// the numbers and names of events, which are small.
const watchBytes = 64 << 10
