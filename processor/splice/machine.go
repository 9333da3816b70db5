package splice

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"holdfast/processor/health"
	"holdfast/processor/sse"
)

// Machine decides what one stream does next. It is passive: it is given facts,
// one Step each, and answers with work. Not safe for concurrent use.
//
// Each concern is a state struct of its own, with methods named after what
// happens to it; Machine joins them.
type Machine struct {
	policy  *Policy
	scanner *sse.Scanner
	key     hashKey
	window  tracker

	out     output
	cursor  cursorState
	trust   trustState
	overlap overlapState
	done    completionState
	beat    heartbeatState
	drain   drainState
	save    saveState
	resume  resumeState
	proof   *proofState // nil: nothing is to be proven
	stall   *stallState // nil: nobody minds a silence
	counter counterState

	counts  Counts
	earlier totals // of earlier streams of the line
	acked   string
	epoch   uint32
	phase   Phase

	identity *identity // nil: the id field
	large    []byte    // how an event that is too large to be held begins, while it is not over

	partial    bool // the client had events before the window's first
	ackedAgain bool // the id that the client came with has come again; see State
	passing    bool // not an event stream: bytes go through unread
	begun      bool // a piece of the present attempt has come
	oversize   bool // the client has a part of an event that is not over
	delivered  bool // the client has an event, or a part of one
	nameless   bool // and one without an id among them
	ended      bool // this Step ended a block
	useful     bool // this Step brought a new event with an id
	opening    bool // attempt 0 is to be asked for

	dialsFirst bool // attempt 0 is one of ours
	fate       fate // of the last block, and so of an LF that belongs to it

	notes    []Note
	commands []Command
}

type totals struct{ events, duplicates uint64 }

// New returns a Machine for a stream that begins now. p may be shared.
func New(_ time.Time, p *Policy, s Start) *Machine {
	m := &Machine{
		policy:  p,
		scanner: sse.NewScanner(p.eventBytes()),
		key:     s.Earlier.Key,
		window:  newTracker(p.window(), nameMask),
		beat:    heartbeatState{every: p.heartbeat()},
		done:    completionState{markers: p.markers()},
		drain:   drainState{repeatable: s.Repeatable},
		save:    saveState{every: p.saveEvery()},
		epoch:   s.Earlier.Epoch,
		earlier: totals{s.Earlier.Events, s.Earlier.Duplicates},
		resume:  newResumeState(p, &s),
		opening: s.Opening,

		dialsFirst: s.Opening,
	}
	if s.Identity != nil {
		m.identity = &identity{of: s.Identity}
	}
	if m.resume.able || p.IdleTimeout > 0 {
		m.stall = &stallState{idle: p.IdleTimeout}
	}
	if p.byIDAlone() {
		m.window.key = wholeEntry
		m.trust.repeatable = true
	}
	if m.key == (hashKey{}) {
		m.key = newHashKey(s.Seed)
	}
	if s.HasCursor && s.LastEventID != "" && len(s.LastEventID) <= maxCursor {
		m.acked, m.partial = s.LastEventID, true
		m.cursor.blockDispatched([]byte(s.LastEventID))
		m.clientReturned(&s.Earlier)
	}
	return m
}

// Step applies one fact. It never fails: bad input becomes a Note and, at
// worst, a Close. The Ready is valid until the next Step.
func (m *Machine) Step(now time.Time, in Input) Ready {
	if m.phase == Closed {
		return Ready{}
	}
	m.begin()
	switch in := in.(type) {
	case Opened:
		switch {
		case m.resume.answers(in.Attempt):
			m.attemptOpened(now, in)
		case m.resume.counts(in.Attempt) && in.Attempt == 0:
			m.opened(now, in)
		}
	case Chunk:
		m.heldTimePassed(now)
		if m.resume.answers(in.Attempt) {
			m.takeOver(now) // it has judged the response and found nothing to say
		}
		if m.phase != Closed && m.resume.counts(in.Attempt) {
			m.chunkArrived(now, in.Bytes, in.Last)
		}
	case Ended:
		switch {
		case m.resume.answers(in.Attempt):
			m.dialFailed(now, in.Cause)
		case m.resume.counts(in.Attempt):
			m.upstreamEnded(now, in.Cause)
		}
	case Tick:
		m.timePassed(now)
	case Drain:
		m.drainAsked(now, in.By)
	case Gone:
		m.clientGone()
	}
	return m.finish(now)
}

// begin clears what the last Ready lent out.
func (m *Machine) begin() {
	m.out.release()
	m.notes, m.commands = m.notes[:0], m.commands[:0]
	m.ended, m.useful = false, false
}

// finish makes the Ready of this Step.
func (m *Machine) finish(now time.Time) Ready {
	if m.opening {
		m.opening = false
		if m.phase != Closed {
			m.commands = append(m.commands, Dial{})
		}
	}
	rd := Ready{ToClient: m.out.bytes(), Commands: m.commands, Notes: m.notes}
	if n := len(rd.ToClient); n > 0 {
		m.counts.BytesOut += uint64(n)
		m.beat.bytesSent(now)
	}
	if m.phase == Closed {
		rd.Save = true
		return rd
	}
	rd.Save = m.save.take(now)
	rd.Deadline = earliest(m.heartbeatDue(), m.drain.due(), m.save.due(), m.resume.due(), m.stallDue(), m.heldDue())
	return rd
}

func (m *Machine) opened(now time.Time, in Opened) {
	// Splicing an error page or a download by the rules of event streams would
	// corrupt it.
	m.passing = in.Status != 0 && (in.Status != 200 || !in.EventType)
	m.streamBegins(now)
}

// streamBegins makes the first attempt the one that is relayed.
func (m *Machine) streamBegins(now time.Time) {
	if m.phase == Opening {
		m.phase = Live
	}
	r := &m.resume
	if m.passing || r.opened {
		return
	}
	r.opened, r.openedAt = true, now
	m.stall.opened(now)
	if r.owned {
		m.beat.bytesSent(now) // the client has its headers, and hears from us from now on
	}
}

func (m *Machine) chunkArrived(now time.Time, b []byte, last bool) {
	m.streamBegins(now)
	m.counts.BytesIn += uint64(len(b))
	if m.passing {
		m.out.whole(b)
		return
	}
	events := m.eventsSeen()
	m.firstBytes(now)
	if m.policy.Observe {
		m.out.whole(b)
	} else {
		m.out.begin(b, len(m.scanner.Held()))
	}
	m.scanner.Feed(b)
	for m.phase != Closed {
		ev, ok := m.scanner.Next()
		if !ok {
			break
		}
		m.pieceArrived(&ev)
	}
	if m.phase == Closed {
		return // it is not what it should be
	}
	m.stall.chunkArrived(now, m.eventsSeen() > events, m.useful)
	if m.useful && m.resume.unsettled {
		m.progressMade(now)
	}
	if m.resume.waiting() && (m.useful || m.oversize || m.stall.by == health.Bytes) {
		m.currentSpoke()
	}
	if m.drain.atBoundary() && !last { // else the origin's end is about to come by itself
		m.drainReachedChunkEnd(b)
	}
}

// firstBytes takes in that the attempt is alive.
func (m *Machine) firstBytes(now time.Time) {
	r := &m.resume
	r.heard = true
	if m.proof == nil {
		r.dropTail()
	}
	if !r.waiting() {
		r.stopClock(now)
	}
}

func (m *Machine) freshScanner() {
	m.scanner = sse.NewScanner(m.policy.eventBytes())
	m.fate, m.begun, m.large = forwarded, false, nil
}

// upstreamEnded goes on with another attempt, if the end may not be the stream's
// and there can be one; otherwise the stream ends as the origin ended it.
func (m *Machine) upstreamEnded(now time.Time, c Cause) {
	r := &m.resume
	r.over = true
	clean, marked := c == CleanEnd, m.marked()
	switch {
	case m.passing || !r.able || m.done.reached:
		m.endAsUpstream(c)
		return
	case !clean && !r.owned && r.current == 0:
		m.endAsUpstream(c) // Envoy has aborted the client's response already
		return
	case clean && m.proof != nil && r.clean && !marked:
		m.confirmed() // it was asked whether that was all, and has nothing new
		return
	}
	_, ok := m.resumeFrom()
	switch {
	case !ok, clean && !marked && !m.delivered, clean && marked && m.reachesMarker():
		m.endAsUpstream(c)
		return
	}
	r.endedSoon(now, clean)
	if r.pending {
		r.pending = false
		m.noteResult(ResultBroken, 0)
	}
	m.leaveAttempt(clean)
	r.clean = clean
	m.upstreamLost(now)
}

// confirmed takes in that the second of two clean ends brought nothing new. What
// it has brought without an id is what the origin says to everybody.
func (m *Machine) confirmed() {
	r := &m.resume
	if r.tailOf != endedWhole && m.proof.suspects > 0 {
		m.unproven(nil) // neither has come to where the client is
		return
	}
	m.endProof()
	if r.pending {
		r.pending = false
		m.noteResult(ResultConfirmed, 0)
	}
	m.endOfOrigin()
}

// endAsUpstream ends the stream as the origin did. The tail cannot become an
// event any more, but it may be all there is to see of an error that a server
// wrote raw into its stream, so the client gets it, as without us.
func (m *Machine) endAsUpstream(c Cause) {
	r := &m.resume
	switch {
	case m.proof == nil:
		if c == CleanEnd && r.tailOf == brokeOff {
			r.dropTail() // it is no part of this response
		}
		m.out.insert(m.Held())
	case c == CleanEnd && m.reachesMarker():
		m.out.insert(m.rest(m.tail()))
	case c == CleanEnd:
		m.endProof()
		m.out.insert(m.keptTail())
	}
	complete := c == CleanEnd && (m.passing || m.complete())
	if r.pending {
		r.pending = false
		if complete {
			m.noteResult(ResultConfirmed, 0)
		} else {
			m.noteResult(ResultBroken, 0)
		}
	}
	switch {
	case m.done.reached:
		// The client has everything. The origin's clean end it can have from us
		// only where the end is ours to make.
		m.closeComplete(c != CleanEnd && !r.owned)
	case !complete:
		m.close(Cut, true)
	case m.passing:
		m.close(Passed, false)
	default:
		m.closeComplete(false)
	}
}

// reachesMarker reports whether the unfinished event of an attempt is the one that
// marks the end.
func (m *Machine) reachesMarker() bool {
	return (m.proof == nil || len(m.rest(m.tail())) > 0) && m.complete()
}

// complete reports whether a clean end at this point is the origin's real end.
func (m *Machine) complete() bool {
	if !m.marked() || m.done.reached {
		return true
	}
	// Some servers leave out the blank line after their last event, and most
	// clients of such servers do not mind. What the event would be is decided by
	// ending its line and its block; these line ends are sent to nobody.
	s := m.scanner
	if !m.oversize { // what is held has to stay so
		s = sse.NewScanner(m.policy.eventBytes())
		m.look(s, m.scanner.Held())
	}
	m.look(s, []byte("\n\n"))
	return m.done.reached
}

// look feeds s, and looks for the event that marks the end.
func (m *Machine) look(s *sse.Scanner, b []byte) {
	s.Feed(b)
	for {
		ev, ok := s.Next()
		if !ok {
			return
		}
		if ev.Part == sse.Whole || ev.Part == sse.Last {
			m.done.blockDispatched(&ev)
		}
	}
}

func (m *Machine) clientGone() {
	if m.done.reached {
		m.closeComplete(false) // clients leave once they have what they wanted
		return
	}
	m.close(ClientGone, false)
}

// timePassed does whatever is due. Nothing may be: deadlines are lazy.
func (m *Machine) timePassed(now time.Time) {
	if m.drain.expired(now) {
		m.drainExpired()
		return
	}
	m.heldTimePassed(now)
	m.searchGoesOn(now)
	if m.phase == Closed {
		return
	}
	if reached(m.heartbeatDue(), now) {
		m.out.keepAlive()
		m.counts.Heartbeats++
		m.note(NoteHeartbeat, "")
	}
}

// searchGoesOn does what is due about the upstream.
func (m *Machine) searchGoesOn(now time.Time) {
	r := &m.resume
	switch {
	case reached(r.giveUpAt, now):
		m.searchEnds(now)
	case reached(r.dialAt, now):
		m.dial()
	case !m.stallDue().IsZero() && m.stall.stalled(now):
		m.upstreamSilent(now)
	}
}

// searchEnds takes in that there is no time left.
func (m *Machine) searchEnds(now time.Time) {
	r := &m.resume
	if !r.over && r.silent {
		if r.dialling {
			r.dialling = false
			m.cancel(r.next)
			m.noteResult(ResultRefused, 0)
		}
		m.searchFailed(now)
		return
	}
	if !r.pending || r.over {
		m.giveUp()
		return
	}
	r.pending = false // the attempt is mute
	if m.endStands() {
		m.noteResult(ResultConfirmed, 0)
		m.endOfOrigin()
		return
	}
	m.noteResult(ResultBroken, 0)
	m.giveUp()
}

// stallDue is when the upstream will have been silent for too long.
func (m *Machine) stallDue() time.Time {
	if m.passing || m.resume.over || m.resume.waiting() || !m.resume.opened {
		return time.Time{}
	}
	return m.stall.due()
}

// heartbeatDue is when to send a comment. While a part of an event is with the
// client there is no place for one, so there is no deadline either: it comes
// back with the bytes that end the event.
func (m *Machine) heartbeatDue() time.Time {
	if m.passing || m.oversize {
		return time.Time{}
	}
	return m.beat.due()
}

func (m *Machine) drainAsked(now, by time.Time) {
	m.phase = Draining
	m.drain.asked(by)
	switch {
	case m.drain.expired(now):
		m.drainExpired()
	case m.drain.atBoundary() && m.clientHasBegun() && !m.passing && !m.oversize && len(m.scanner.Held()) == 0:
		m.closeDrained(false)
	case m.drain.atBoundary() && !m.resume.over:
		m.searchStops()
	}
}

// clientHasBegun reports whether the response may end: Envoy has to have sent
// something of its own first, where the response is not ours.
func (m *Machine) clientHasBegun() bool {
	return m.counts.BytesOut > 0 || m.resume.owned && m.resume.opened
}

// drainReachedChunkEnd looks for a boundary in the chunk b that was just taken
// in. All whole events of it go out first.
func (m *Machine) drainReachedChunkEnd(b []byte) {
	held := len(m.scanner.Held())
	if m.oversize || !m.ended && held > 0 || m.out.empty() && !m.clientHasBegun() {
		return
	}
	if m.policy.Observe {
		// The tail would go out with the chunk, but the client is not to see
		// half an event. As a block ended within b, all of the tail lies in b.
		m.out.whole(b[:len(b)-held])
	}
	m.closeDrained(false)
}

// drainExpired ends the stream wherever it is. A client that may ask again gets
// a clean end if it has whole events only; any other has to see that this is not
// the origin's end.
func (m *Machine) drainExpired() {
	partial := m.oversize || m.policy.Observe && len(m.scanner.Held()) > 0
	m.closeDrained(!m.drain.repeatable || m.passing || partial)
}

func (m *Machine) closeDrained(abort bool) {
	if m.done.reached {
		m.closeComplete(false)
		return
	}
	m.close(Drained, abort)
}

func (m *Machine) close(o Outcome, abort bool) {
	m.phase = Closed
	m.cancelAll()
	m.commands = append(m.commands, Close{Outcome: o, Abort: abort})
}

func (m *Machine) note(k NoteKind, text string) {
	m.notes = append(m.notes, Note{Kind: k, Text: text})
}

// Phase returns where in its life the Machine is.
func (m *Machine) Phase() Phase {
	if m.phase == Live && m.resume.over {
		return Resuming
	}
	return m.phase
}

// Counts returns the totals since New.
func (m *Machine) Counts() Counts { return m.counts }

// Trust returns the verdict on the origin's event IDs so far.
func (m *Machine) Trust() Trust { return m.trust.verdict }

// Epoch returns how often the origin's event IDs have started over, on this stream
// and those it continues.
func (m *Machine) Epoch() uint32 { return m.epoch }

// Cursor returns the last event ID string in force, "" if there is none.
func (m *Machine) Cursor() string { return string(m.cursor.id) }

// Held returns the bytes that were taken in but not given to the client and
// not dropped: the tail. It is for the one who has to go on without the Machine
// after a fault: take it before each Step; if the Step does not come back, send
// it and then the Step's Chunk. It is valid until the Step returns.
func (m *Machine) Held() []byte {
	if m.policy.Observe || m.passing || m.phase == Closed {
		return nil
	}
	if m.proof != nil || len(m.resume.tail) > 0 {
		return m.keptTail()
	}
	return m.tail()
}

// tail returns the unfinished block of the present attempt.
func (m *Machine) tail() []byte {
	tail := m.scanner.Held()
	if m.proof != nil && len(m.proof.large) > 0 {
		tail = slices.Concat(m.proof.large, tail)
	}
	if m.begun {
		return tail
	}
	return m.unmarked(tail)
}

// keptTail returns that of the attempt that was there before, as it is to be sent.
func (m *Machine) keptTail() []byte {
	if m.resume.tailFirst {
		return m.unmarked(m.resume.tail)
	}
	return m.resume.tail
}

// unmarked leaves out the byte order mark that a response may begin with, or the
// beginning of one, where it would not be the first thing in the client's stream.
func (m *Machine) unmarked(b []byte) []byte {
	switch {
	case m.counts.BytesOut == 0 && m.out.empty():
		return b
	case len(b) < len(byteOrderMark) && strings.HasPrefix(byteOrderMark, string(b)):
		return nil
	}
	return bytes.TrimPrefix(b, []byte(byteOrderMark))
}

// reached reports whether a time that is set has come.
func reached(due, now time.Time) bool { return !due.IsZero() && !now.Before(due) }

// earliest returns the first of the times that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
