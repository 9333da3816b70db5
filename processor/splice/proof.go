package splice

import (
	"time"

	"holdfast/processor/sse"
)

// proofState compares, until the first new event with an id, what a resumed
// attempt brings with what the client has, which is exactly what the window
// holds: everything that was delivered on this stream, as far back as it reaches.
// See docs/adr/0011-resume-and-proof.md.
//
// Positions count entries since the stream's beginning, forgotten ones included.
type proofState struct {
	placed bool // an event with an id was found in the window: next is certain
	beyond bool // an event without an id was new, and no repeat has come since
	next   uint64
	after  uint64 // of what follows the last event with an id
	end    uint64 // of the window when the attempt was opened

	suspects int  // events that are not in the window, and may be older than it
	skipping bool // within an oversized piece that is left out

	large []byte // how an oversized event begins, of which too little is known yet

	question bool   // it was asked whether a clean end was the end
	asked    totals // what has come in answer to that; see countEvent

	held heldState
}

// maxSuspects bounds, in windows, how far before the window a replay may begin.
const maxSuspects = 64

// fate is what becomes of a piece of the stream.
type fate uint8

const (
	forwarded fate = iota
	leftOut        // the client has it
	heldBack       // it may have it
)

// windowWhole reports whether the window holds all that the client has.
func (m *Machine) windowWhole() bool { return !m.partial && m.window.gone == 0 }

// needsAnchor reports whether a continuation has to begin with something known.
//
// An event that is not in the window is new, if the window reaches back to the
// stream's beginning, or if the ids are in order. Otherwise it may as well be
// one that was delivered long ago, from an origin that repeats more than it was
// asked for; nobody could tell. So the origin is asked for one event more than
// is needed: if the answer begins with that one, everything after it is new.
func (m *Machine) needsAnchor() bool {
	return !m.windowWhole() && (m.trust.verdict != TrustMonotonic || m.nameless)
}

// continuesAt returns the position of what follows a cursor.
func (m *Machine) continuesAt(cursor []byte) (pos uint64, ok bool) {
	if i := m.place(cursor); i >= 0 {
		return m.window.gone + uint64(i) + 1, true
	}
	// Before the window lies only what the client had from elsewhere.
	return 0, m.window.gone == 0 && len(cursor) > 0 && string(cursor) == m.acked
}

func (m *Machine) proofBegins(now time.Time) {
	after, ok := m.continuesAt(m.cursor.id)
	if !ok {
		m.unproven(nil) // while it was on its way, the other attempt ran away from it
		return
	}
	m.proof = &proofState{
		next: m.resume.from, after: after, end: m.window.gone + uint64(m.window.len()),
		question: m.resume.clean,
	}
	m.proof.held.begin(now)
	m.overlap.stop()
}

// inOverlap reports whether an event with an id that the client has is to come.
func (p *proofState) inOverlap() bool { return p.next < p.after }

// continues decides about a block of an unproven attempt. id is empty if it has
// none.
func (m *Machine) continues(ev *sse.Event, id []byte) fate {
	switch {
	case len(id) > 0:
		return m.namedContinues(id, m.entry(ev, id))
	case !m.tracked(ev):
		return m.saidBetween(ev)
	case !m.proof.inOverlap() && m.proof.suspects == 0 && m.done.wouldReach(ev):
		// The end, which the client would know if it had it.
		m.releaseHeld()
		m.nothingRepeated()
		return forwarded
	}
	return m.namelessContinues(ev)
}

func (m *Machine) namedContinues(id []byte, e uint64) fate {
	p := m.proof
	if i := m.window.find(e); i >= 0 {
		if m.window.at(i) != e {
			return m.unproven(id) // the same id, but not the same event
		}
		at := m.window.gone + uint64(i)
		if p.placed && at < p.next {
			return m.unproven(id) // it comes twice: an id that names no event
		}
		p.placed, p.beyond, p.suspects, p.next = true, false, 0, at+1
		return m.repeated()
	}
	order := orderNone
	if m.trust.verdict == TrustMonotonic {
		order = compareIDs(m.cursor.id, id)
	}
	switch {
	case p.suspects > 0 && order != orderBefore && !p.inOverlap():
		// From before the window straight to after it, or the ids mean nothing.
		return m.unproven(id)
	case order == orderAfter, order == orderNone && !p.inOverlap():
		return m.firstNew(id)
	case p.placed || m.windowWhole():
		return m.unproven(id) // in the midst of what the client has, and never seen
	}
	return m.suspected(id)
}

// suspected leaves out an event that is older than the window, as must turn out.
func (m *Machine) suspected(id []byte) fate {
	m.proof.suspects++
	if m.proof.suspects > maxSuspects*m.policy.window() {
		return m.unproven(id)
	}
	return m.repeated()
}

func (m *Machine) namelessContinues(ev *sse.Event) fate {
	p := m.proof
	e := m.entry(ev, nil)
	switch {
	case len(p.held.run) == 0 && p.next < p.end && p.next >= m.window.gone &&
		m.window.at(int(p.next-m.window.gone)) == e:
		p.next++
		return m.repeated() // exactly what comes next
	case p.placed && p.inOverlap() && !m.endStands():
		m.resume.dropTail()
		return forwarded // said in between, to whoever is connected
	case !p.placed && (p.suspects > 0 || p.inOverlap()):
		return m.suspected(nil)
	}
	return m.maybeRepeated(ev, e)
}

// couldBeRun reports whether the window holds the events held back and this one,
// one after the other, before the place that was asked for.
func (m *Machine) couldBeRun(e uint64) bool {
	w, p := &m.window, m.proof
	run := p.held.run
	last := int(p.end - min(p.end, w.gone))
	for i := 0; i+len(run) < min(last, w.len()); i++ {
		if w.at(i+len(run)) != e {
			continue
		}
		j := 0
		for j < len(run) && w.at(i+j) == run[j] {
			j++
		}
		if j == len(run) {
			return true
		}
	}
	return false
}

// firstNew ends the proof.
func (m *Machine) firstNew(id []byte) fate {
	if m.counter.skips(m.cursor.id, id) {
		m.noteResult(ResultUnproven, 0)
		m.resume.pending = false
		m.close(Gap, true)
		return leftOut
	}
	m.releaseHeld()
	m.compared()
	m.resume.dropTail()
	return forwarded
}

// unproven ends a stream whose continuation is none. The ids have started over,
// or mean nothing; either way they have to earn their trust anew.
func (m *Machine) unproven(id []byte) fate {
	if len(id) > 0 {
		m.trust.startOver(id)
		m.epoch++
	}
	m.noteResult(ResultUnproven, 0)
	m.resume.pending = false
	if m.endStands() {
		m.endOfOrigin()
	} else {
		m.countAsked()
		m.close(Cut, true)
	}
	return leftOut
}

// compared ends the comparison of an attempt.
func (m *Machine) compared() {
	m.countAsked()
	m.proof = nil
}

// countEvent counts an event. Where an answer to the question whether that was all
// repeats what it is about, and no more, then nobody but us has asked for it: it is not
// counted.
func (m *Machine) countEvent() {
	if p := m.proof; p != nil && p.question {
		p.asked.events++
		return
	}
	m.counts.Events++
}

// countRepeats counts events that are dropped.
func (m *Machine) countRepeats(n uint64) {
	if p := m.proof; p != nil && p.question {
		p.asked.duplicates += n
		return
	}
	m.counts.Duplicates += n
}

// countAsked takes in that the answer is more than that.
func (m *Machine) countAsked() {
	if p := m.proof; p != nil {
		m.counts.Events += p.asked.events
		m.counts.Duplicates += p.asked.duplicates
		p.asked = totals{}
	}
}

// eventsSeen is how many events have come, whatever is said of them in the end.
func (m *Machine) eventsSeen() uint64 {
	if m.proof == nil {
		return m.counts.Events
	}
	return m.counts.Events + m.proof.asked.events
}
