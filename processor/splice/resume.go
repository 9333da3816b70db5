package splice

import "time"

// DefaultHoldFor is Policy.HoldFor's default.
const DefaultHoldFor = 2 * time.Minute

// resumeState knows which attempt the stream lives on, and how far the search
// for the next one has come. What comes of the answers is in answers.go.
//
// There are two budgets, and only new events fill them again: attempts, counted
// by the backoff, and time, which runs while no attempt is open (or, as long as
// no resume of the stream has ever been proven, while none has brought a byte).
type resumeState struct {
	able  bool // Dial may be asked for
	owned bool // the client's response is ours: nothing upstream ends it by itself
	again bool // the client's request may be made again as it was

	current  Attempt // whose bytes count
	next     Attempt // the newest one asked for
	over     bool    // current has ended or was given up
	dialling bool    // next is neither open nor over
	opened   bool    // an event stream has begun

	backoff  backoffState
	tries    int           // attempts since the last progress, but not one that a mere silence led to
	left     time.Duration // of the time without upstream, when its clock last stood
	giveUpAt time.Time     // when it is used up; zero: its clock stands
	dialAt   time.Time     // when to ask for the next attempt; zero: not waiting
	openedAt time.Time     // when current was opened

	unsettled bool      // a failure was seen, and no progress since
	lostAt    time.Time // when it was seen
	silent    bool      // it was but a silence: current may be all right
	clean     bool      // the last failure was a clean end, which may be the real one
	appointed bool      // before it the origin told us when to come again
	rescued   bool      // without a resume the client would have seen a cut
	proven    bool      // a resume of this stream has brought what was missing
	pending   bool      // what became of current is not known yet
	heard     bool      // current has sent something

	from uint64 // position of what next was asked for; see proof.go
	anew bool   // next is the client's own request once more
	tail []byte // unfinished event of an attempt that is over, until another one takes its place
}

func newResumeState(p *Policy, s *Start) resumeState {
	return resumeState{
		// An observer adds nothing.
		able:    s.Dialable && !p.Observe,
		owned:   s.Owned,
		again:   s.Repeatable,
		left:    p.holdFor(),
		backoff: backoffState{policy: &p.Backoff, random: s.Seed ^ jitterDomain},
	}
}

// jitterDomain keeps waits, which an origin can measure, apart from the key
// that is made of the same seed.
const jitterDomain = 0x5851f42d4c957f2d

// counts reports whether a fact about this attempt still says anything.
func (r *resumeState) counts(a Attempt) bool { return a == r.current && !r.over }

// answers reports whether the fact is about the attempt that was asked for.
func (r *resumeState) answers(a Attempt) bool { return r.dialling && a == r.next }

// waiting reports whether the next attempt is being looked for.
func (r *resumeState) waiting() bool { return r.dialling || !r.dialAt.IsZero() }

// due is when the search has to go on by itself.
func (r *resumeState) due() time.Time { return earliest(r.dialAt, r.giveUpAt) }

// stopClock keeps what is left of the time without upstream.
func (r *resumeState) stopClock(now time.Time) {
	if !r.giveUpAt.IsZero() {
		r.left, r.giveUpAt = max(r.giveUpAt.Sub(now), 0), time.Time{}
	}
}

// settle is progress: everything is as if nothing had happened.
func (r *resumeState) settle(hold time.Duration) {
	r.tries, r.left = 0, hold
	r.giveUpAt, r.dialAt, r.lostAt = time.Time{}, time.Time{}, time.Time{}
	r.unsettled, r.silent, r.clean = false, false, false
}

// resumeFrom returns the cursor to continue after; ok is false if the stream
// cannot be continued. While nothing was delivered, that is the client's own
// request once more, with an empty cursor.
func (m *Machine) resumeFrom() (cursor []byte, ok bool) {
	r := &m.resume
	switch {
	case !r.able || m.passing || m.done.reached || !r.opened:
		return nil, false
	case m.oversize:
		return nil, false // no other bytes can end the event that the client has begun
	case !m.delivered:
		return nil, r.owned && r.again
	case !m.trust.verdict.carriesOverlap():
		return nil, false
	}
	cursor = m.cursor.id
	if m.needsAnchor() {
		cursor = m.cursor.before
	}
	_, known := m.continuesAt(cursor)
	return cursor, known && usableCursor(cursor)
}

// usableCursor reports whether an id can be sent in a header as it is: a server
// takes off outer blanks, and control characters are not sent at all.
func usableCursor(id []byte) bool {
	for _, c := range id {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return len(id) > 0 && id[0] != ' ' && id[len(id)-1] != ' '
}

// upstreamLost looks for a continuation after the current attempt has failed.
func (m *Machine) upstreamLost(now time.Time) {
	r := &m.resume
	m.failureSeen(now)
	r.silent = false
	r.rescued = r.rescued || !r.clean
	if m.drain.atBoundary() {
		m.closeDrained(false)
		return
	}
	if r.dialling {
		return // it was silent before, and the next one is on its way
	}
	// An attempt that stood for longer than the wait has waited already.
	at := r.openedAt.Add(r.backoff.wait(r.tries))
	switch {
	case r.clean && r.appointed:
		at = latest(at, now.Add(r.backoff.hint))
	case r.tries > 0:
		at = latest(at, now.Add(r.backoff.later(r.backoff.hint)))
	}
	m.dialLater(now, at)
}

// failureSeen starts the clock of the time without upstream.
func (m *Machine) failureSeen(now time.Time) {
	r := &m.resume
	if !r.unsettled || r.silent {
		r.lostAt = now
	}
	r.unsettled = true
	if r.giveUpAt.IsZero() {
		r.giveUpAt = now.Add(r.left)
	}
}

// attemptFailed waits for the next attempt after one that did not open. after
// is the server's wish, or zero.
func (m *Machine) attemptFailed(now time.Time, res Result, after time.Duration) {
	r := &m.resume
	r.dialling = false
	m.noteResult(res, 0)
	wait := max(r.backoff.wait(r.tries), r.backoff.later(r.backoff.hint))
	if after > 0 {
		wait = max(wait, r.backoff.later(after))
	}
	m.dialLater(now, now.Add(wait))
}

// dialLater asks for the next attempt, now or when it is due. If that will never
// be, there is nothing left to wait for.
func (m *Machine) dialLater(now, at time.Time) {
	r := &m.resume
	if r.tries >= r.backoff.policy.retries() || at.After(r.giveUpAt) {
		m.giveUp()
		return
	}
	r.dialAt = latest(at, now)
	if !r.dialAt.After(now) {
		m.dial()
	}
}

func (m *Machine) dial() {
	r := &m.resume
	r.dialAt = time.Time{}
	cursor, ok := m.resumeFrom()
	if !ok {
		m.giveUp()
		return
	}
	r.anew = len(cursor) == 0
	r.from, _ = m.continuesAt(cursor)
	r.next++
	r.tries++
	r.dialling = true
	m.counts.Attempts++
	m.commands = append(m.commands, Dial{Attempt: r.next, Cursor: string(cursor)})
}

// setTailAside forgets where in an event the attempt that is over was, but for
// the bytes: they are all there is if no other attempt takes its place.
func (m *Machine) setTailAside(tail []byte) {
	if m.proof == nil && len(tail) > 0 {
		m.resume.tail = tail // of an unproven attempt it may be anything
	}
	m.proof = nil
	m.freshScanner()
}

// giveUp admits the cut.
func (m *Machine) giveUp() {
	m.out.insert(m.resume.tail)
	m.close(Cut, true)
}

// closeComplete ends a stream of which the client has everything.
func (m *Machine) closeComplete(abort bool) {
	if m.counts.Resumes > 0 || m.resume.rescued {
		m.close(Resumed, abort)
		return
	}
	m.close(Complete, abort)
}

// progressMade takes in the first new event after a failure.
func (m *Machine) progressMade(now time.Time) {
	r := &m.resume
	if r.pending {
		r.pending = false
		took := now.Sub(r.lostAt)
		if r.silent && now.Sub(r.openedAt) > replayTime {
			m.noteResult(ResultNeedless, 0)
		} else {
			m.counts.Resumes++
			m.noteResult(ResultResumed, took)
		}
		r.proven = true
	}
	r.settle(m.policy.holdFor())
}

// replayTime is how soon after a resume an origin sends what was missed. What
// comes later has happened since.
const replayTime = time.Second

// currentSpoke gives the search up, because the attempt that was silent is not.
func (m *Machine) currentSpoke() {
	r := &m.resume
	if r.dialling {
		r.dialling = false
		m.cancel(r.next)
		m.noteResult(ResultNeedless, 0)
	}
	m.stall.clocks.Needless()
	r.settle(m.policy.holdFor())
}

func (m *Machine) cancel(a Attempt) { m.commands = append(m.commands, Cancel{Attempt: a}) }

// cancelAll gives up whatever is still outstanding and was asked for by us.
func (m *Machine) cancelAll() {
	r := &m.resume
	if !r.able {
		return
	}
	if !r.over && (r.current > 0 || m.dialsFirst) {
		m.cancel(r.current)
		if r.pending {
			m.noteResult(ResultAbandoned, 0)
		}
	}
	if r.dialling {
		m.cancel(r.next)
		m.noteResult(ResultAbandoned, 0)
	}
	r.pending, r.dialling, r.over = false, false, true
}

func (m *Machine) noteResult(res Result, took time.Duration) {
	m.notes = append(m.notes, Note{Kind: NoteResume, Text: res.String(), Result: res, Took: took})
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
