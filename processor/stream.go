package processor

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/live"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
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

// sink is the client's side of a stream: full-duplex mode's answers, an
// immediate response, or a relayed one. Its methods are for the gate's holder.
type sink interface {
	// write hands bytes on. It waits while the client does not read. An error
	// says that the client's side is over, as the stream's context will say too.
	write(b []byte) error
	// took says that the first bytes of the origin have come and are all held back.
	took()
	// conclude hands on the last bytes and ends the response: such that the client
	// sees an aborted transfer, or a clean end.
	conclude(b []byte, abort bool, o splice.Outcome)
}

// stream drives one event stream, wherever its bytes come from and go to. Its
// fields belong to the gate's holder, but for those under mu, saving and lines.
// It is as small as it can be, for the sake of those that idle: see TestSizes.
type stream struct {
	srv    *Server
	policy *boundPolicy
	ctx    context.Context // of the client's side
	out    sink
	origin *origin // nil: what is lost cannot be fetched
	gate   gate
	alarm  alarm

	started      time.Time
	method, path string // path without its query
	id           live.ID

	// mu guards the machine and what it has said. It is held for a Step, never
	// for a Send: whoever wants to look at a stream waits for no client.
	mu       sync.Mutex
	m        machine
	counts   splice.Counts
	lastByte time.Duration // since started
	upstream string        // the host that the present attempt comes from, if that is known
	waiting  chan struct{} // closed when there is a verdict; nil: nobody waits
	verdict  verdict       // what Envoy's access log says of the end
	faulted  bool          // the machine is broken: bytes are copied
	gapped   bool          // what its client has missed before it is gone for good; the gate's holder's
	timeline *live.Timeline

	measured   time.Duration // since started: the last measurement of event_seconds
	unmeasured uint64        // events since

	ended  bool        // everything was said; only the handler is left to return
	told   bool        // its outcome was recorded when its client left
	mode   config.Mode // what is done, which need not be what the policy would like
	leased bool        // guarded by saving

	unstored atomic.Bool // it has no lease, or lost it
	rec      *recorder   // nil: what the client gets is neither kept nor changed
	saving   turn        // orders saves

	lease     sessionstore.Lease
	continues uint64

	// The neighbours in the list of the line's streams; guarded by lines.
	line         uint64
	older, newer *stream
}

// beginning is what is known when a stream begins, and not needed after it.
type beginning struct {
	id        *identity
	known     live.Source // what the registry shows
	returning             // the client's Last-Event-ID
	owned     bool        // the client's response is ours
	header    http.Header // of the response, if the stream is to be kept
}

// begin joins a new stream to its session and makes it known. Whatever the store
// does, there will be a stream. The caller holds its gate until the client's side
// has been told: from here on a drain may know of it, and nothing may be sent
// before the headers. It is false if the stream opened into a drain, which may
// have looked for streams before this one was to be found: then there is none.
func (st *stream) begin(b beginning) bool {
	s := st.srv
	now := s.now()
	st.gate, st.started = newGate(), now
	key := b.id.storeKey(st.policy.Splice.Window, !b.has)
	st.line, st.gapped = lineNumber(&key), b.lost
	mark := st.keep(&key, &b)
	wait := s.store.patience(st.ctx) // all of it, for the client waits for its headers
	defer wait.over()
	if b.has {
		s.lines.save(wait, st.line)
	}
	start := splice.Start{
		Seed:        s.random(),
		LastEventID: b.cursor,
		HasCursor:   b.has,
		Repeatable:  st.method == http.MethodGet,
		Owned:       b.owned,
	}
	if st.origin != nil && st.policy.resumes() {
		start.Dialable, start.Identity = true, st.origin.identity()
		// "The client MUST respect the retry field, waiting the given number of
		// milliseconds before attempting to reconnect."
		// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
		start.RetryBinds = st.origin.strategy.Name() == upstream.MCP.String()
	}
	lease, earlier, ok := s.store.claim(wait, key)
	st.unstored.Store(!ok)
	if ok {
		st.lease, st.leased = lease, true
		start.Earlier, st.continues = earlierState(&st.policy.Splice, b.cursor, earlier)
	}
	st.rec = st.newRecorder(&b, mark, key.Head != nil && ok)
	st.lease.Session = key.Session // shown to operators, even without a lease
	st.m = s.newMachine(now, &st.policy.Splice, start)
	st.gate.lock()
	for st.id = live.ID(s.random()); !s.live.Add(st.id, b.known); {
		st.id = live.ID(s.random())
	}
	if st.leased {
		s.lines.add(st)
	}
	s.metrics.active[st.mode].Inc()
	if s.open.draining.Load() {
		st.withdraw()
		s.metrics.bypassed[bypassDraining].Inc()
		return false
	}
	return true
}

// withdraw undoes begin: there never was a stream.
func (st *stream) withdraw() {
	st.ended = true
	st.srv.lines.remove(st)
	st.release()
	st.srv.live.Remove(st.id)
	st.srv.metrics.active[st.mode].Dec()
}

// opened says that an owned stream's headers are with the client.
func (st *stream) opened() {
	st.perform(st.srv.now(), splice.Opened{Status: http.StatusOK, EventType: true})
}

// abandon ends a stream whose client's side is gone.
func (st *stream) abandon() {
	if !st.ended {
		st.perform(st.srv.now(), splice.Gone{})
	}
}

// chunk is the hot path: bytes of attempt n's body; last, if they are known to
// be the last.
func (st *stream) chunk(n splice.Attempt, b []byte, last bool) {
	now := st.srv.now()
	if st.faulted {
		st.copy(now, b)
		return
	}
	before := st.counts
	rd, tail, ok := st.stepChunk(now, n, b, last)
	if !ok {
		st.passOn(now, tail, b)
		return
	}
	if before.BytesIn == 0 && len(rd.ToClient) == 0 {
		st.out.took()
	}
	st.carryOut(now, rd)
	if events := st.tally(before); events > 0 {
		st.unmeasured += events
		st.measure(now)
	}
	if st.origin != nil {
		st.brought(n, now, before)
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

// perform applies a fact other than a chunk.
func (st *stream) perform(now time.Time, in splice.Input) {
	if st.faulted {
		st.performFaulted(now, in)
		return
	}
	st.rememberInput(now, in)
	st.spanInput(now, in)
	if st.origin != nil {
		st.origin.suppose(in)
	}
	before := st.counts
	rd, tail, ok := st.step(now, in)
	if !ok {
		st.passOn(now, tail, nil)
		st.performFaulted(now, in)
		return
	}
	st.carryOut(now, rd)
	st.tally(before)
	if n := st.counts.Heartbeats - before.Heartbeats; n > 0 {
		st.srv.metrics.heartbeats.Add(float64(n))
	}
}

// tally counts what a Step has found, and returns how many events that are.
func (st *stream) tally(before splice.Counts) (events uint64) {
	events = st.counts.Events - before.Events
	if events > 0 {
		st.policy.metrics.events.Add(float64(events))
	}
	if dropped := st.counts.Duplicates - before.Duplicates; dropped > 0 {
		st.policy.metrics.duplicates.Add(float64(dropped))
	}
	return events
}

// carryOut does what a Step asked for, in the order of Ready's fields.
func (st *stream) carryOut(now time.Time, rd splice.Ready) {
	if len(rd.Notes)+len(rd.Commands) > 0 {
		st.note(rd.Notes)
		st.spanReady(now, rd)
		st.rememberReady(now, rd)
	}
	// The last bytes and the end go out as one message where that is possible.
	if c := len(rd.Commands); c > 0 {
		if end, ok := rd.Commands[c-1].(splice.Close); ok {
			st.finish(now, rd.ToClient, end)
			return
		}
	}
	save := rd.Save
	if len(rd.ToClient) > 0 {
		if st.srv.storeFirst {
			st.save()
			save = false
		}
		if st.hand(now, rd.ToClient) != nil {
			return // the client's side is over, as its reader will say
		}
		if st.origin != nil {
			st.delivered(rd.ToClient)
		}
	}
	if save {
		st.save()
	}
	for _, c := range rd.Commands {
		switch c := c.(type) {
		case splice.Cancel:
			st.cancel(c.Attempt)
		case splice.Dial:
			st.dial(c)
		}
	}
	st.alarmAt(now, rd.Deadline)
}

// note counts what the machine has found.
func (st *stream) note(notes []splice.Note) {
	for _, n := range notes {
		switch n.Kind {
		case splice.NoteResume:
			st.policy.metrics.resumes[n.Result].Inc()
			if n.Result == splice.ResultResumed {
				st.srv.metrics.resumeTime.Observe(n.Took.Seconds())
			}
		case splice.NoteStalled:
			st.srv.log.Info("the upstream is silent, and the stream cannot be resumed",
				zap.Stringer("stream", st.id), zap.String("policy", st.policy.Name), zap.String("silent", n.Text))
		default:
		}
	}
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
	defer st.contain()
	if !st.gate.lockUnless(st.ctx) {
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
	if st.origin != nil {
		if at := st.origin.settled(now); now.Before(at) {
			st.alarmAt(now, at)
			return
		}
	}
	st.perform(now, splice.Tick{})
}

// drain tells the stream that the process is going away.
func (st *stream) drain(by time.Time) {
	defer st.contain()
	if !st.gate.lockUnless(st.ctx) {
		return
	}
	defer st.gate.unlock()
	if !st.ended {
		st.perform(st.srv.now(), splice.Drain{By: by})
	}
}

// save stores what the stream knows, if it may.
func (st *stream) save() {
	wait := st.srv.store.writePatience(st.ctx)
	defer wait.over()
	st.saveWithin(wait)
}

// saveWithin is save for whoever has the patience. A save that is under way may
// take all of it.
func (st *stream) saveWithin(wait *patience) {
	if !st.saving.take(wait) {
		return
	}
	defer st.saving.give()
	if !st.leased || st.broken() {
		return
	}
	if st.leased = st.srv.store.save(wait, st.lease, st.continues, st.appendState); !st.leased {
		st.unstored.Store(true)
	}
}

func (st *stream) release() {
	st.saving.take(context.Background()) // whose turn it is has not much patience
	defer st.saving.give()
	if st.leased {
		st.leased = false
		st.srv.store.release(st.ctx, st.lease)
	}
}

// finish ends the stream as the machine decided. State and outcome are recorded
// first: a client that sees the end may be back before this function returns.
func (st *stream) finish(now time.Time, body []byte, c splice.Close) {
	st.ended = true
	st.alarm.stop()
	if st.origin != nil {
		st.origin.end()
	}
	st.srv.lines.remove(st)
	if st.rec != nil {
		rec := st.srv.newRecording()
		defer st.srv.putRecording(rec)
		body = st.handLast(now, rec, body, c.Outcome)
	}
	// It is no part of the stream, and not for the log. Envoy takes nothing of ours before
	// the first bytes of its own.
	if c.Outcome == splice.Drained && !c.Abort && st.mode != config.ModeObserve && st.counts.BytesOut > 0 {
		body = st.srv.appendRetry(body, st.retryHint())
	}
	st.save()
	st.closeLog(c.Outcome)
	st.release()
	st.measure(now)
	if st.gapped && (c.Outcome == splice.Complete || c.Outcome == splice.Resumed) {
		c.Outcome = splice.Gap // to its client; whoever reads its log has all of it
	}
	if !st.told {
		st.record(now, c.Outcome)
	}
	st.spanClose(now, c.Outcome)
	st.out.conclude(body, c.Abort, c.Outcome)
	st.retire(now, c.Outcome)
}
