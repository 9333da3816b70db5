package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// block is what stands between two blank lines, as the standard has it: written
// for this package and not shared with the processor, which is to be checked.
type block struct {
	raw   string // with its blank line
	start int
	id    string
	hasID bool
	empty bool // no event: nothing but comments, blank lines, and retry fields
}

// read cuts a stream into its blocks; rest is what no blank line has ended.
// Comments and blank lines before a block are blocks of their own, which are empty.
func read(s string) (blocks []block, rest string) {
	s0 := s
	s = strings.TrimPrefix(s, "\ufeff")
	at := len(s0) - len(s) // of the line
	b := block{start: at, empty: true}
	begun := false // the block has a field
	for at < len(s0) {
		line, next, ok := lineAt(s0, at)
		if !ok {
			break
		}
		switch {
		case line == "":
			b.raw = s0[b.start:next]
			blocks = append(blocks, b)
			b, begun = block{start: next, empty: true}, false
		case line[0] == ':' && !begun:
			// A comment in front of an event is none of it.
			blocks = append(blocks, block{raw: s0[b.start:next], start: b.start, empty: true})
			b = block{start: next, empty: true}
		default:
			begun = true
			b.field(line)
		}
		at = next
	}
	return blocks, s0[b.start:]
}

// lineAt is the line that begins at a place, and where the next one does.
func lineAt(s string, at int) (line string, next int, ok bool) {
	i := strings.IndexAny(s[at:], "\r\n")
	if i < 0 {
		return "", 0, false
	}
	line, next = s[at:at+i], at+i+1
	if s[next-1] == '\r' && next < len(s) && s[next] == '\n' {
		next++
	}
	return line, next, true
}

func (b *block) field(line string) {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "id":
		if !strings.Contains(value, "\x00") {
			b.id, b.hasID, b.empty = value, true, false
		}
	case "data":
		b.empty = false
		var n int
		if _, err := fmt.Sscanf(value, `{"sequence_number":%d,`, &n); err == nil {
			b.id, b.hasID = strconv.Itoa(n), true
		}
	case "event":
		b.empty = false
	}
}

// lastID is the cursor of a client that got this.
func lastID(s string) (id string, ok bool) {
	blocks, _ := read(s)
	for _, b := range blocks {
		if b.hasID {
			id, ok = b.id, true
		}
	}
	return id, ok
}

// events are the blocks that are some.
func events(s string) []block {
	blocks, _ := read(s)
	out := blocks[:0]
	for _, b := range blocks {
		if !b.empty {
			out = append(out, b)
		}
	}
	return out
}
