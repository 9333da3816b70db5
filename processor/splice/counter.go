package splice

import "bytes"

// counterState knows whether the origin numbers its events one by one. Only then
// does an id tell that events are missing before it: of ids that merely rise,
// the next one may be any.
//
// Times rise by one as well when there is one event a second, and jump when the
// origin was down without having missed anything. So a counter is only an id
// that ends in its number, and a number that is too small for a Unix time.
type counterState struct {
	steps  uint8 // times that an id was the successor of the one before
	broken bool  // once it was not
}

// certain is how many steps make a counter: two events a millisecond or a second
// apart happen, four in a row hardly ever.
const certain = 3

// idSeen takes in the id of a new event and the one before it.
func (c *counterState) idSeen(before, id []byte) {
	if c.broken || len(before) == 0 {
		return
	}
	if !follows(before, id) {
		c.broken = true
		return
	}
	c.steps = min(c.steps+1, certain)
}

// skips reports whether events are missing between two that follow each other.
func (c *counterState) skips(before, id []byte) bool {
	return !c.broken && c.steps == certain && !follows(before, id)
}

// follows reports whether b is a with the number it ends in raised by one.
func follows(a, b []byte) bool {
	x, i, ok := numberAtEnd(a)
	y, j, ok2 := numberAtEnd(b)
	return ok && ok2 && bytes.Equal(a[:i], b[:j]) && y == x+1
}

// numberAtEnd returns the number that an id ends in, and where it begins.
func numberAtEnd(id []byte) (n uint32, at int, ok bool) {
	at = len(id)
	for at > 0 && isDigit(id[at-1]) {
		at--
	}
	if d := len(id) - at; d == 0 || d > 9 {
		return 0, at, false
	}
	for _, c := range id[at:] {
		n = n*10 + uint32(c-'0')
	}
	return n, at, true
}
