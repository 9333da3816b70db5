package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// comparer checks the bytes of a stream as they come.
type comparer struct {
	stream string
	all    int    // events there are
	rest   []byte // of an event that is not whole yet
	want   []byte // event next
	next   int    // the number of the event that has to come next

	// sealed says that ids are not the origin's, but ours. The last one is what the
	// client comes back with.
	sealed bool
	lastID string

	hint []byte // by which the client was sent away: the last thing of this answer

	events   int // different ones that came
	lost     int // that were passed over
	repeated int
	altered  int
	words    []string // about what was wrong
}

func newComparer(stream string, all int) *comparer {
	return &comparer{stream: stream, all: all, next: 1, want: appendEvent(nil, stream, 1)}
}

// took takes in what came and returns how many new events are in it.
func (c *comparer) took(b []byte) (fresh int) {
	c.rest = append(c.rest, b...)
	for {
		i := bytes.Index(c.rest, []byte("\n\n"))
		if i < 0 {
			return fresh
		}
		block := c.rest[:i+2]
		c.rest = c.rest[i+2:]
		if block[0] == ':' { // a heartbeat
			continue
		}
		if c.hint != nil {
			c.altered++
			c.say("%q did not end the answer", c.hint)
			c.hint = nil
		}
		if sentAway.Match(block) {
			c.hint = block
			continue
		}
		id := ""
		if c.sealed {
			id, block = opened(block)
		}
		if !bytes.Equal(block, c.want) && !c.elsewhere(block) {
			continue
		}
		fresh++
		c.events++
		c.lastID = id
		c.next++
		c.want = appendEvent(c.want[:0], c.stream, c.next)
	}
}

// sentAway is when a client is to come back that a drain has sent away.
var sentAway = regexp.MustCompile(`^retry: [0-9]+\n\n$`)

// broken takes in that an answer is over.
func (c *comparer) broken() {
	c.rest, c.hint = nil, nil // half an event is none
}

// opened is an event as it was before its id was sealed, if it could be, and that id.
func opened(block []byte) (id string, event []byte) {
	var stream string
	var n int
	line, rest, found := strings.Cut(string(block), "\n")
	if _, err := fmt.Sscanf(rest, "data: %s %d ", &stream, &n); err != nil || !found {
		return "", block
	}
	return strings.TrimPrefix(line, "id: "), fmt.Appendf(nil, "id: %d\n%s", n, rest)
}

// elsewhere finds out what a block is that had not to come next. If events before
// it are lost it is the next one all the same.
func (c *comparer) elsewhere(block []byte) (isNext bool) {
	var n int
	_, err := fmt.Sscanf(string(block), "id: %d\n", &n)
	switch {
	case err != nil || n < 1 || n > c.all || !bytes.Equal(block, appendEvent(nil, c.stream, n)):
		c.altered++
		c.say("instead of event %d the client got %q", c.next, block)
		return false
	case n < c.next:
		c.repeated++
		c.say("before event %d the client got event %d again", c.next, n)
		return false
	}
	c.lost += n - c.next
	c.say("events %d to %d are missing", c.next, n-1)
	c.next = n
	return true
}

func (c *comparer) say(format string, args ...any) {
	c.words = append(c.words, fmt.Sprintf(format, args...))
}
