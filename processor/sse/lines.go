package sse

import "bytes"

// lines finds line ends in a chunk.
//
//	"Lines must be separated by either a U+000D CARRIAGE RETURN U+000A LINE FEED
//	(CRLF) character pair, a single U+000A LINE FEED (LF) character, or a single
//	U+000D CARRIAGE RETURN (CR) character."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
//
// Two searches, one for each character, would look at far-away bytes again for
// every line. So the place of the next CR is kept, and LF is looked for only
// before it: each byte is compared once with either character, and in a stream
// without CR a line costs one search.
type lines struct {
	b  []byte
	cr int // the first CR not yet passed; len(b) if there is none
}

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
// text, b[end:next] its line end. Without a line end in b, ok is false and both
// are len(b). No CR between the last pass and i may have been skipped.
//
// A CR that is the last byte ends its line at once, whether or not an LF is to
// come: waiting for one would delay an event until the next.
func (l *lines) end(i int) (end, next int, ok bool) {
	if j := bytes.IndexByte(l.b[i:l.cr], '\n'); j >= 0 {
		return i + j, i + j + 1, true
	}
	if l.cr == len(l.b) {
		return l.cr, l.cr, false
	}
	return l.cr, l.afterCR(l.cr), true
}

// afterCR returns where the line end that begins with the CR at i ends.
func (l *lines) afterCR(i int) int {
	if i++; i < len(l.b) && l.b[i] == '\n' {
		i++
	}
	return i
}

// pass says that everything before to has been dealt with.
func (l *lines) pass(to int) {
	if to > l.cr {
		l.find(to)
	}
}
