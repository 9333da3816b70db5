package splice

import (
	"bytes"

	"holdfast/processor/sse"
)

// Entries of the tracker. Told apart by id alone, an entry is a 64-bit hash of
// the id. Otherwise its upper half, the name, is a hash of the id and its lower
// half one of the content. An event without an id has the name 0 either way, or
// it would be told apart from none of its kind. A repeat has to match in all 64
// bits.

// entry returns the tracker's entry for an event.
func (m *Machine) entry(ev *sse.Event, id []byte) uint64 {
	switch {
	case len(id) == 0:
		return m.content(ev)
	case m.policy.byIDAlone() && ev.HasData:
		return m.key.alone(id)
	case m.policy.byIDAlone():
		return m.key.bare(id)
	}
	return m.key.name(id) | m.content(ev)
}

// content returns the lower half of an entry.
func (m *Machine) content(ev *sse.Event) uint64 {
	p := m.large
	if ev.Part == sse.Whole {
		p = contentOf(ev)
	}
	return uint64(uint32(m.key.sum(domainContent, p)))
}

// alone is the entry of an id that needs no content.
func (k hashKey) alone(id []byte) uint64 { return named(k.sum(domainAlone, id)) }

// bare is the entry of an id on a block without data, where ids need no content.
// It is no event, and the one that may come with its id is another.
func (k hashKey) bare(id []byte) uint64 { return named(k.sum(domainBare, id)) }

// name is the upper half of an entry with content.
func (k hashKey) name(id []byte) uint64 { return named(k.sum(domainOrdered, id)) & nameMask }

// named keeps the name 0 for events without an id.
func named(h uint64) uint64 {
	if h&nameMask == 0 {
		h |= 1 << 32
	}
	return h
}

// contentOf is what of an event's bytes counts as its content: all of them but
// the byte order mark, which belongs to the stream, and the blank line's LF,
// which the end of a chunk may have cut off its CR.
func contentOf(ev *sse.Event) []byte {
	p := ev.Raw
	if ev.BOM {
		p = p[len(byteOrderMark):]
	}
	return bytes.TrimSuffix(p, []byte("\n"))
}

// find returns the position of an id in a stored window, or -1 if it is not
// there or, having come more than once, says nothing about a place.
func (k hashKey) find(window []uint64, id string, byIDAlone bool) int {
	if k == (hashKey{}) || id == "" {
		return -1
	}
	want, mask := k.name([]byte(id)), nameMask
	if byIDAlone {
		want, mask = k.alone([]byte(id)), wholeEntry
	}
	found := -1
	for i, e := range window {
		if (e^want)&mask != 0 {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = i
	}
	return found
}

// Remembers reports whether a stream of this policy that ended (or not) with
// State s delivered the event with the given id, as far as its window reaches.
// It is how to choose Start.Earlier among the earlier streams of a line.
func (p *Policy) Remembers(s *State, id string) bool {
	return hashKey(s.Key).find(s.Window, id, p.byIDAlone()) >= 0
}

// clientReturned takes in what an earlier stream of the line knew, up to and
// including the event the client got last by its own word. What was sent after
// it did not arrive, as far as the client is concerned, so it is forgotten: when
// it comes again it is new.
func (m *Machine) clientReturned(s *State) {
	if !m.policy.drops() {
		return
	}
	alone := m.policy.byIDAlone()
	at := hashKey(s.Key).find(s.Window, m.acked, alone)
	if at < 0 || !alone && !s.Trust.carriesOverlap() {
		return
	}
	m.window.load(s.Window[:at+1])
	m.trust.adopt(s.Trust, m.acked, at+1)
	if !alone && (severalNames(s.Window) || isNumber(m.acked)) {
		m.overlap.begin(&m.window)
	}
}

// severalNames reports whether a window has seen more than one id. One that came
// once may be the one on every event of its server (session ids are used so),
// and what comes with it next, be it the very same notification, is then new.
// Only a plain number is taken for an event's own at once.
func severalNames(window []uint64) bool {
	names := 0
	for _, e := range window {
		if e&nameMask != 0 {
			names++
		}
	}
	return names > 1
}

func isNumber(id string) bool { return digits([]byte(id)) == len(id) }

// identity is another way to name events than their id field.
type identity struct {
	of func(*sse.Event) (id []byte, ok bool)
	ev sse.Event // the one looked at
}

// identify returns the id by which the origin knows an event; it may be empty.
func (m *Machine) identify(ev *sse.Event) (id []byte, named bool) {
	switch {
	case m.identity == nil:
		return ev.ID, ev.HasID
	case ev.Part != sse.Whole && ev.HasID:
		return ev.ID, true
	case ev.Part != sse.Whole:
		id = m.largeID()
		return id, len(id) > 0
	}
	// A copy, because what the function does with it is not known: the event of
	// every other stream would have to be allocated for it.
	m.identity.ev = *ev
	id, named = m.identity.of(&m.identity.ev)
	m.identity.ev = sse.Event{}
	return id, named
}

// nameOf returns what of an event's entry is its name.
func (m *Machine) nameOf(id []byte) uint64 {
	if m.policy.byIDAlone() {
		return m.key.alone(id)
	}
	return m.key.name(id)
}

// place returns where in the window the last block with an id is, or -1.
func (m *Machine) place(id []byte) int {
	i := m.window.find(m.nameOf(id))
	if m.policy.byIDAlone() {
		i = max(i, m.window.find(m.key.bare(id)))
	}
	return i
}

// tracked reports whether a block without an id has a place in the window. One
// without data is no event to the standard, but to some clients it is; where we
// ourselves may repeat it, it counts.
func (m *Machine) tracked(ev *sse.Event) bool {
	return ev.HasData || m.resume.able && (len(ev.Type) > 0 || ev.HasID)
}

// eventSeen takes in who a block is, and reports whether the client has it.
func (m *Machine) eventSeen(ev *sse.Event, id []byte, named bool) (repeat bool) {
	switch {
	case !named || len(id) == 0:
		return m.tracked(ev) && m.namelessSeen(ev)
	case m.policy.byIDAlone() && ev.HasData:
		return m.idSeen(ev, id)
	case m.policy.byIDAlone():
		// A block without data is no event, and dropping it gains nothing. A resume
		// may begin with it.
		if m.resume.able {
			m.idSeen(ev, id)
		}
		return false
	case m.overlap.active:
		return m.overlapSeen(ev, id)
	default:
		m.contentSeen(id, m.entry(ev, id))
		return false
	}
}

// namelessSeen keeps the place of an event without an id, so that it can be
// recognised between its neighbours. Streams without ids have no places to
// return to and are not tracked.
func (m *Machine) namelessSeen(ev *sse.Event) (repeat bool) {
	m.numberUnread()
	if !m.tracksNameless() {
		return false
	}
	e := m.entry(ev, nil)
	if m.overlap.active && ev.Part == sse.Whole {
		return m.overlap.eventNameless(&m.window, e)
	}
	m.window.append(e)
	return false
}

// numberUnread takes in an event of which nobody could read what it is known by: the
// next one's number does not follow that of the one before it.
func (m *Machine) numberUnread() {
	if m.identity != nil {
		m.counter.broken = true
	}
}

func (m *Machine) tracksNameless() bool {
	switch {
	case !m.resume.able:
		return m.window.len() > 0 && !m.policy.byIDAlone()
	case m.trust.verdict != TrustAbsent:
		return true
	case m.partial:
		return false
	case m.window.len() < trackerFirst:
		return true // a greeting, which would be repeated by a replay from the start
	}
	// A stream without ids, as it seems.
	m.window.reset()
	m.partial = true
	return false
}

// idSeen is the whole of DedupAlways: an id in the window is a repeat.
func (m *Machine) idSeen(ev *sse.Event, id []byte) (repeat bool) {
	e := m.entry(ev, id)
	_, known := m.window.remember(e)
	m.judge(id, e, known, true)
	return known
}

// contentSeen keeps an event in mind that is new to the client.
func (m *Machine) contentSeen(id []byte, e uint64) {
	earlier, known := m.window.remember(e)
	if !known && m.acked != "" && string(id) == m.acked {
		m.ackedAgain = true
	}
	m.judge(id, e, known, earlier == e)
}

func (m *Machine) overlapSeen(ev *sse.Event, id []byte) (repeat bool) {
	e := m.entry(ev, id)
	first := !m.overlap.placed
	repeat = m.overlap.eventIdentified(&m.window, e)
	if repeat && first {
		m.note(NoteOverlap, "")
	}
	if !repeat {
		m.contentSeen(id, e)
	}
	if !m.overlap.active && m.overlap.placed {
		m.note(NoteOverlapEnd, "")
	}
	return repeat
}

// judge passes an event's id on to the verdict. When ids have started over, the
// window is about events of before: it is emptied, or new events would be taken
// for old ones.
func (m *Machine) judge(id []byte, e uint64, known, same bool) {
	if m.resume.able && !known {
		m.counter.idSeen(m.cursor.id, id)
	}
	before := m.trust.verdict
	if m.trust.eventIdentified(id, known, same) {
		m.epoch++
		m.window.reset()
		m.window.remember(e)
		m.partial = true
	}
	if m.trust.verdict != before {
		m.note(NoteTrust, m.trust.verdict.String())
	}
}
