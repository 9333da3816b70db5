package sse

import (
	"bytes"
	"math"
	"slices"
)

const (
	// DefaultLimit is the limit of a Scanner that was given none: 1 MiB.
	DefaultLimit = 1 << 20
	// minLimit leaves room for a field's name, so that an oversized block's
	// lines can always be told apart.
	minLimit = 8
	// keepHold is the largest hold buffer, in bytes, that a Scanner keeps when
	// it holds nothing: blocks of ordinary size then never allocate, and tens
	// of thousands of idle streams do not sit on the largest event each of
	// them has seen.
	keepHold = 4 << 10

	byteOrderMark = "\uFEFF"
)

// Scanner cuts an event stream into blocks, incrementally. However the stream
// is divided into chunks, the same blocks come out.
//
// A block that lies within one chunk is handed out as a slice of it. Only the
// unfinished rest of a chunk is copied, into a buffer that is used again and
// again, and no byte of it is searched again when the next chunk comes: the
// cost is linear in the stream's length, whatever the cut, and in the steady
// state nothing is allocated. (The buffer is given up when it is above 4 KiB
// and the stream stops exactly between two blocks.)
//
// The zero Scanner is ready for use and has DefaultLimit. A Scanner is not safe
// for concurrent use.
type Scanner struct {
	in  lines // the chunk; empty once it is used up
	pos int   // in.b[pos:] is not handed out and not held

	hold []byte // start of the unfinished block, from earlier chunks
	line int32  // where the unfinished line begins in hold
	f    fields // meaning of hold[:line]

	limit int32
	flags uint8
	wide  *wide // the oversized block in progress; see wide.go
}

// Scanner.flags. A Scanner in the middle of an ordinary stream has begun set
// and nothing else; that is what the fast path asks for.
const (
	begun     uint8 = 1 << iota // it is known whether the stream has a byte order mark
	marked                      // it has, and no Event with it was handed out yet
	afterCR                     // the chunk before ended with CR
	spent                       // hold was handed out by the last Next
	oversized                   // the bytes at pos belong to the block in wide
)

// NewScanner returns a Scanner that holds back at most limit bytes (and three
// more for a byte order mark). A block may have that many bytes, from its first
// field up to and including the CR or LF that ends it; a larger one comes out
// as Fragment, ... Last. Zero or less stands for DefaultLimit, and limits below
// 8 bytes are raised to that.
func NewScanner(limit int) *Scanner {
	s := &Scanner{}
	s.setLimit(limit)
	return s
}

func (s *Scanner) setLimit(limit int) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	s.limit = int32(min(max(limit, minLimit), math.MaxInt32-keepHold))
}

// Feed gives the Scanner the next bytes of the stream. p is borrowed until Next
// has returned false. That should be so of the previous chunk too: what is left
// of one that was not drained comes first, at the price of copying it and p.
func (s *Scanner) Feed(p []byte) {
	if s.limit == 0 {
		s.setLimit(0)
	}
	if rest := s.in.b[s.pos:]; len(rest) != 0 {
		p = slices.Concat(rest, p)
	} else if len(s.in.b) != 0 {
		s.drained()
	}
	s.in.b, s.pos = p, 0
	s.in.find(0)
}

// Next returns the next piece of the stream, or false when the chunk is used
// up. The hold buffer as Held returned it before the Feed is not written to
// before that, only appended to.
func (s *Scanner) Next() (ev Event, ok bool) {
	ok = s.next(&ev)
	return ev, ok
}

// Held returns the bytes of the unfinished block (the tail): what was fed but
// not yet handed out by Next. It is to be called when Next has returned false,
// is valid until the next Feed, and remains readable until Next returns false
// again.
func (s *Scanner) Held() []byte {
	if s.flags&spent != 0 {
		return nil
	}
	return s.hold
}

// next finds the next piece: here, a block that begins in the chunk with a field
// or is a lone blank line. All else is left to resume and scanComments.
//
// This is where a stream spends its time, and calls are dear here, for Go keeps
// no register across them. So the usual forms of the usual fields are known by a
// line's first eight bytes, short lines are searched in place, and data lines,
// being long, go straight to IndexByte and mostly end the block.
func (s *Scanner) next(ev *Event) bool {
	b, i := slices.Clip(s.in.b), s.pos
	if s.flags != begun || len(s.hold) != 0 || i >= len(b) {
		return s.resume(ev)
	}
	if b[i] == ':' {
		return s.scanComments(ev)
	}
	start := i
	crless := s.in.cr == len(b)
	var f fields
	for i < len(b) {
		word := firstWord(b, i)
		isData := word<<24 == dataColon
		if isData && crless {
			f.hasData = true
			j := bytes.IndexByte(b[i:], '\n')
			if j < 0 {
				break
			}
			i += j + 1
			if i < len(b) && b[i] == '\n' && i-start < int(s.limit) {
				s.pos = i + 1
				f.report(ev, b[start:i+1])
				ev.Raw = b[start : i+1 : i+1] // and Part is Whole
				return true
			}
			continue
		}
		end, following := nearEnd(b, i), 0
		if c := b[end]; c == '\n' {
			following = end + 1
		} else if c == '\r' {
			following = s.in.past(end)
		}
		near := following != 0 // and so there is no NUL before end
		if near && end == i {
			if i+1-start > int(s.limit) {
				return s.scanOversized(ev)
			}
			s.pos = following
			f.report(ev, b[start:following])
			ev.Raw = b[start:following:following]
			return true
		}
		if !near {
			if end, following = s.in.farEnd(end); end == following {
				break // the line does not end in this chunk
			}
		}
		switch {
		case isData:
			f.hasData = true
		case word<<32 == idColonSpace && near:
			f.idLo, f.idHi, f.hasID = int32(i-start+4), int32(end-start), true
		case word<<8 == eventColonSpace:
			f.typeLo, f.typeHi = int32(i-start+7), int32(end-start)
		case byte(word) == ':':
		default:
			f.add(b[i:end], i-start)
		}
		i = following
	}
	if len(b)-start >= int(s.limit) {
		// At least one more byte must follow: the block is too large.
		return s.scanOversized(ev)
	}
	f.any = true
	s.f = f
	return s.holdRest(i)
}

// resume is next where something is left over from before: from the last call,
// from the last chunk, or from the stream's start.
func (s *Scanner) resume(ev *Event) bool {
	if s.flags&spent != 0 {
		s.flags &^= spent
		s.hold, s.line, s.f = s.hold[:0], 0, fields{}
	}
	if s.pos == len(s.in.b) {
		return s.drained()
	}
	if s.flags&begun == 0 && !s.begin() {
		return s.drained()
	}
	if s.flags&afterCR != 0 {
		s.flags &^= afterCR
		if s.in.b[s.pos] == '\n' && s.lineFeed(ev) {
			return true
		}
	}
	var ok bool
	switch {
	case s.flags&oversized != 0:
		ok = s.scanWide(ev)
	case len(s.hold) != 0:
		ok = s.scanHeld(ev)
	case s.in.b[s.pos] == ':':
		ok = s.scanComments(ev)
	default:
		ok = s.next(ev)
	}
	if ok && s.flags&marked != 0 {
		s.flags &^= marked
		ev.BOM = true
	}
	return ok
}

// drained ends a chunk.
func (s *Scanner) drained() bool {
	if n := len(s.in.b); n != 0 && s.in.b[n-1] == '\r' {
		s.flags |= afterCR
	}
	// The chunk is the caller's again; a stream that idles must not pin it.
	s.in, s.pos = lines{}, 0
	if len(s.hold) == 0 && cap(s.hold) > keepHold {
		s.hold = nil
	}
	if s.flags&oversized == 0 {
		s.wide = nil
	}
	return false
}

// holdRest ends a chunk whose bytes from pos on are an unfinished block, its
// unfinished line at i.
func (s *Scanner) holdRest(i int) bool {
	s.keep(s.in.b[s.pos:])
	s.line = int32(i - s.pos)
	return s.drained()
}

// keep appends to hold. It doubles the buffer where append would add a quarter
// to a large one, and copy a large event five times; it stops at the limit.
func (s *Scanner) keep(p []byte) {
	if n := len(s.hold) + len(p); n > cap(s.hold) {
		most := int(s.limit) + len(byteOrderMark)
		s.hold = append(slices.Grow([]byte(nil), max(n, min(2*cap(s.hold), most))), s.hold...)
	}
	s.hold = append(s.hold, p...)
}

// begin settles whether the stream starts with a byte order mark. It returns
// false if that takes more bytes. What it has looked at is in hold then.
//
//	"The UTF-8 decode algorithm strips one leading UTF-8 Byte Order Mark (BOM),
//	if any."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
//
// A relay keeps it. It is no part of the first line, that is all.
func (s *Scanner) begin() bool {
	for b := s.in.b; len(s.hold) < len(byteOrderMark); s.pos++ {
		if s.pos == len(b) {
			return false
		}
		if b[s.pos] != byteOrderMark[len(s.hold)] {
			s.flags |= begun // there is none
			return true
		}
		s.keep(b[s.pos : s.pos+1])
	}
	s.flags |= begun | marked
	s.line = int32(len(s.hold))
	return true
}

// lineFeed takes the LF at pos, the second half of a CRLF whose CR ended the
// chunk before. It returns false if the LF has gone to the unfinished block.
func (s *Scanner) lineFeed(ev *Event) bool {
	lf := s.in.b[s.pos : s.pos+1 : s.pos+1]
	s.pos++
	switch {
	case s.flags&oversized != 0:
		s.emit(ev, Fragment, lf)
	case len(s.hold) != 0:
		s.keep(lf)
		s.line = int32(len(s.hold))
		if len(s.hold) < int(s.limit) {
			return false
		}
		return s.widenHeld(ev)
	default:
		s.emit(ev, LineFeed, lf)
	}
	return true
}

func (s *Scanner) emit(ev *Event, p Part, raw []byte) {
	ev.Part, ev.Raw = p, slices.Clip(raw)
}

// scanComments is next where the line at pos is a comment and nothing is held.
func (s *Scanner) scanComments(ev *Event) bool {
	b, start := s.in.b, s.pos
	i := start
	for i < len(b) && b[i] == ':' {
		end, next := s.in.end(i)
		if tooLong := end-i >= int(s.limit); tooLong || end == next {
			switch {
			case i > start:
				// The lines before this one go out; it is for the next call.
				s.pos = i
				s.emit(ev, Comment, b[start:i])
				return true
			case tooLong:
				s.widenComment()
				return s.scanWide(ev)
			default:
				return s.holdRest(i)
			}
		}
		i = next
	}
	part := Comment
	if i < len(b) && (b[i] == '\n' || b[i] == '\r') {
		part, i = Whole, s.in.past(i)
	}
	s.pos = i
	s.emit(ev, part, b[start:i])
	return true
}
