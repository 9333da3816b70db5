package sse

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// lines finds line ends in a chunk.
//
//	"Lines must be separated by either a U+000D CARRIAGE RETURN U+000A LINE FEED
//	(CRLF) character pair, a single U+000A LINE FEED (LF) character, or a single
//	U+000D CARRIAGE RETURN (CR) character."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
//
// Most lines are short, and a call of IndexByte for LF and one for CR cost more
// than looking at them eight bytes at a time. Beyond that the calls win. They
// would look at far-away bytes again for every line, so the place of the next
// CR is kept and LF is looked for only before it: each byte is compared once
// with either character, and without CRs a line costs one search.
type lines struct {
	b []byte
	// cr is the first CR at or after the last far search; len(b) if there is
	// none. It is of no use once a line beyond it is searched.
	cr int
}

// near is how many bytes of a line are looked at by words.
const near = 48

func newLines(b []byte) lines {
	l := lines{b: b}
	l.find(0)
	return l
}

// find sets cr to the first CR at or after from.
func (l *lines) find(from int) {
	if j := bytes.IndexByte(l.b[from:], '\r'); j >= 0 {
		l.cr = from + j
	} else {
		l.cr = len(l.b)
	}
}

// end returns where the line that begins or goes on at i ends: b[i:end] is its
// text, b[end:next] its line end. Without a line end in b, both are len(b).
//
// A CR that is the last byte ends its line at once, whether or not an LF is to
// come: waiting for one would delay an event until the next.
func (l *lines) end(i int) (end, next int) {
	end = nearEnd(l.b, i)
	if c := l.b[end]; c == '\n' || c == '\r' {
		return end, l.past(end)
	}
	return l.farEnd(end)
}

// nearEnd looks at the near bytes at i for one that is at most CR and returns
// its place; without one, a place up to which there is none. It may be that of
// a line end nevertheless.
func nearEnd(b []byte, i int) int {
	for last := min(i+near, len(b)) - 8; i <= last; i += 8 {
		if low := notAboveCR(binary.LittleEndian.Uint64(b[i:])); low != 0 {
			return i + bits.TrailingZeros64(low)>>3
		}
	}
	return min(i, len(b)-1)
}

// notAboveCR returns a word with bits set if any byte of v is at most CR. The
// lowest of them is the top bit of the first such byte: the subtraction makes
// such a byte negative, what was negative before is no ASCII, and it takes an
// earlier such byte to borrow from a later one and make that wrong.
func notAboveCR(v uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	return (v - ones*('\r'+1)) &^ v & tops
}

// farEnd is end by IndexByte.
func (l *lines) farEnd(i int) (end, next int) {
	if l.cr < i {
		l.find(i)
	}
	if j := bytes.IndexByte(l.b[i:l.cr], '\n'); j >= 0 {
		return i + j, i + j + 1
	}
	if l.cr == len(l.b) {
		return l.cr, l.cr
	}
	return l.cr, l.past(l.cr)
}

// past returns where the line end that begins at i ends.
func (l *lines) past(i int) int {
	if l.b[i] == '\r' && i+1 < len(l.b) && l.b[i+1] == '\n' {
		return i + 2
	}
	return i + 1
}

// What a line begins with, as a little-endian word; without the bytes that do
// not count, which shifts take away.
const (
	idColonSpace    = 'i'<<32 | 'd'<<40 | ':'<<48 | ' '<<56
	dataColon       = 'd'<<24 | 'a'<<32 | 't'<<40 | 'a'<<48 | ':'<<56
	eventColonSpace = 'e'<<8 | 'v'<<16 | 'e'<<24 | 'n'<<32 | 't'<<40 | ':'<<48 | ' '<<56
)

// firstWord returns the eight bytes at i; where fewer are left they are filled
// up with bytes that no field name has.
func firstWord(b []byte, i int) uint64 {
	if i <= len(b)-8 {
		return binary.LittleEndian.Uint64(b[i:])
	}
	word := ^uint64(0)
	for k := len(b) - 1; k >= i; k-- {
		word = word<<8 | uint64(b[k])
	}
	return word
}
