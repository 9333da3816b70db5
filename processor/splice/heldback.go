package splice

import (
	"time"

	"holdfast/processor/sse"
)

// heldState is what an unproven attempt has brought since the last thing that
// the client is known to have: comments, blank lines, lone retry fields, and
// events without an id. They may be what an origin says once more to everybody
// who connects, or repeats of what comes before the client's cursor, or new. Only
// what follows them tells: a repeat, and they are older; a new event with an id,
// and they belong before it; the end, and there is nothing new.
//
// What has been waiting for replayTime is not waited with any longer, for an
// origin may speak for hours without an id; unless it looks just like events that
// the client has.
type heldState struct {
	bytes []byte
	run   []uint64 // the events among them, as entries of the window
	alike bool     // the window holds such a run
	now   time.Time
	since time.Time // when the attempt was opened, or last repeated something
}

// replayTime is how soon after a resume, and after the repeat before it, an origin
// sends what was missed. What comes later has happened since.
const replayTime = time.Second

func (h *heldState) begin(now time.Time) { h.now, h.since = now, now }

// early reports whether what comes now may be part of what an origin repeats.
func (h *heldState) early() bool { return h.now.Before(h.since.Add(replayTime)) }

// drop forgets what is held back.
func (h *heldState) drop() { h.bytes, h.run, h.alike = h.bytes[:0], h.run[:0], false }

// heldDue is when what is held back has waited long enough.
func (m *Machine) heldDue() time.Time {
	if m.proof == nil || len(m.proof.held.bytes) == 0 || m.proof.held.alike {
		return time.Time{}
	}
	return m.proof.held.since.Add(replayTime)
}

// heldTimePassed is for the beginning of a Step.
func (m *Machine) heldTimePassed(now time.Time) {
	if m.proof == nil {
		return
	}
	m.proof.held.now = now
	if reached(m.heldDue(), now) {
		m.releaseHeld()
	}
}

// repeated takes in a repeat, before which everything is one.
func (m *Machine) repeated() fate {
	h := &m.proof.held
	m.countRepeats(uint64(len(h.run)))
	h.drop()
	h.since = h.now
	return leftOut
}

// saidBetween decides about what is no event, and harmless if it comes twice: a
// comment, a blank line, a lone retry field, text that no client reads.
func (m *Machine) saidBetween(ev *sse.Event) fate {
	h := &m.proof.held
	switch {
	case !h.early():
		return forwarded // it keeps the client's connection open
	case len(h.bytes)+len(ev.Raw) > m.policy.eventBytes():
		return leftOut
	}
	return heldBack
}

// maybeRepeated decides about an event without an id that is not what comes next.
func (m *Machine) maybeRepeated(ev *sse.Event, e uint64) fate {
	p := m.proof
	h := &p.held
	lost := !p.placed && !p.beyond // where in the replay this is, nobody knows
	h.alike = lost && m.couldBeRun(e)
	older := lost && !m.windowWhole() // than the window, it may be
	hold := h.alike || h.early() && (older || m.endStands())
	if hold && len(h.bytes)+len(ev.Raw) > m.policy.eventBytes() {
		if h.alike {
			return m.unproven(nil)
		}
		hold = false
	}
	if hold {
		h.run = append(h.run, e)
		return heldBack
	}
	m.releaseHeld()
	m.nothingRepeated()
	return forwarded
}

// releaseHeld forwards what was held back: it is new after all.
func (m *Machine) releaseHeld() {
	h := &m.proof.held
	for _, e := range h.run {
		m.window.append(e)
	}
	if len(h.run) > 0 {
		m.delivered, m.nameless = true, true
		m.nothingRepeated()
	}
	m.out.insert(h.bytes)
	h.drop()
	if m.fate == heldBack {
		m.fate = forwarded
	}
}

// nothingRepeated takes in that an event without an id is new. The origin does not
// repeat such events, so those in the window that would come next will not come.
func (m *Machine) nothingRepeated() {
	m.numberUnread()
	if p := m.proof; !p.inOverlap() {
		p.next, p.beyond = p.end, true
	}
	m.resume.dropTail()
}
