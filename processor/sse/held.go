package sse

// scanHeld goes on with the block in hold. Its lines are taken from the chunk
// one by one until it is complete; then the chunk is read in place again.
func (s *Scanner) scanHeld(ev *Event) bool {
	b, limit := s.in.b, int(s.limit)
	for s.pos < len(b) {
		line := int(s.line)
		c := b[s.pos]
		if line < len(s.hold) {
			c = s.hold[line] // the unfinished line's first byte
		} else if c == '\n' || c == '\r' {
			if s.f.any && len(s.hold)+1 > limit {
				return s.widenHeld(ev)
			}
			end := s.in.past(s.pos)
			s.keep(b[s.pos:end])
			s.pos = end
			s.f.report(ev, s.hold)
			s.emitHeld(ev, Whole)
			return true
		}
		comment := c == ':' && !s.f.any
		end, next := s.in.end(s.pos)
		ok := end != next
		text := len(s.hold) + end - s.pos
		switch {
		case comment && text-line >= limit:
			s.widenComment()
			s.emitHeld(ev, Fragment)
			return true
		case !comment && len(s.hold)+next-s.pos >= limit:
			return s.widenHeld(ev)
		}
		s.keep(b[s.pos:next])
		s.pos = next
		if !ok {
			break
		}
		if comment {
			s.emitHeld(ev, Comment)
			return true
		}
		s.f.any = true
		s.f.add(s.hold[line:text], line)
		s.line = int32(len(s.hold))
	}
	return s.drained()
}

// emitHeld hands out all of hold. It is emptied by the next call of Next.
func (s *Scanner) emitHeld(ev *Event, p Part) {
	s.emit(ev, p, s.hold)
	s.flags |= spent
}
