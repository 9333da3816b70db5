package splice

import (
	"bytes"
	"time"

	"holdfast/processor/sse"
)

// DefaultHoldFor is Policy.HoldFor's default.
const DefaultHoldFor = 2 * time.Minute

// resumeState knows which attempt the stream lives on, and how far the search
// for the next one has come. What comes of the answers is in answers.go.
//
// There are two budgets, and only new events fill them again: attempts, counted
// by the backoff, and time, which runs while no attempt is open (or, as long as
// no resume of the stream has ever been proven, while none has brought a byte).
// What a search costs that only a silence has led to counts for nothing.
type resumeState struct {
	able  bool // Dial may be asked for
	owned bool // the client's response is ours: nothing upstream ends it by itself
	again bool // the client's request may be made again as it was
	binds bool // the origin's retry field says when to come back after a clean end

	current  Attempt // whose bytes count
	next     Attempt // the newest one asked for
	over     bool    // current has ended or was given up
	dialling bool    // next is neither open nor over
	opened   bool    // an event stream has begun

	backoff  backoffState
	tries    int32         // attempts since the last progress
	before   int32         // those before the current attempt fell silent
	left     time.Duration // of the time without upstream, when its clock last stood
	giveUpAt time.Time     // when it is used up; zero: its clock stands
	dialAt   time.Time     // when to ask for the next attempt; zero: not waiting
	openedAt time.Time     // when current was opened

	lostAt    time.Time // when a failure was seen
	unsettled bool      // one was, and no progress since
	silent    bool      // it was but a silence: current may be all right
	clean     bool      // the last failure was a clean end, which may be the real one
	polled    uint8     // attempts in a row that brought something, and soon ended cleanly
	rescued   bool      // without a resume the client would have seen a cut
	proven    bool      // a resume of this stream has brought what was missing
	pending   bool      // what became of current is not known yet
	heard     bool      // current has sent something
	anew      bool      // next is the client's own request once more
	tailOf    ending    // whose tail it is
	tailFirst bool      // it is all that its attempt has sent

	from uint64 // position of what next was asked for; see proof.go
	tail []byte // what an attempt that is over ended in, until something new takes its place
}

// ending is how the attempt ended that has left a tail.
type ending uint8

const (
	brokeOff      ending = iota // in the middle of an event, or nobody knows where
	endedWhole                  // of its own accord, and all before the tail is with the client
	endedUnproven               // of its own accord, after nothing that was certainly new
)

func newResumeState(p *Policy, s *Start) resumeState {
	return resumeState{
		// An observer adds nothing.
		able:    s.Dialable && !p.Observe,
		owned:   s.Owned,
		again:   s.Repeatable,
		binds:   s.RetryBinds,
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
	at, wish := r.openedAt.Add(r.backoff.wait(r.tries)), now
	switch {
	case r.tries > 0, r.clean && r.binds:
		wish = now.Add(r.backoff.later(r.backoff.hint))
	case r.clean && r.polled > patience:
		wish = r.openedAt.Add(r.backoff.later(r.pollWait()))
	}
	m.dialLater(now, at, wish)
}

// patience is how many responses in a row may bring something and end at once,
// before an origin is taken for one that wants to be polled: one that answers every
// request with what there is. It is not to be asked as fast as it answers.
const patience = 3

// pollWait is how far apart requests to such an origin are.
func (r *resumeState) pollWait() time.Duration { return max(r.backoff.hint, r.backoff.policy.base()) }

// endedSoon counts the clean ends that make polling of resuming.
func (r *resumeState) endedSoon(now time.Time, clean bool) {
	if clean && r.current > 0 && now.Sub(r.openedAt) < r.pollWait() {
		r.polled = min(r.polled+1, patience+1)
	} else {
		r.polled = 0
	}
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
	wait, wish := r.backoff.wait(r.tries), r.backoff.later(r.backoff.hint)
	if after > 0 {
		wish = max(wish, r.backoff.later(after))
	}
	m.dialLater(now, now.Add(wait), now.Add(wish))
}

// dialLater asks for the next attempt, now or when it is due: at a time of ours, and
// not before one that the server wished for. If that will never be, there is nothing
// left to wait for.
//
// The time without upstream is used up before it is admitted. Where the next wait
// would outlast it, there is one more attempt shortly before its end: an upstream
// that came back since the last one is found.
func (m *Machine) dialLater(now, at, wish time.Time) {
	r := &m.resume
	if !at.Before(r.giveUpAt) {
		at = r.giveUpAt.Add(-r.backoff.later(r.backoff.policy.base()))
		if !at.After(now) {
			m.searchFailed(now) // that one has been
			return
		}
	}
	at = latest(at, wish)
	if int(r.tries) >= r.backoff.policy.retries() || !at.Before(r.giveUpAt) {
		m.searchFailed(now)
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

// leaveAttempt forgets where the attempt that is over was, but for its tail: it is
// all there is if no other attempt brings something new.
func (m *Machine) leaveAttempt(clean bool) {
	switch tail := m.tail(); {
	case m.proof == nil && clean:
		m.keepTail(tail, endedWhole)
	case m.proof == nil && len(tail) > 0:
		m.keepTail(tail, brokeOff)
	case m.proof != nil && clean:
		m.endProof()
	}
	m.compared()
	m.freshScanner()
}

func (m *Machine) keepTail(tail []byte, of ending) {
	r := &m.resume
	r.tail, r.tailOf, r.tailFirst = append([]byte(nil), tail...), of, !m.begun
}

// dropTail takes in that something new has come instead.
func (r *resumeState) dropTail() { r.tail, r.tailOf = nil, brokeOff }

// endProof takes in that the end of an unproven attempt is to be believed. If the
// client has had a whole response before, its tail is the one that counts.
func (m *Machine) endProof() {
	if m.resume.tailOf != endedWhole {
		m.keepTail(m.rest(m.tail()), endedUnproven)
	}
}

// rest returns what an unproven attempt that has ended in this tail has brought
// behind everything that the client has, if its end is to be believed: then it
// cannot be the beginning of a longer replay.
func (m *Machine) rest(tail []byte) []byte {
	p := m.proof
	if p.inOverlap() || p.suspects > 0 {
		return nil
	}
	var rest []byte
	if len(p.held.run) > 0 {
		rest = append(rest, p.held.bytes...)
	}
	if m.tailIsNew(tail) {
		rest = append(rest, tail...)
	}
	return rest
}

// tailIsNew reports whether the unfinished event at the end of an unproven attempt
// is one that the client does not have, if anybody takes it for an event at all.
// One without an id is told by where it is, as if it were whole.
func (m *Machine) tailIsNew(tail []byte) bool {
	s := sse.NewScanner(len(tail) + 8)
	s.Feed(tail)
	s.Next()
	s.Feed([]byte("\n\n"))
	for {
		ev, ok := s.Next()
		if !ok {
			break
		}
		if id, _ := m.identify(&ev); len(id) > 0 {
			return m.place(id) < 0
		}
	}
	p, kept := m.proof, m.keptTail()
	switch {
	case len(p.held.run) > 0, m.marked() && m.complete():
		return true // it comes behind others that are new, or is the end, which the client would know
	case p.next < p.end:
		return false // it may become what comes next
	case p.placed, p.beyond, len(kept) > 0 && bytes.HasPrefix(tail, kept):
		return true // or it is the one that broke off before
	}
	return !m.nameless
}

// searchFailed takes in that no other attempt is to be had. If all that led to the
// search was a silence, the attempt that is silent is as good as it was: that the
// origin takes no second connection, or that there is no way to it just now, does not
// mean that it has anything to say on the first.
func (m *Machine) searchFailed(now time.Time) {
	r := &m.resume
	if r.over || !r.silent {
		m.giveUp()
		return
	}
	r.forgive()
	r.dialAt = time.Time{}
	m.stall.clocks.Opened(now)
	m.stall.clocks.Needless() // and not to be looked into so soon again
	m.note(NoteStalled, m.stall.by.String())
}

// forgive takes back what a search has cost that only a silence led to. The clock
// stood when it began.
func (r *resumeState) forgive() { r.tries, r.giveUpAt = r.before, time.Time{} }

// giveUp admits the cut.
func (m *Machine) giveUp() {
	if m.resume.tailOf != endedUnproven {
		m.out.insert(m.keptTail())
	}
	m.close(Cut, true)
}

// endStands reports whether the origin has ended the stream of its own accord,
// behind all that the client has, and there is nothing by which to know that it was
// not over. Whatever comes of asking for more, short of more, it was.
func (m *Machine) endStands() bool {
	return m.resume.clean && m.resume.tailOf == endedWhole && !m.marked()
}

// marked reports whether there is an event by which to know the origin's end.
func (m *Machine) marked() bool { return len(m.policy.Complete) > 0 }

// endOfOrigin ends the stream as the origin has ended it.
func (m *Machine) endOfOrigin() {
	if m.resume.tailOf != brokeOff {
		m.out.insert(m.keptTail())
	}
	m.closeComplete(false)
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

// searchStops gives the search up, because the stream is to end where it is.
func (m *Machine) searchStops() {
	r := &m.resume
	if r.dialling {
		r.dialling = false
		m.cancel(r.next)
		m.noteResult(ResultAbandoned, 0)
	}
	r.settle(m.policy.holdFor())
}

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
