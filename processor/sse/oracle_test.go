package sse_test

import (
	"strings"
)

// This file is a slow, literal transcription of the HTML Standard's event
// stream processing and of the Encoding Standard's UTF-8 decoder. It works on
// the whole stream at once, character by character, and knows nothing of
// chunks. The Scanner must agree with it.

// dispatched is an event as a client's script sees it.
type dispatched struct {
	Type, Data, LastEventID string
}

// interpretation is what a client makes of a whole stream.
type interpretation struct {
	Events      []dispatched
	LastEventID string // the last event ID string at the stream's end
	Retry       string // the reconnection time in force, in its own digits; "" if never set
}

// interpret follows
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
func interpret(stream []byte) interpretation {
	// "Streams must be decoded using the UTF-8 decode algorithm."
	input := utf8Decode(stream)

	var (
		out                      interpretation
		data, eventType, eventID strings.Builder
	)
	set := func(b *strings.Builder, s string) { b.Reset(); b.WriteString(s) }

	process := func(field, value string) {
		switch field {
		case "event":
			// "Set the event type buffer to field value."
			set(&eventType, value)
		case "data":
			// "Append the field value to the data buffer, then append a single
			// U+000A LINE FEED (LF) character to the data buffer."
			data.WriteString(value)
			data.WriteByte('\n')
		case "id":
			// "If the field value does not contain U+0000 NULL, then set the
			// last event ID buffer to the field value. Otherwise, ignore the
			// field."
			if !strings.ContainsRune(value, 0) {
				set(&eventID, value)
			}
		case "retry":
			// "If the field value consists of only ASCII digits, then interpret
			// the field value as an integer in base ten, and set the event
			// stream's reconnection time to that integer. Otherwise, ignore the
			// field."
			if value != "" && strings.Trim(value, "0123456789") == "" {
				out.Retry = value
			}
		default:
			// "The field is ignored."
		}
	}
	dispatch := func() {
		// "1. Set the last event ID string of the event source to the value of
		// the last event ID buffer. The buffer does not get reset."
		out.LastEventID = eventID.String()
		// "2. If the data buffer is an empty string, set the data buffer and
		// the event type buffer to the empty string and return."
		if data.Len() == 0 {
			eventType.Reset()
			return
		}
		// "3. If the data buffer's last character is a U+000A LINE FEED (LF)
		// character, then remove the last character from the data buffer."
		d := strings.TrimSuffix(data.String(), "\n")
		// "4.-6. [...] initialized to message [...] If the event type buffer has
		// a value other than the empty string, change the type".
		typ := "message"
		if eventType.Len() != 0 {
			typ = eventType.String()
		}
		out.Events = append(out.Events, dispatched{typ, d, out.LastEventID})
		// "7. Set the data buffer and the event type buffer to the empty string."
		data.Reset()
		eventType.Reset()
	}

	// "The stream must then be parsed by reading everything line by line, with
	// a CRLF character pair, a single LF character not preceded by a CR
	// character, and a single CR character not followed by a LF character being
	// the ways in which a line can end."
	var line []rune
	for i := 0; i < len(input); i++ {
		switch c := input[i]; {
		case c == '\r' && i+1 < len(input) && input[i+1] == '\n':
			i++
		case c == '\r' || c == '\n':
		default:
			line = append(line, c)
			continue
		}
		text := string(line)
		line = line[:0]
		name, value, colon := strings.Cut(text, ":")
		switch {
		case text == "":
			// "If the line is empty (a blank line): Dispatch the event".
			dispatch()
		case colon && name == "":
			// "If the line starts with a U+003A COLON character (:): Ignore the
			// line."
		case colon:
			// "If value starts with a U+0020 SPACE character, remove it".
			process(name, strings.TrimPrefix(value, " "))
		default:
			process(text, "")
		}
	}
	// "Once the end of the file is reached, any pending data must be discarded.
	// (If the file ends in the middle of an event, before the final empty line,
	// the incomplete event is not dispatched.)"
	return out
}

// utf8Decode is "UTF-8 decode": https://encoding.spec.whatwg.org/#utf-8-decode
func utf8Decode(b []byte) []rune {
	// "If buffer does not match 0xEF 0xBB 0xBF, then prepend buffer to ioQueue."
	if len(b) >= 3 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF {
		b = b[3:]
	}
	return utf8DecodeWithoutBOM(b)
}

// utf8DecodeWithoutBOM is the decoder's handler, with errors replaced:
// https://encoding.spec.whatwg.org/#utf-8-decoder
func utf8DecodeWithoutBOM(b []byte) []rune {
	const replacement = '\uFFFD'
	var (
		out          []rune
		codePoint    rune
		needed, seen int
		lower, upper byte = 0x80, 0xBF
	)
	for i := 0; i < len(b); i++ {
		c := b[i]
		if needed == 0 {
			switch {
			case c <= 0x7F:
				out = append(out, rune(c))
			case 0xC2 <= c && c <= 0xDF:
				needed, codePoint = 1, rune(c&0x1F)
			case 0xE0 <= c && c <= 0xEF:
				if c == 0xE0 {
					lower = 0xA0
				}
				if c == 0xED {
					upper = 0x9F
				}
				needed, codePoint = 2, rune(c&0xF)
			case 0xF0 <= c && c <= 0xF4:
				if c == 0xF0 {
					lower = 0x90
				}
				if c == 0xF4 {
					upper = 0x8F
				}
				needed, codePoint = 3, rune(c&0x7)
			default:
				out = append(out, replacement)
			}
			continue
		}
		if c < lower || c > upper {
			// "Set [...] to their default values. Restore byte to ioQueue.
			// Return error."
			codePoint, needed, seen, lower, upper = 0, 0, 0, 0x80, 0xBF
			out = append(out, replacement)
			i--
			continue
		}
		lower, upper = 0x80, 0xBF
		codePoint = codePoint<<6 | rune(c&0x3F)
		if seen++; seen == needed {
			out = append(out, codePoint)
			codePoint, needed, seen = 0, 0, 0
		}
	}
	// "If byte is end-of-queue and UTF-8 bytes needed is not 0, then [...]
	// return error."
	if needed != 0 {
		out = append(out, replacement)
	}
	return out
}
