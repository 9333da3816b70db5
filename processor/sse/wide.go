package sse

import (
	"bytes"
	"time"
)

// wide is a block above the limit, on its way through. Its bytes are handed out
// as they come, so what its fields mean is copied out of them.
//
// A comment line above the limit that comes before the first field is such a
// block of its own: it ends with the line, so that Last, like every Part but
// Fragment, leaves the stream where something may be inserted.
type wide struct {
	id, typ []byte
	retry   int32

	hasID    bool
	hasData  bool
	hasRetry bool

	skip    bool // in the middle of a line whose rest does not matter
	comment bool // a comment line, not a block
}

// scanOversized switches to an oversized block that begins at pos. It is read
// from there once more, for lines above the limit must not have counted.
func (s *Scanner) scanOversized(ev *Event) bool {
	s.startWide(&fields{}, nil)
	s.in.find(s.pos)
	return s.scanWide(ev)
}

// widenHeld switches to an oversized block that begins in hold.
func (s *Scanner) widenHeld(ev *Event) bool {
	line := s.line
	s.startWide(&s.f, s.hold[:line])
	s.line = 0
	switch int(line) {
	case 0: // only an unfinished line is held
		return s.scanWide(ev)
	case len(s.hold): // only finished ones
		s.emitHeld(ev, Fragment)
	default:
		// The unfinished line stays where it is: Held must not be written to.
		s.emit(ev, Fragment, s.hold[:line])
		s.hold = s.hold[line:]
	}
	return true
}

func (s *Scanner) widenComment() {
	s.startWide(&fields{}, nil)
	s.wide.skip, s.wide.comment = true, true
}

func (s *Scanner) startWide(f *fields, block []byte) {
	s.flags |= oversized
	s.wide = &wide{hasID: f.hasID, hasData: f.hasData, hasRetry: f.hasRetry, retry: f.retry}
	s.wide.id = append(s.wide.id, block[f.idLo:f.idHi]...)
	s.wide.typ = append(s.wide.typ, block[f.typeLo:f.typeHi]...)
}

// scanWide goes on with an oversized block. An unfinished line is held only as
// long as it may be an id, event or retry field within the limit; the rest is
// handed out at once.
func (s *Scanner) scanWide(ev *Event) bool {
	w, b, limit := s.wide, s.in.b, int(s.limit)
	if len(s.hold) != 0 {
		return s.scanWideHeld(ev)
	}
	start := s.pos
	if w.skip {
		end, next := s.in.end(start)
		ok := end != next
		switch {
		case !ok:
			s.pos = next
			s.emit(ev, Fragment, b[start:])
			return true
		case w.comment && end > start:
			s.pos = end
			s.emit(ev, Fragment, b[start:end])
			return true
		case w.comment:
			s.flags &^= oversized
			s.pos = next
			s.emit(ev, Last, b[start:next])
			return true
		}
		w.skip = false
		s.pos = next
	}
	for s.pos < len(b) {
		i := s.pos
		if c := b[i]; c == '\n' || c == '\r' {
			if i > start {
				break // the blank line comes next, as Last
			}
			end := s.in.past(i)
			s.flags &^= oversized
			s.pos = end
			w.report(ev)
			s.emit(ev, Last, b[i:end])
			return true
		}
		end, next := s.in.end(i)
		ok := end != next
		within := end-i < limit
		if !ok && within && undecided(b[i:]) {
			if i > start {
				break
			}
			s.keep(b[i:])
			return s.drained()
		}
		s.pos = next
		w.add(b[i:end], within && ok)
		if !ok {
			w.skip = true
		}
	}
	if s.pos == start {
		return s.drained()
	}
	s.emit(ev, Fragment, b[start:s.pos])
	return true
}

// scanWideHeld goes on with a line in hold.
func (s *Scanner) scanWideHeld(ev *Event) bool {
	w, b := s.wide, s.in.b
	end, next := s.in.end(s.pos)
	ok := end != next
	text := len(s.hold) + end - s.pos
	within := text < int(s.limit)
	if !within {
		// The line is not kept, but whether it is data shows in a few bytes,
		// which the least limit has room for.
		end = min(end, s.pos+minLimit)
		next, ok = end, false
	}
	s.keep(b[s.pos:next])
	s.pos = next
	if !ok && within && undecided(s.hold) {
		return s.drained()
	}
	w.add(s.hold[:min(text, len(s.hold))], within && ok)
	w.skip = !ok
	s.emitHeld(ev, Fragment)
	return true
}

// add notes one line. Unless it is complete and within the limit, only whether
// it is data counts.
func (w *wide) add(line []byte, usable bool) {
	k, v := split(line)
	switch {
	case k == data && (usable || v > len("data")):
		w.hasData = true
	case !usable:
	case k == event:
		w.typ = append(w.typ[:0], line[v:]...)
	case k == id:
		if bytes.IndexByte(line[v:], 0) < 0 {
			w.id, w.hasID = append(w.id[:0], line[v:]...), true
		}
	case k == retry:
		if ms, ok := parseRetry(line[v:]); ok {
			w.retry, w.hasRetry = ms, true
		}
	}
}

func (w *wide) report(ev *Event) {
	ev.ID, ev.HasID = w.id, w.hasID
	ev.Type = w.typ
	ev.HasData = w.hasData
	ev.Retry, ev.HasRetry = time.Duration(w.retry)*time.Millisecond, w.hasRetry
}
