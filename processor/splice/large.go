package splice

import (
	"slices"

	"holdfast/processor/sse"
)

// What an event is that is too large to be held has to be known by its beginning:
// a part of its content, and its id if that has come by then.

// largeBytes is how much of such an event counts as its content.
const largeBytes = 4 << 10

// largeMost is how many bytes of each of them come before its last piece.
func (m *Machine) largeMost() int { return min(m.policy.eventBytes(), largeBytes) }

// keepLarge keeps the beginning in mind.
func (m *Machine) keepLarge(ev *sse.Event) {
	if m.large == nil {
		m.large = make([]byte, 0, m.largeMost())
	}
	raw := withoutMark(ev)
	m.large = append(m.large, raw[:min(len(raw), cap(m.large)-len(m.large))]...)
}

func withoutMark(ev *sse.Event) []byte {
	if ev.BOM {
		return ev.Raw[len(byteOrderMark):]
	}
	return ev.Raw
}

// largeContinues decides about a piece of a comment or an event that is too large
// to be held, as soon as enough of it is there.
func (m *Machine) largeContinues(ev *sse.Event) fate {
	p := m.proof
	switch {
	case len(m.large) == 0:
		return leftOut // a mark on its own
	case m.large[0] == ':':
		p.skipping = true // too large to be a keep-alive
		return leftOut
	case len(m.large) < m.largeMost():
		p.large = append(p.large, withoutMark(ev)...)
		return leftOut
	}
	begun := p.large
	p.large = nil
	f := m.largeKnown()
	if m.proof != nil {
		m.proof.skipping = f == leftOut
	}
	if f == forwarded {
		m.out.insert(begun)
	}
	return f
}

// largeKnown decides about an event of which the beginning is known.
func (m *Machine) largeKnown() fate {
	ev := &sse.Event{Part: sse.Fragment, HasData: true}
	id := m.largeID()
	e := m.entry(ev, id)
	if len(id) > 0 {
		return m.namedContinues(id, e)
	}
	p, h := m.proof, &m.proof.held
	lost := !p.placed && !p.beyond
	switch {
	case len(h.run) == 0 && p.next < p.end && p.next >= m.window.gone && m.sameContent(p.next, e):
		p.next++
		return m.repeated() // exactly what comes next
	case !p.placed && (p.suspects > 0 || p.inOverlap()):
		return m.suspected(nil)
	case p.inOverlap(), m.contentKnown(e), h.early() && (m.endStands() || lost && !m.windowWhole()):
		return m.unproven(nil) // it may be what the client has, and there is no waiting
	}
	m.releaseHeld()
	m.nothingRepeated()
	return forwarded
}

// sameContent reports whether the entry at a position has this content. The event's
// id, if it has one, has not come yet.
func (m *Machine) sameContent(pos, e uint64) bool {
	at := m.window.at(int(pos - m.window.gone))
	return at == e || !m.policy.byIDAlone() && (at^e)&^nameMask == 0
}

// contentKnown reports whether the client has an event with this content, as far as
// anybody knows.
func (m *Machine) contentKnown(e uint64) bool {
	for i := range m.window.len() {
		if m.policy.byIDAlone() && m.window.at(i)&nameMask != 0 || m.sameContent(m.window.gone+uint64(i), e) {
			return true
		}
	}
	return false
}

// largeID returns the id of an event, if that is within its beginning.
func (m *Machine) largeID() []byte {
	if m.identity != nil {
		return nil
	}
	lines := m.large
	for len(lines) > 0 && lines[len(lines)-1] != '\n' && lines[len(lines)-1] != '\r' {
		lines = lines[:len(lines)-1]
	}
	s := sse.NewScanner(len(lines) + 8)
	s.Feed(append(slices.Clip(lines), "\n\n"...))
	for {
		ev, ok := s.Next()
		if !ok || ev.Part == sse.Whole {
			return ev.ID
		}
	}
}
