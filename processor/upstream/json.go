package upstream

import (
	"bytes"
	"iter"
)

// members yields the members of a JSON object: the name as it stands between its
// quotes, and the text of the value without blanks around it. It is for picking
// a few small members out of an object that may be large; encoding/json would
// take apart and check all of it, event by event. What it yields from text that
// is no valid JSON is some part of that text.
func members(text []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		i := blanks(text, 0)
		if i == len(text) || text[i] != '{' {
			return
		}
		for i++; ; i++ {
			i = blanks(text, i)
			if i == len(text) || text[i] != '"' {
				return
			}
			end := afterValue(text, i)
			name := bytes.TrimSuffix(text[i+1:end], []byte{'"'})
			if i = blanks(text, end); i == len(text) || text[i] != ':' {
				return
			}
			i = blanks(text, i+1)
			end = afterValue(text, i)
			if end == i || !yield(name, bytes.TrimRight(text[i:end], " \t\r\n")) {
				return
			}
			if i = blanks(text, end); i == len(text) || text[i] != ',' {
				return
			}
		}
	}
}

// blanks returns the index of the first byte from i on that is no blank.
func blanks(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n') {
		i++
	}
	return i
}

// afterValue returns the index after the value that begins at i: a string, a
// nested object or array with all that is in it, or anything else up to what
// cannot belong to it.
func afterValue(text []byte, i int) int {
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '"':
			i = afterString(text, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around it
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// afterString returns the index after the string that begins at i.
func afterString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		j := bytes.IndexAny(text[i:], `"\`)
		if j < 0 {
			return len(text)
		}
		if i += j; text[i] == '"' {
			return i + 1
		}
		i++ // and what is escaped
	}
	return len(text)
}

// plain returns what a JSON string says that has no escapes; false for any other
// value.
func plain(value []byte) (string, bool) {
	n := len(value)
	if n < 2 || value[0] != '"' || value[n-1] != '"' || bytes.IndexByte(value, '\\') >= 0 {
		return "", false
	}
	return string(value[1 : n-1]), true
}
