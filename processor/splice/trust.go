package splice

import (
	"bytes"
	"math/bits"
)

// trustState watches an origin's event IDs and judges what they can carry.
//
// Published servers put one id on every event, start each response at 1, or use
// the millisecond clock. Dropping repeats or resuming by such ids destroys real
// traffic, so the verdict has to be earned by the stream itself. It is formed
// with nothing but the previous id and the tracker's answer.
type trustState struct {
	verdict Trust
	last    []byte // the newest id that was not a repeat

	several   bool   // more than one distinct id was seen
	differing bool   // while there was only one: it came with different content
	mixed     bool   // ids follow no order, so a lower one means nothing
	rising    bool   // some id was greater than the one before
	since     uint16 // new ids since they started over, up to settled

	// repeatable says that repeats are dropped by id alone, so that one is no
	// surprise: the user knows what the ids stand for.
	repeatable bool
}

// settled is how many new ids after a restart make a counter of them again: one
// that falls sooner is none.
const settled = 64

// adopt begins with the verdict of an earlier stream, whose window of n entries
// this stream continues; last is the newest id of it.
func (t *trustState) adopt(verdict Trust, last string, n int) {
	t.verdict = verdict
	t.last = append(t.last[:0], last[:min(len(last), maxCursor)]...)
	t.several = n > 1 || verdict == TrustMonotonic
	t.mixed = verdict == TrustUnique && n > 1
	t.rising = verdict == TrustMonotonic
	t.since = settled
}

// eventIdentified takes in the non-empty id of one event. known says that the
// tracker has the id, same that it has it with the same content. It reports
// whether the ids started over: what the tracker knows is then about other
// events and has to be forgotten.
func (t *trustState) eventIdentified(id []byte, known, same bool) (startedOver bool) {
	id = id[:min(len(id), maxCursor)]
	if t.verdict == TrustAbsent {
		t.verdict = TrustUnique
		t.last = append(t.last[:0], id...)
		return false
	}
	order := compareIDs(t.last, id)
	switch {
	case order == orderEqual:
		known = true // also when the tracker has forgotten it
	case order == orderAfter && t.verdict == TrustMonotonic:
		known = false // greater than all before: the tracker's match is a collision of 32-bit names
	}
	if known {
		return t.idCameAgain(id, same)
	}
	return t.newID(id, order)
}

func (t *trustState) idCameAgain(id []byte, same bool) (startedOver bool) {
	if !t.several {
		t.verdict = TrustConstant
		t.differing = t.differing || !same
		return false
	}
	switch {
	case t.verdict == TrustConstant:
		return false // the id never meant anything
	case same && (!t.mixed || t.repeatable):
		return false // the same event again: a counter says so
	}
	// Other content; or an id without an order, which may name a topic or a state
	// that is reported once more, and not an event.
	t.startOver(id)
	return true
}

func (t *trustState) newID(id []byte, order idOrder) (startedOver bool) {
	t.several = true
	if t.differing {
		// One id stood for many events. A different one at the end (as some
		// servers mark their last chunk) does not make it better.
		t.last = append(t.last[:0], id...)
		return false
	}
	switch order {
	case orderAfter:
		t.rising = true
	case orderBefore:
		// A counter that falls has started over, unless it did so only just
		// now: then there is no counter.
		if t.rising && !t.mixed && (t.verdict != TrustRestarting || t.since == settled) {
			t.startOver(id)
			return true
		}
		t.mixed = true
	default:
		t.mixed = true
	}
	t.last = append(t.last[:0], id...)

	switch {
	case t.verdict == TrustRestarting:
		// For the rest of this stream: an id that its client comes back with may
		// be from before or after the restart. The next stream begins anew.
		t.since = min(t.since+1, settled)
	case t.rising && !t.mixed:
		t.verdict = TrustMonotonic
	default:
		t.verdict = TrustUnique
	}
	return false
}

func (t *trustState) startOver(id []byte) {
	t.verdict = TrustRestarting
	t.since = 0
	t.rising, t.mixed = false, false
	t.last = append(t.last[:0], id...)
}

// Disproved reports whether ids were seen that cannot be trusted. What earlier
// streams of the same line believed of them is then not to be used either.
func (t Trust) Disproved() bool { return t == TrustConstant || t == TrustRestarting }

// carriesOverlap reports whether ids with this verdict can tell which events a
// returning client has.
func (t Trust) carriesOverlap() bool { return t == TrustUnique || t == TrustMonotonic }

// idOrder is how two ids of one stream relate.
type idOrder uint8

const (
	orderNone   idOrder = iota // they have no order we know
	orderEqual                 // the same bytes
	orderAfter                 // the second is greater
	orderBefore                // the second is smaller
)

// compareIDs compares ids that differ only in their numbers: "41" and "42",
// "stream_9" and "stream_10", "1526919030474-55" and "1526919030475-0",
// "2026-01-01T00:00:01Z" and "2026-01-01T00:00:02Z". The first number that
// differs decides; numbers have any length. Ids that differ in anything else,
// such as UUIDs, have no order.
func compareIDs(a, b []byte) idOrder {
	i := commonPrefix(a, b)
	if i == len(a) && i == len(b) {
		return orderEqual
	}
	if len(a) == len(b) && alignedDigits(a[i:], b[i:]) {
		if a[i] < b[i] {
			return orderAfter
		}
		return orderBefore
	}
	for i > 0 && isDigit(a[i-1]) { // back to where the number begins
		i--
	}
	na, nb := digits(a[i:]), digits(b[i:])
	if na == 0 || nb == 0 || !sameShape(a[i+na:], b[i+nb:]) {
		return orderNone
	}
	x, y := trimZeros(a[i:i+na]), trimZeros(b[i:i+nb])
	switch {
	case len(x) < len(y):
		return orderAfter
	case len(x) > len(y):
		return orderBefore
	}
	switch bytes.Compare(x, y) {
	case -1:
		return orderAfter
	case 1:
		return orderBefore
	}
	return orderNone // "7" and "07"
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if d := word(a[i:]) ^ word(b[i:]); d != 0 {
			return i + bits.TrailingZeros64(d)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// alignedDigits is the usual case of sameShape, for ids of one length: their
// numbers are at the same places, and they part in one of them.
func alignedDigits(a, b []byte) bool {
	if !isDigit(a[0]) || !isDigit(b[0]) {
		return false
	}
	for i := 1; i < len(a); i++ {
		if a[i] != b[i] && (!isDigit(a[i]) || !isDigit(b[i])) {
			return false
		}
	}
	return true
}

// sameShape reports whether a and b are equal but for the digits of their numbers.
func sameShape(a, b []byte) bool {
	for len(a) > 0 && len(b) > 0 {
		na, nb := digits(a), digits(b)
		if na == 0 && nb == 0 {
			if a[0] != b[0] {
				return false
			}
			na, nb = 1, 1
		}
		if na == 0 || nb == 0 {
			return false
		}
		a, b = a[na:], b[nb:]
	}
	return len(a) == len(b)
}

func digits(p []byte) int {
	n := 0
	for n < len(p) && isDigit(p[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func trimZeros(p []byte) []byte { return bytes.TrimLeft(p, "0") }
