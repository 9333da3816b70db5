package processor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/health"
	"holdfast/processor/splice"
	"holdfast/processor/sse"
	"holdfast/processor/upstream"
)

// origin is the upstream's side of a stream that can be fetched: it makes the
// attempts that the machine asks for. It belongs to the gate's holder, but for
// what tells of readers.
type origin struct {
	dialer   *upstream.Dialer
	monitor  *health.Monitor
	metrics  *policyMetrics
	strategy upstream.Strategy
	first    upstream.Request // as the client made it
	repeats  bool             // first can be sent again: it has no body, or all of it is at hand
	upstream string           // whose limit of resumes counts: Envoy's cluster, or else the request's host

	// attempts are those that are being made or read: one, and while a silent one
	// is to be replaced, two. Facts of any other are stale.
	attempts []*attempt
	why      retry       // what the next one will be for
	trailer  http.Header // what the last clean end brought

	// Where the handler's goroutine has nothing to do but to read, it is given
	// what there is to read, and to fetch while there is nothing to read. nil: the
	// handler waits for Envoy, and each attempt gets a goroutine.
	dials  chan dialing
	bodies chan body
	duties int // fetches and bodies that the handler has or is about to get

	watch *sse.Scanner // of what the client got, while the strategy wants to see it
	data  []byte       // of an event it is shown, used again

	inHand  atomic.Int32 // goroutines that have bytes for the gate's holder
	waiting atomic.Int64 // since when the latest of the others waits for some, in Unix nanoseconds
}

// attempt is one response, or the request for one.
type attempt struct {
	n       splice.Attempt
	stop    func()        // ends it, at any time
	open    bool          // its body is being read
	target  health.Target // where it comes from, if that is known
	praised bool          // the monitor has heard of its success
}

// body is what there is to read of an attempt.
type body struct {
	n   splice.Attempt
	res *upstream.Response
}

// dialing is an attempt to be made.
type dialing struct {
	ctx context.Context
	splice.Dial
}

// A reader says when it waits for bytes and when it has some, which the gate's
// holder may be slow to take.

func (o *origin) reads()              { o.inHand.Add(1) }
func (o *origin) waits(now time.Time) { o.waiting.Store(now.UnixNano()); o.inHand.Add(-1) }
func (o *origin) got()                { o.inHand.Add(1) }
func (o *origin) readNoMore()         { o.inHand.Add(-1) }

// settle is how long a reader gets to find bytes that have arrived.
const settle = 10 * time.Millisecond

// settled is when a Tick is fair. While a client does not read, nobody reads from
// the upstream: then its silence says nothing, and what it has sent meanwhile has
// to be taken in before anybody calls it stalled.
func (o *origin) settled(now time.Time) time.Time {
	if o.inHand.Load() > 0 {
		return now.Add(settle)
	}
	return time.Unix(0, o.waiting.Load()).Add(settle)
}

// find returns an attempt that is under way, or nil.
func (o *origin) find(n splice.Attempt) *attempt {
	for _, a := range o.attempts {
		if a.n == n {
			return a
		}
	}
	return nil
}

// drop forgets an attempt, and ends it if it is not over.
func (o *origin) drop(n splice.Attempt) {
	for i, a := range o.attempts {
		if a.n == n {
			o.attempts = slices.Delete(o.attempts, i, i+1)
			a.stop()
			return
		}
	}
}

// end gives up whatever is under way.
func (o *origin) end() {
	for _, a := range o.attempts {
		a.stop()
	}
	o.attempts = nil
}

// whole says whether all that the client has is what attempt 0 has brought, and
// that goes on.
func (o *origin) whole() bool {
	return len(o.attempts) == 1 && o.attempts[0].n == 0 && o.attempts[0].open
}

// suppose notes what the next attempt will be for.
func (o *origin) suppose(in splice.Input) {
	switch in := in.(type) {
	case splice.Ended:
		switch in.Cause {
		case splice.CleanEnd:
			o.why = retryEarlyEnd
		case splice.Reset:
			o.why = retryReset
		default:
			o.why = retryRefused
		}
	case splice.Opened:
		if in.Verdict != splice.Continue {
			o.why = retryStatus
		}
	}
}

// dial begins the attempt that the machine asks for.
func (st *stream) dial(d splice.Dial) {
	o := st.origin
	if o == nil {
		return // the machine was told that nothing can be fetched
	}
	ctx, cancel := context.WithCancel(st.ctx)
	o.attempts = append(o.attempts, &attempt{n: d.Attempt, stop: cancel})
	o.metrics.retries[o.why].Inc()
	switch {
	case o.dials == nil:
		go func() {
			defer st.contain()
			if res := st.fetch(ctx, d); res != nil {
				st.read(d.Attempt, res)
			}
		}()
	case o.duties > 0:
		go func() {
			defer st.contain()
			if res := st.fetch(ctx, d); res != nil {
				st.handOver(body{d.Attempt, res})
			}
		}()
	default:
		o.duties++
		o.dials <- dialing{ctx, d}
	}
}

// handOver gives the handler something to read. There is room: the attempt that
// this one follows was given up when it opened.
func (st *stream) handOver(b body) {
	st.gate.lock()
	defer st.gate.unlock()
	if st.origin.find(b.n) == nil {
		_ = b.res.Close()
		return
	}
	st.origin.duties++
	st.origin.bodies <- b
}

func (st *stream) cancel(n splice.Attempt) {
	if st.origin != nil {
		st.origin.drop(n)
	}
}

// fetch makes an attempt's request and tells what came of it. It returns the
// response if that is to be read. The gate is held only to tell.
func (st *stream) fetch(ctx context.Context, d splice.Dial) *upstream.Response {
	req, ok := st.prepare(d)
	if !ok {
		return nil
	}
	res, err := st.resume(ctx, &req)
	if err != nil {
		st.refused(d.Attempt, err)
		return nil
	}
	if !st.answered(d.Attempt, res) {
		_ = res.Close()
		return nil
	}
	return res
}

// prepare makes the request of an attempt, or says that there is none.
func (st *stream) prepare(d splice.Dial) (upstream.Request, bool) {
	st.gate.lock()
	defer st.gate.unlock()
	o := st.origin
	if o.find(d.Attempt) == nil {
		return upstream.Request{}, false
	}
	if d.Cursor == "" && o.repeats {
		req := o.first
		req.Header = st.spans().outgoing(d.Attempt, req.Header)
		return req, true
	}
	req, ok := st.continuation(d.Cursor)
	req.Header = st.spans().outgoing(d.Attempt, req.Header)
	req.Policy, req.Peek = st.policy.Name, o.first.Peek
	if !ok {
		o.drop(d.Attempt)
		st.perform(st.srv.now(), splice.Ended{Attempt: d.Attempt, Cause: splice.Unresumable})
	}
	return req, ok
}

// resume sends an attempt's request when it is its turn.
func (st *stream) resume(ctx context.Context, req *upstream.Request) (*upstream.Response, error) {
	done, err := st.srv.resuming.enter(ctx, st.origin.upstream, st.srv.jitter)
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
	if o.find(n) == nil || st.ctx.Err() != nil {
		return
	}
	o.drop(n)
	cause := splice.Refused
	if c := upstream.CauseOf(err); c == upstream.Looped || c == upstream.Malformed {
		cause = splice.Unresumable
	}
	st.srv.log.Debug("no answer to a resume", zap.Stringer("stream", st.id), zap.Error(err))
	st.perform(st.srv.now(), splice.Ended{Attempt: n, Cause: cause})
}

// answered tells of an attempt's answer, and says whether its body is to be read.
func (st *stream) answered(n splice.Attempt, res *upstream.Response) bool {
	st.gate.lock()
	defer st.gate.unlock()
	o := st.origin
	a := o.find(n)
	if a == nil {
		return false
	}
	now := st.srv.now()
	_, reported := res.Header[retryHeader] // by the filter in upstream position
	a.target = takeTarget(res.Header)
	st.spans().answered(n, res.Status, a.target.Address)
	v := st.judge(now, res)
	if res.Status >= http.StatusInternalServerError && !reported {
		o.report(now, a, health.BadStatus)
	}
	in := splice.Opened{
		Attempt: n, Status: res.Status, EventType: upstream.IsEventStream(res.Header),
		Verdict: verdictOf(v), RetryAfter: v.Wait,
	}
	if in.Verdict == splice.Continue {
		a.open = true
		if a.target.Address != "" {
			st.mu.Lock()
			st.upstream = a.target.Address
			st.mu.Unlock()
		}
	} else {
		if entry := st.srv.log.Check(zap.DebugLevel, "resume not granted"); entry != nil {
			entry.Write(zap.Stringer("stream", st.id), zap.Int("status", res.Status), zap.String("reason", v.Reason))
		}
		o.drop(n)
	}
	st.perform(now, in)
	return o.find(n) != nil
}

func verdictOf(v upstream.Verdict) splice.Verdict {
	if v.Gap && v.Action == upstream.Continue {
		return splice.Lost
	}
	return [...]splice.Verdict{
		upstream.Continue: splice.Continue,
		upstream.Stop:     splice.Stop,
		upstream.Wait:     splice.Wait,
		upstream.Retry:    splice.Retry,
		upstream.Never:    splice.Never,
	}[v.Action]
}

// read takes in an attempt's body until its end, or until nobody wants it any
// more. Between two chunks it holds no buffer: an idle stream needs none.
func (st *stream) read(n splice.Attempt, res *upstream.Response) {
	defer func() { _ = res.Close() }()
	o := st.origin
	o.reads()
	defer o.readNoMore()
	for {
		o.waits(st.srv.now())
		err := res.Wait()
		o.got()
		if err == nil {
			err = st.readChunk(n, res)
		}
		if err != nil {
			st.over(n, res, err)
			return
		}
	}
}

func (st *stream) readChunk(n splice.Attempt, res *upstream.Response) error {
	buf := st.srv.buffers.get()
	defer st.srv.buffers.put(buf)
	k, err := res.Read(buf[:])
	if k == 0 {
		return err
	}
	st.gate.lock()
	defer st.gate.unlock()
	if st.origin.find(n) == nil {
		return errUnwanted
	}
	st.chunk(n, buf[:k], errors.Is(err, io.EOF))
	return err
}

var errUnwanted = errors.New("processor: the attempt was given up")

// over tells how an attempt's body ended.
func (st *stream) over(n splice.Attempt, res *upstream.Response, err error) {
	st.gate.lock()
	defer st.gate.unlock()
	o := st.origin
	o.duties-- // of the handler, if there was one
	a := o.find(n)
	if a == nil || st.ctx.Err() != nil {
		return
	}
	o.drop(n)
	now := st.srv.now()
	cause := splice.Reset
	if upstream.CauseOf(err) == upstream.CleanEnd {
		cause = splice.CleanEnd
		if n == 0 || a.praised { // and not one that only repeats what was sent
			o.trailer = res.Trailer()
		}
	} else if upstream.IsStreamReset(err) {
		o.report(now, a, health.Reset)
	}
	st.perform(now, splice.Ended{Attempt: n, Cause: cause})
}

// attend does the handler's part of an owned stream: it reads one attempt after
// the other until done, or until the client leaves.
func (st *stream) attend(first *upstream.Response, done <-chan struct{}) {
	defer st.leaveBehind()
	defer st.contain()
	st.read(0, first)
	for {
		select {
		case d := <-st.origin.dials:
			if res := st.fetch(d.ctx, d.Dial); res != nil {
				st.read(d.Attempt, res)
			} else {
				st.relieve()
			}
		case b := <-st.origin.bodies:
			st.read(b.n, b.res)
		case <-done:
			return
		case <-st.ctx.Done():
			st.leave()
			return
		}
	}
}

// leave ends a stream whose client has left.
func (st *stream) leave() {
	st.gate.lock()
	defer st.gate.unlock()
	st.abandon()
}

// relieve takes note that the handler's fetch brought nothing to read.
func (st *stream) relieve() {
	st.gate.lock()
	defer st.gate.unlock()
	st.origin.duties--
}

// leaveBehind closes what was handed over in the moment in which the stream ended.
func (st *stream) leaveBehind() {
	select {
	case b := <-st.origin.bodies:
		_ = b.res.Close()
	default:
	}
}

// brought takes in what attempt n's chunk has changed.
func (st *stream) brought(n splice.Attempt, now time.Time, before splice.Counts) {
	o := st.origin
	if st.counts.Events-before.Events == st.counts.Duplicates-before.Duplicates {
		return // nothing new
	}
	o.why = retryStall // all that can happen to a stream that is well, unless a fact says otherwise
	if a := o.find(n); a != nil && !a.praised {
		a.praised = true
		o.report(now, a, health.Success)
	}
}

func (o *origin) report(now time.Time, a *attempt, how health.Outcome) {
	if a.target.Address != "" {
		o.monitor.Report(now, a.target, how)
	}
}

// A strategy reads what origins write. A fault of it costs the stream its
// resumption, and nothing else.

func (st *stream) continuation(cursor string) (r upstream.Request, ok bool) {
	defer st.catchStrategy()
	return st.origin.strategy.Request(cursor)
}

func (st *stream) judge(now time.Time, res *upstream.Response) (v upstream.Verdict) {
	v.Action = upstream.Never
	defer st.catchStrategy()
	return st.origin.strategy.Judge(now, res.Status, res.Header)
}

func (st *stream) catchStrategy() {
	r := recover()
	if r == nil {
		return
	}
	st.origin.strategy, st.origin.watch = upstream.NewStrategy(upstream.None, upstream.Request{}), nil
	st.srv.log.Error("internal fault of a resume strategy; the stream goes on and cannot be resumed",
		zap.Stringer("stream", st.id), zap.String("policy", st.policy.Name),
		zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
}

// delivered shows the strategy the events that the client got.
func (st *stream) delivered(b []byte) {
	o := st.origin
	if !o.strategy.Watches() {
		o.watch = nil
		return
	}
	defer st.catchStrategy()
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

// identity returns how the machine tells where in the stream an event belongs;
// nil: by its id. A strategy that wants to see events is one for events that may
// have none, and carry a number in their data instead.
func (o *origin) identity() func(*sse.Event) (id []byte, ok bool) {
	if !o.strategy.Watches() {
		return nil
	}
	var data []byte
	return func(ev *sse.Event) ([]byte, bool) {
		if ev.HasID || !ev.HasData || len(ev.Raw) > watchBytes {
			return ev.ID, ev.HasID
		}
		data = sse.AppendData(data[:0], *ev)
		return upstream.SequenceNumber(data)
	}
}

// watchBytes bounds the events that a strategy is shown: what it looks for are
// the numbers and names of events, which are small.
const watchBytes = 64 << 10
