package sse

import (
	"bytes"
	"time"
)

// MaxRetry is the longest reconnection time that a Scanner reports. The
// standard sets no bound, a stream may name more milliseconds than any clock
// counts. This is what fits the 32-bit millisecond timers of browsers, some 24
// days; greater values are reported as MaxRetry.
const MaxRetry = (1<<31 - 1) * time.Millisecond

// kind is a field name that means something.
type kind uint8

const (
	other kind = iota // "Otherwise: The field is ignored."
	data
	event
	id
	retry
)

// split takes a line that is neither blank nor a comment apart and returns the
// offset of the value; without a colon that is the end of the line.
//
//	"Collect the characters on the line before the first U+003A COLON character
//	(:), and let field be that string. Collect the characters on the line after
//	the first U+003A COLON character (:), and let value be that string. If value
//	starts with a U+0020 SPACE character, remove it from value."
//	"Otherwise, the string is not empty but does not contain a U+003A COLON
//	character (:): Process the field [...] using the whole line as the field
//	name, and the empty string as the field value."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
//
// Names are compared literally, "with no case folding performed".
func split(line []byte) (k kind, value int) {
	// The four names differ in their first letter, so at most one comparison
	// is made and unknown lines are never searched for a colon.
	var name string
	switch line[0] {
	case 'd':
		k, name = data, "data"
	case 'i':
		k, name = id, "id"
	case 'e':
		k, name = event, "event"
	case 'r':
		k, name = retry, "retry"
	default:
		return other, 0
	}
	n := len(name)
	switch {
	case len(line) < n || string(line[:n]) != name:
		return other, 0
	case len(line) == n:
		return k, n
	case line[n] != ':':
		return other, 0
	case len(line) > n+1 && line[n+1] == ' ':
		return k, n + 2
	default:
		return k, n + 1
	}
}

// undecided reports whether the rest of an unfinished line can still matter to
// a block whose data is not kept: it is, or may yet become, an id, event or
// retry field, or its name is not complete.
func undecided(line []byte) bool {
	for _, name := range [...]string{"data", "id", "event", "retry"} {
		n := len(name)
		switch {
		case len(line) <= n:
			if string(line) == name[:len(line)] {
				return true
			}
		case name != "data" && line[n] == ':' && string(line[:n]) == name:
			return true
		}
	}
	return false
}

// fields is what the finished lines of a block mean. Values are kept as offsets
// from the block's start, for the block may move from a chunk to the hold
// buffer before it is complete.
type fields struct {
	idLo, idHi     int32
	typeLo, typeHi int32
	retry          int32 // milliseconds

	any      bool // the block has a line that is not a comment
	hasID    bool
	hasData  bool
	hasRetry bool
}

// add notes one line (without its end) that begins at offset at of the block.
func (f *fields) add(line []byte, at int) {
	k, v := split(line)
	switch k {
	case data:
		// "Append the field value to the data buffer, then append a single
		// U+000A LINE FEED (LF) character to the data buffer."
		f.hasData = true
	case event:
		// "Set the event type buffer to field value."
		f.typeLo, f.typeHi = int32(at+v), int32(at+len(line))
	case id:
		// "If the field value does not contain U+0000 NULL, then set the last
		// event ID buffer to the field value. Otherwise, ignore the field."
		if bytes.IndexByte(line[v:], 0) < 0 {
			f.idLo, f.idHi, f.hasID = int32(at+v), int32(at+len(line)), true
		}
	case retry:
		if ms, ok := parseRetry(line[v:]); ok {
			f.retry, f.hasRetry = ms, true
		}
	case other:
	}
}

// report fills in what the block means. All offsets are within block.
func (f *fields) report(ev *Event, block []byte) {
	ev.HasData = f.hasData
	if f.hasID {
		ev.HasID = true
		ev.ID = block[f.idLo:f.idHi:f.idHi]
	}
	if f.typeHi != 0 {
		ev.Type = block[f.typeLo:f.typeHi:f.typeHi]
	}
	if f.hasRetry {
		ev.HasRetry = true
		ev.Retry = time.Duration(f.retry) * time.Millisecond
	}
}

// parseRetry reads a reconnection time in milliseconds, at most MaxRetry.
//
//	"If the field value consists of only ASCII digits, then interpret the field
//	value as an integer in base ten, and set the event stream's reconnection
//	time to that integer. Otherwise, ignore the field."
//
// An empty value has no digit to interpret and is ignored.
func parseRetry(value []byte) (ms int32, ok bool) {
	const most = int64(MaxRetry / time.Millisecond)
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), most)
	}
	return int32(n), len(value) != 0
}

// AppendData appends the data of a Whole block to dst: the values of its data
// fields, joined by LF. It reads ev.Raw again, so it costs nothing where no one
// asks. Of the other Parts it appends nothing: they have no data, or only a
// piece of it. Whether there is data at all (it may be empty) says ev.HasData.
//
//	"If the data buffer's last character is a U+000A LINE FEED (LF) character,
//	then remove the last character from the data buffer."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#dispatchMessage
func AppendData(dst []byte, ev Event) []byte {
	if ev.Part != Whole || !ev.HasData {
		return dst
	}
	block, i := ev.Raw, 0
	if ev.BOM {
		i = len(byteOrderMark)
	}
	first := true
	for ls := newLines(block); i < len(block); {
		end, next := ls.end(i)
		if line := block[i:end]; len(line) != 0 {
			if k, v := split(line); k == data {
				if !first {
					dst = append(dst, '\n')
				}
				dst = append(dst, line[v:]...)
				first = false
			}
		}
		i = next
	}
	return dst
}
