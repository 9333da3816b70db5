package processor

import (
	"bytes"

	"holdfast/processor/sse"
)

// An event that gets an id of ours is the origin's, byte for byte, but for its
// fields `id`: they are left out, and ours comes first. Synthesised fields are
// "id: value" and LF, which every client reads.

// relabelled says whether a block is to carry an id of ours: an event, because its
// client may come back with it, and whatever else would set the client's id.
func relabelled(ev *sse.Event) bool { return ev.HasData || ev.HasID }

// appendRelabelled appends a block, or the beginning of one, with this id.
func appendRelabelled(dst, block, id []byte) []byte {
	dst = append(dst, "id: "...)
	dst = append(append(dst, id...), '\n')
	for len(block) > 0 {
		at := idLine(block)
		dst = append(dst, block[:at]...)
		block = block[at:]
		block = block[lineLength(block):]
		if dst[len(dst)-1] == '\r' && len(block) > 0 && block[0] == '\n' {
			dst = append(dst, '\n') // the CR has its own, or what follows would be no line
		}
	}
	return dst
}

// appendGapEvent appends the event that tells a client of a gap.
func appendGapEvent(dst []byte, kind string, id []byte) []byte {
	dst = append(append(dst, "id: "...), id...)
	dst = append(append(dst, "\nevent: "...), kind...)
	return append(dst, "\ndata: \n\n"...)
}

// idLine returns where the next field `id` begins, or the length of b.
//
//	"Collect the characters on the line before the first U+003A COLON character
//	(:), and let field be that string. [...] Otherwise, the string is not empty but
//	does not contain a U+003A COLON character (:): Process the field using [...]
//	the whole line as the field name, and the empty string as the field value."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
func idLine(b []byte) int {
	for i := 0; ; {
		j := bytes.Index(b[i:], []byte("id"))
		if j < 0 {
			return len(b)
		}
		i += j
		begins := i == 0 || b[i-1] == '\n' || b[i-1] == '\r'
		i += len("id")
		// Where b ends within the name, nobody knows what it will be.
		if begins && i < len(b) && (b[i] == ':' || b[i] == '\n' || b[i] == '\r') {
			return i - len("id")
		}
	}
}

// lineLength is the length of the first line with its end. What has no end yet is a
// line too.
func lineLength(b []byte) int {
	i := bytes.IndexAny(b, "\r\n")
	switch {
	case i < 0:
		return len(b)
	case b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n':
		return i + 2
	}
	return i + 1
}
