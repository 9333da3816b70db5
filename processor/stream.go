package processor

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/processor/live"
	"holdfast/processor/splice"
	"holdfast/processor/wire"
	"holdfast/sessionstore"
)

// machine is what a stream drives: a *splice.Machine.
type machine interface {
	Step(now time.Time, in splice.Input) splice.Ready
	Held() []byte
	Counts() splice.Counts
	Cursor() string
	AppendState(s *splice.State)
}

// stream drives one event stream. Its fields belong to the gate's holder, but
// for those under mu, saving and lines. It is as small as it can be, for the
// sake of those that idle: see TestSizes.
type stream struct {
	srv    *Server
	policy *boundPolicy
	g      grpc.ServerStream
	gate   gate
	req    wire.Request // the handler's, with or without the gate
	alarm  alarm
	status error // what the handler returns once the stream has ended

	started                time.Time
	method, path, upstream string // path without its query
	id                     live.ID

	// mu guards the machine and what it has said. It is held for a Step, never
	// for a Send: whoever wants to look at a stream waits for no client.
	mu       sync.Mutex
	m        machine
	counts   splice.Counts
	lastByte time.Duration // since started
	waiting  chan struct{} // closed when there is a verdict; nil: nobody waits
	verdict  verdict       // what Envoy's access log says of the end
	faulted  bool          // the machine is broken: bytes are copied

	measured   time.Duration // since started: the last measurement of event_seconds
	unmeasured uint64        // events since

	ended    bool // everything was said; only the handler is left to return
	trailers bool // the origin ended with trailers, which Envoy holds back for us

	leased    bool       // guarded by saving
	saving    sync.Mutex // orders saves
	lease     sessionstore.Lease
	continues uint64

	// The neighbours in the list of the line's streams; guarded by lines.
	line         uint64
	older, newer *stream
}

// begin makes the stream that follows the headers. Whatever the store does, there
// will be one. The caller holds its gate until Envoy has been told: from here on a
// drain may know of it, and nothing may be sent before the answer to the headers.
func (x *exchange) begin() *stream {
	s := x.srv
	now := s.now()
	st := &stream{
		srv: s, policy: x.policy, g: x.g, gate: newGate(),
		started: now, method: x.method, path: x.path, upstream: x.upstream,
	}
	key := x.id.storeKey(x.policy.Splice.Window, !x.hasCursor)
	st.line = lineNumber(&key)
	wait := s.store.patience(x.g.Context()) // all of it, for the client waits for its headers
	defer wait.over()
	if x.hasCursor {
		s.lines.save(wait, st.line)
	}
	start := splice.Start{
		Seed:        s.random(),
		LastEventID: x.cursor,
		HasCursor:   x.hasCursor,
		Repeatable:  x.method == http.MethodGet,
	}
	lease, earlier, ok := s.store.claim(wait, key)
	if ok {
		st.lease, st.leased = lease, true
		start.Earlier, st.continues = earlierState(&x.policy.Splice, x.cursor, earlier)
	}
	st.lease.Session = key.Session // shown to operators, even without a lease
	st.m = s.newMachine(now, &x.policy.Splice, start)
	st.gate.lock()
	for st.id = live.ID(s.random()); !s.live.Add(st.id, st); {
		st.id = live.ID(s.random())
	}
	if st.leased {
		s.lines.add(st)
	}
	s.metrics.active[x.policy.Mode].Inc()
	return st
}

// withdraw undoes begin: there never was a stream.
func (st *stream) withdraw() {
	st.ended = true
	st.srv.lines.remove(st)
	st.release()
	st.srv.live.Remove(st.id)
	st.srv.metrics.active[st.policy.Mode].Dec()
}

// abandon ends a stream that Envoy was gone too early to be told of.
func (st *stream) abandon() {
	st.perform(st.srv.now(), splice.Gone{}, nil)
}

// run is the handler from the response headers on: it waits for Envoy without
// the gate, and deals with what comes with it.
func (st *stream) run() error {
	for {
		err := st.g.RecvMsg(&st.req)
		if done, err := st.received(err); done {
			return err
		}
	}
}

func (st *stream) received(err error) (done bool, _ error) {
	st.gate.lock()
	defer st.gate.unlock()
	defer st.req.Free()
	switch {
	case st.ended: // by the timer or a drain; what crossed it on the way is late
	case err != nil:
		st.lost(err)
	case st.req.IsBody:
		st.chunk()
	case st.req.Message.GetResponseTrailers() != nil:
		st.trailers = true
		st.perform(st.srv.now(), splice.Ended{Cause: splice.CleanEnd}, &st.req)
	case st.req.Headers != nil: // a second time
		a := st.srv.answers.request
		if st.req.Headers.Response {
			a = st.srv.answers.response
		}
		_ = st.g.SendMsg(a)
	default:
		if a := letPass(st.req.Message, false); a != nil {
			_ = st.sendMessage(wire.Response{Message: a})
		}
	}
	return st.ended, st.status
}

// lost deals with the end of what Envoy sends. Envoy drops the stream when its
// client leaves, and just so when the upstream fails; see accesslog.go.
func (st *stream) lost(err error) {
	in := splice.Input(splice.Gone{})
	switch {
	case !errors.Is(err, io.EOF) && !gone(err):
		in, st.status = splice.Ended{Cause: splice.Reset}, err
	case st.reported():
		st.alarm.stop()
		st.save() // the client may be back before Envoy has told
		if st.awaitVerdict() == verdictUpstream {
			in = splice.Ended{Cause: splice.Reset}
		}
	}
	st.perform(st.srv.now(), in, nil)
}

// chunk is the hot path.
func (st *stream) chunk() {
	now := st.srv.now()
	end := st.req.EndOfStream
	if st.faulted {
		st.copy(now, st.req.Body, end, &st.req)
		return
	}
	before := st.counts
	rd, tail, ok := st.stepChunk(now, st.req.Body, end)
	if !ok {
		st.passOn(now, tail, &st.req)
		return
	}
	if before.BytesIn == 0 && len(rd.ToClient) == 0 && !end {
		// Trailers that reached Envoy before it was told to send the body wait for
		// the first chunk to be answered (Envoy 1.40), even if all of it is held
		// back and they are what would let it go.
		_ = st.sendBody(nil, &st.req)
	}
	st.carryOut(now, rd, &st.req)
	if events := st.counts.Events - before.Events; events > 0 {
		st.policy.metrics.events.Add(float64(events))
		st.unmeasured += events
		st.measure(now)
	}
	if n := st.counts.Duplicates - before.Duplicates; n > 0 {
		st.policy.metrics.duplicates.Add(float64(n))
	}
	if end && !st.ended {
		st.perform(now, splice.Ended{Cause: splice.CleanEnd}, &st.req)
	}
}

// measureEvery spaces out the measurements of event_seconds on one stream. A look
// at the clock costs as much as an event; a stream with less than a hundred
// events a second has each of them measured, in a faster one a measurement stands
// for all events since the last.
const measureEvery = 10 * time.Millisecond

// measure takes the time that the events of a chunk spent here, which arrived
// at the given time.
func (st *stream) measure(arrived time.Time) {
	if since := arrived.Sub(st.started); st.ended || st.measured == 0 || since-st.measured >= measureEvery {
		st.measured = max(since, 1)
		st.srv.metrics.eventTime.observe(st.srv.now().Sub(arrived), st.unmeasured)
		st.unmeasured = 0
	}
}

// perform applies a fact other than a chunk. from is the request it came with,
// if the caller is the handler.
func (st *stream) perform(now time.Time, in splice.Input, from *wire.Request) {
	if st.faulted {
		st.performFaulted(now, in, from)
		return
	}
	heartbeats := st.counts.Heartbeats
	rd, tail, ok := st.step(now, in)
	if !ok {
		st.passOn(now, tail, nil)
		st.performFaulted(now, in, from)
		return
	}
	st.carryOut(now, rd, from)
	if n := st.counts.Heartbeats - heartbeats; n > 0 {
		st.srv.metrics.heartbeats.Add(float64(n))
	}
}

// carryOut does what a Step asked for, in the order of Ready's fields.
func (st *stream) carryOut(now time.Time, rd splice.Ready, from *wire.Request) {
	for _, c := range rd.Commands {
		if c, ok := c.(splice.Close); ok {
			st.finish(now, rd.ToClient, c, from)
			return
		}
	}
	if len(rd.ToClient) > 0 {
		if st.sendBody(rd.ToClient, from) != nil {
			return // the stream is dead, as the next receive will say
		}
	}
	if rd.Save {
		st.save()
	}
	st.alarmAt(now, rd.Deadline)
}

func (st *stream) alarmAt(now, deadline time.Time) {
	want := time.Duration(0)
	if !deadline.IsZero() {
		want = max(deadline.Sub(st.started), 1)
	}
	st.alarm.at(now.Sub(st.started), want, st)
}

// wake is the timer's function, on a goroutine of its own.
func (st *stream) wake() {
	if !st.gate.lockUnless(st.g.Context()) {
		return
	}
	defer st.gate.unlock()
	st.alarm.fired()
	if st.ended {
		return
	}
	now := st.srv.now()
	if since := now.Sub(st.started); !st.alarm.due(since) {
		st.alarm.at(since, st.alarm.want, st)
		return
	}
	st.perform(now, splice.Tick{}, nil)
}

// drain tells the stream that the process is going away.
func (st *stream) drain(by time.Time) {
	if !st.gate.lockUnless(st.g.Context()) {
		return
	}
	defer st.gate.unlock()
	if !st.ended {
		st.perform(st.srv.now(), splice.Drain{By: by}, nil)
	}
}

func (st *stream) sendBody(body []byte, from *wire.Request) error {
	return st.sendMessage(wire.Response{Body: body, From: from})
}

// sendMessage hands a message to the transport. It waits while Envoy takes
// nothing more, that is, while the client does not read.
func (st *stream) sendMessage(r wire.Response) error {
	// What is sent as an interface lives on the heap. A stream that idles need
	// not keep it, one that sends should not make it anew.
	resp, _ := st.srv.responses.Get().(*wire.Response)
	if resp == nil {
		resp = new(wire.Response)
	}
	*resp = r
	err := st.g.SendMsg(resp)
	*resp = wire.Response{}
	st.srv.responses.Put(resp)
	return err
}

// save stores what the stream knows, if it may.
func (st *stream) save() {
	wait := st.srv.store.patience(st.g.Context())
	defer wait.over()
	st.saveWithin(wait)
}

func (st *stream) saveWithin(wait *patience) {
	st.saving.Lock()
	defer st.saving.Unlock()
	if !st.leased || st.broken() {
		return
	}
	st.leased = st.srv.store.save(wait, st.lease, st.continues, st.appendState)
}

// finish ends the stream as the machine decided. State and outcome are recorded
// first: a client that sees the end may be back before this function returns.
func (st *stream) finish(now time.Time, body []byte, c splice.Close, from *wire.Request) {
	st.ended = true
	st.alarm.stop()
	st.srv.lines.remove(st)
	st.save()
	st.release()
	st.measure(now)
	st.record(now, c.Outcome)
	switch {
	case c.Outcome == splice.ClientGone || st.g.Context().Err() != nil:
	case c.Abort:
		st.abort(body, c.Outcome, from)
	default:
		st.end(body, c.Outcome)
	}
	st.srv.live.Remove(st.id)
}

// end is a clean end, as the client sees it.
func (st *stream) end(body []byte, o splice.Outcome) {
	meta := st.metadata(o)
	if !st.trailers {
		_ = st.sendMessage(wire.Response{Message: bodyAnswer(body, true, meta)})
		return
	}
	if len(body) > 0 {
		_ = st.sendBody(body, nil)
	}
	_ = st.sendMessage(wire.Response{Message: trailersAnswer(meta)})
}

// abort is an end that the client sees as an aborted transfer: Envoy resets it
// when this stream fails after it was given a part of the body.
func (st *stream) abort(body []byte, o splice.Outcome, from *wire.Request) {
	// Envoy takes no chunk from us before it had one from the origin.
	if st.counts.BytesIn > 0 {
		_ = st.sendMessage(wire.Response{Message: bodyAnswer(body, false, st.metadata(o))})
	}
	if from != nil {
		st.status = status.Error(codes.Aborted, abortReason)
		return
	}
	_ = st.g.SendMsg(&wire.AbortError{Reason: abortReason})
}

const abortReason = "the event stream was cut"

func (st *stream) release() {
	st.saving.Lock()
	defer st.saving.Unlock()
	if st.leased {
		st.leased = false
		st.srv.store.release(st.g.Context(), st.lease)
	}
}
