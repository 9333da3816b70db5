package kept

import "time"

// record is what is known of a record beside its bytes.
type record struct {
	wire uint32 // length
	at   uint32 // milliseconds after records.base
	id   uint16 // length
}

func (r record) size() int { return int(r.id) + int(r.wire) }

// records is a queue in a ring that grows.
type records struct {
	base time.Time // of the first record that was ever pushed, or later
	ring []record
	head int // the oldest
	n    int
}

func (q *records) push(now time.Time, id, wire int) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[q.index(q.n)] = record{wire: uint32(wire), at: q.since(now), id: uint16(id)}
	q.n++
}

// since is the time after base. A clock that was set back makes a record no older
// than the base.
func (q *records) since(now time.Time) uint32 {
	if q.base.IsZero() {
		q.base = now
	}
	ms := now.Sub(q.base).Milliseconds()
	if ms >= 1<<32 { // 49 days
		q.rebase(ms - 1<<31)
		ms = now.Sub(q.base).Milliseconds()
	}
	return uint32(max(ms, 0))
}

// rebase moves the base on. What lies before it becomes younger than it is.
func (q *records) rebase(ms int64) {
	q.base = q.base.Add(time.Duration(ms) * time.Millisecond)
	for i := range q.ring {
		q.ring[i].at = uint32(max(int64(q.ring[i].at)-ms, 0))
	}
}

func (q *records) grow() {
	more := len(q.ring) / 2
	if len(q.ring) >= 512 {
		more /= 4 // most logs end at a thousand
	}
	ring := make([]record, max(minWindow, len(q.ring)+more))
	for i := range q.n {
		ring[i] = q.at(i)
	}
	q.ring, q.head = ring, 0
}

// at is the i-th, from the oldest.
func (q *records) at(i int) record { return q.ring[q.index(i)] }

func (q *records) index(i int) int {
	if i += q.head; i >= len(q.ring) {
		i -= len(q.ring)
	}
	return i
}

func (q *records) time(r record) time.Time {
	return q.base.Add(time.Duration(r.at) * time.Millisecond)
}

// oldest is the time of the oldest. There is one.
func (q *records) oldest() time.Time { return q.time(q.at(0)) }

func (q *records) pop() (id, wire int) {
	r := q.at(0)
	q.head = q.index(1)
	q.n--
	return int(r.id), int(r.wire)
}

func (q *records) clear() { q.head, q.n = 0, 0 }
