package splice

import (
	"time"

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

	counts  Counts
	earlier totals // of earlier streams of the line
	acked   string
	epoch   uint32
	attempt Attempt // the one whose facts count
	phase   Phase

	passing  bool // not an event stream: bytes go through unread
	oversize bool // the client has a part of an event that is not over
	dropped  bool // the last block was dropped, and so is an LF that belongs to it
	ended    bool // this Step ended a block

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
	}
	if p.byIDAlone() {
		m.window.key = wholeEntry
		m.trust.repeatable = true
	}
	if m.key == (hashKey{}) {
		m.key = newHashKey(s.Seed)
	}
	if s.HasCursor && s.LastEventID != "" && len(s.LastEventID) <= maxCursor {
		m.acked = s.LastEventID
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
		if in.Attempt == m.attempt {
			m.opened(in)
		}
	case Chunk:
		if in.Attempt == m.attempt {
			m.chunkArrived(in.Bytes, in.Last)
		}
	case Ended:
		if in.Attempt == m.attempt {
			m.upstreamEnded(in.Cause)
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
	m.ended = false
}

// finish makes the Ready of this Step.
func (m *Machine) finish(now time.Time) Ready {
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
	rd.Deadline = earliest(m.heartbeatDue(), m.drain.due(), m.save.due())
	return rd
}

func (m *Machine) opened(in Opened) {
	if m.phase == Opening {
		m.phase = Live
	}
	// Splicing an error page or a download by the rules of event streams would
	// corrupt it.
	m.passing = in.Status != 0 && (in.Status != 200 || !in.EventType)
}

func (m *Machine) chunkArrived(b []byte, last bool) {
	if m.phase == Opening {
		m.phase = Live
	}
	m.counts.BytesIn += uint64(len(b))
	if m.passing {
		m.out.whole(b)
		return
	}
	if m.policy.Observe {
		m.out.whole(b)
	} else {
		m.out.begin(b, len(m.scanner.Held()))
	}
	m.scanner.Feed(b)
	for {
		ev, ok := m.scanner.Next()
		if !ok {
			break
		}
		m.pieceArrived(&ev)
	}
	if m.drain.atBoundary() && !last { // else the origin's end is about to come by itself
		m.drainReachedChunkEnd(b)
	}
}

// upstreamEnded ends the stream as the origin did. The tail cannot become an
// event any more, but it may be all there is to see of an error that a server
// wrote raw into its stream, so the client gets it, as without us.
func (m *Machine) upstreamEnded(c Cause) {
	tail := m.Held()
	m.out.insert(tail)
	switch {
	case c != CleanEnd && m.done.reached:
		m.close(Complete, true) // the client has everything, but not the origin's clean end
	case c != CleanEnd:
		m.close(Cut, true)
	case m.passing:
		m.close(Passed, false)
	case m.complete():
		m.close(Complete, false)
	default:
		m.close(Cut, true)
	}
}

// complete reports whether a clean end at this point is the origin's real end.
func (m *Machine) complete() bool {
	if len(m.policy.Complete) == 0 || m.done.reached {
		return true
	}
	// Some servers leave out the blank line after their last event, and most
	// clients of such servers do not mind. What the event would be is decided by
	// ending its line and its block; these line ends are sent to nobody.
	m.scanner.Feed([]byte("\n\n"))
	for {
		ev, ok := m.scanner.Next()
		if !ok {
			return m.done.reached
		}
		if ev.Part == sse.Whole || ev.Part == sse.Last {
			m.done.blockDispatched(&ev)
		}
	}
}

func (m *Machine) clientGone() {
	if m.done.reached {
		m.close(Complete, false) // clients leave once they have what they wanted
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
	if due := m.heartbeatDue(); !due.IsZero() && !now.Before(due) {
		m.out.keepAlive()
		m.counts.Heartbeats++
		m.note(NoteHeartbeat, "")
	}
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
	case m.drain.atBoundary() && m.counts.BytesOut > 0 && !m.passing && !m.oversize && len(m.scanner.Held()) == 0:
		m.closeDrained(false)
	}
}

// drainReachedChunkEnd looks for a boundary in the chunk b that was just taken
// in. All whole events of it go out first.
func (m *Machine) drainReachedChunkEnd(b []byte) {
	held := len(m.scanner.Held())
	if m.oversize || !m.ended && held > 0 || m.out.empty() && m.counts.BytesOut == 0 {
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
		m.close(Complete, false)
		return
	}
	m.close(Drained, abort)
}

func (m *Machine) close(o Outcome, abort bool) {
	m.phase = Closed
	m.commands = append(m.commands, Close{Outcome: o, Abort: abort})
}

func (m *Machine) note(k NoteKind, text string) {
	m.notes = append(m.notes, Note{Kind: k, Text: text})
}

// Phase returns where in its life the Machine is.
func (m *Machine) Phase() Phase { return m.phase }

// Counts returns the totals since New.
func (m *Machine) Counts() Counts { return m.counts }

// Trust returns the verdict on the origin's event IDs so far.
func (m *Machine) Trust() Trust { return m.trust.verdict }

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
	return m.scanner.Held()
}

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
