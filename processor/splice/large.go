package splice

import (
	"bytes"
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
	p, h, kept := m.proof, &m.proof.held, m.keptTail()
	switch {
	case len(h.run) == 0 && p.next < p.end && p.next >= m.window.gone && m.sameContent(p.next, e):
		p.next++
		return m.repeated() // exactly what comes next
	case !p.placed && (p.suspects > 0 || p.inOverlap()):
		return m.suspected(nil)
	case m.mayBeKnown(e):
		return m.unproven(nil)
	case len(kept) > 0 && m.windowWhole() && bytes.HasPrefix(m.large, kept):
		// The one that broke off before.
	case h.early() && (m.endStands() || !p.placed && !p.beyond && !m.windowWhole()):
		return m.unproven(nil) // there is no waiting until something tells
	case p.placed && p.inOverlap():
		m.resume.dropTail()
		return forwarded // said in between, to whoever is connected
	}
	m.releaseHeld()
	m.nothingRepeated()
	return forwarded
}

// largePlaced takes in the end of such an event that was left out: if its id came too
// late to tell, it tells now where in the replay this is.
func (m *Machine) largePlaced(ev *sse.Event) {
	id, _ := m.identify(ev)
	if len(id) == 0 || m.proof.placed {
		return
	}
	if i := m.place(id); i >= 0 {
		p := m.proof
		p.placed, p.beyond, p.suspects, p.next = true, false, 0, m.window.gone+uint64(i)+1
	}
}

// sameContent reports whether the entry at a position has this content. The event's
// id, if it has one, has not come yet.
func (m *Machine) sameContent(pos, e uint64) bool {
	at := m.window.at(int(pos - m.window.gone))
	return at == e || !m.policy.byIDAlone() && (at^e)&^nameMask == 0
}

// mayBeKnown reports whether it looks as if the client had an event with this
// content, at another place than the one that comes next.
func (m *Machine) mayBeKnown(e uint64) bool {
	p := m.proof
	for i := range m.window.len() {
		if m.policy.byIDAlone() && m.window.at(i)&nameMask != 0 {
			if p.inOverlap() || !p.placed && !p.beyond {
				return true // whose content nobody knows
			}
		} else if m.sameContent(m.window.gone+uint64(i), e) {
			return true
		}
	}
	return false
}

// largeID returns the id of an event, if that is within its beginning.
func (m *Machine) largeID() []byte {
	lines := m.large
	for len(lines) > 0 && lines[len(lines)-1] != '\n' && lines[len(lines)-1] != '\r' {
		lines = lines[:len(lines)-1]
	}
	rest := m.large[len(lines):]
	if m.identity == nil || !bytes.HasPrefix(rest, []byte("data:")) {
		rest = nil
	}
	// What its data begin with may name it, up to the last comma: behind that, a number
	// may not be whole.
	rest = rest[:bytes.LastIndexByte(rest, ',')+1]
	s := sse.NewScanner(len(m.large) + 8)
	s.Feed(slices.Concat(lines, rest, []byte("\n\n")))
	for {
		ev, ok := s.Next()
		switch {
		case !ok:
			return nil
		case ev.Part == sse.Whole:
			id, _ := m.identify(&ev)
			return id
		}
	}
}
