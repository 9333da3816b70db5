package splice

import "time"

// attemptOpened takes in the answer to a Dial.
func (m *Machine) attemptOpened(now time.Time, in Opened) {
	v := in.Verdict
	if v == Continue && in.Status != 0 && (in.Status != 200 || !in.EventType) {
		v = Never // whatever the driver thinks, these bytes are no continuation
	}
	if v == Continue {
		m.takeOver(now)
		return
	}
	m.cancel(in.Attempt)
	switch v {
	case Stop:
		m.stopped()
	case Wait, Retry:
		m.attemptFailed(now, ResultUnavailable, in.RetryAfter)
	case Lost:
		m.resume.dialling = false
		m.noteResult(ResultDenied, 0)
		m.close(Gap, true)
	default:
		m.denied(now, ResultDenied)
	}
}

// dialFailed takes in that an attempt ended before it was opened.
func (m *Machine) dialFailed(now time.Time, c Cause) {
	if c == Unresumable {
		m.denied(now, ResultUnresumable)
		return
	}
	m.attemptFailed(now, ResultRefused, 0)
}

// takeOver makes the attempt that has opened the one that counts. The unfinished
// event before it is kept until something new comes.
func (m *Machine) takeOver(now time.Time) {
	r := &m.resume
	if !r.over {
		m.cancel(r.current)
		if r.pending {
			m.noteResult(ResultNeedless, 0)
		}
		m.leaveAttempt(false)
	}
	r.current, r.over, r.dialling = r.next, false, false
	r.openedAt, r.pending, r.heard = now, true, false
	if r.silent {
		// A silence was no failure, until now.
		r.forgive()
		m.stall.clocks.Needless() // until an event says otherwise
	}
	if r.proven {
		r.stopClock(now)
	}
	m.stall.opened(now)
	m.compared()
	if !r.anew {
		m.proofBegins(now)
		return
	}
	// The same request once more: its answer is the answer to the client.
	m.cursor.restart(m.acked)
	if m.window.len() > 0 && m.policy.drops() && !m.policy.byIDAlone() {
		m.overlap.begin(&m.window)
	}
}

// stopped takes in the origin's word that there is no more.
func (m *Machine) stopped() {
	r := &m.resume
	r.dialling = false
	if m.marked() {
		m.noteResult(ResultDenied, 0)
		m.giveUp() // it never said what it says at a real end
		return
	}
	m.noteResult(ResultConfirmed, 0)
	m.endOfOrigin()
}

// denied takes in that there will be no answer to such a request, whoever asks.
func (m *Machine) denied(now time.Time, res Result) {
	r := &m.resume
	r.dialling = false
	if !r.over {
		m.probeDenied(now, res)
		return
	}
	if m.endStands() {
		m.noteResult(ResultConfirmed, 0)
		m.endOfOrigin()
		return
	}
	m.noteResult(res, 0)
	m.giveUp()
}

// probeDenied goes on with an attempt that is silent and still all there is. Nor is
// it given up for one that it is in the way of (409): who says so knows it.
func (m *Machine) probeDenied(now time.Time, res Result) {
	m.noteResult(res, 0)
	m.resume.settle(m.policy.holdFor())
	m.stall.cannotResume(now)
	m.note(NoteStalled, m.stall.by.String())
}
