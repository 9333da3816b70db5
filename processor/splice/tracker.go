package splice

// tracker is the memory of a session's most recent events: a first-in-first-out
// window of 64-bit entries with an index over it.
//
// Sessions are counted in hundreds of thousands, so it is built to be small and
// to be invisible to the garbage collector: a ring of entries in order of
// arrival, and an open-addressing table of 16-bit slots that point into it.
// Both grow on demand up to the limit; once there, nothing allocates. A full
// window of 1000 takes 12 KiB.
//
// An entry's key is the part of it that names the event: keys are unique within
// the index. Entries with a zero upper half have no name and are in no slot;
// they only keep their place in the order.
type tracker struct {
	ring  []uint64 // entries, the oldest at head, wrapping
	slots []uint16 // position in ring + 1, or 0 for free; a power of two, at least twice the ring
	key   uint64   // mask over an entry: the bits that are its key
	head  uint16
	n     uint16
	limit uint16
}

const (
	trackerFirst        = 16                // entries of the first ring: most sessions see few events
	nameMask     uint64 = 0xffff_ffff << 32 // the name of an entry
	wholeEntry   uint64 = 1<<64 - 1
)

// newTracker returns a tracker of at most limit entries whose keys are the
// bits in key. It takes no memory until the first entry.
func newTracker(limit int, key uint64) tracker {
	return tracker{limit: uint16(limit), key: key}
}

func (t *tracker) len() int { return int(t.n) }

// at returns the i-th entry, 0 being the oldest.
func (t *tracker) at(i int) uint64 { return t.ring[t.position(i)] }

func (t *tracker) position(i int) int {
	i += int(t.head)
	if i >= len(t.ring) {
		i -= len(t.ring)
	}
	return i
}

// lookUp returns the entry with e's key, if there is one.
func (t *tracker) lookUp(e uint64) (earlier uint64, known bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	for i := t.home(e); t.slots[i] != 0; i = t.next(i) {
		if c := t.ring[t.slots[i]-1]; (c^e)&t.key == 0 {
			return c, true
		}
	}
	return 0, false
}

// remember is lookUp, but if there is no such entry, e becomes the newest one. A
// repeat neither moves nor refreshes an entry, so the window keeps the order of
// first arrival.
func (t *tracker) remember(e uint64) (earlier uint64, known bool) {
	if earlier, known = t.lookUp(e); !known {
		t.append(e)
	}
	return earlier, known
}

// append adds an entry whose key is not in the index, or one without a name.
func (t *tracker) append(e uint64) {
	if t.n == uint16(len(t.ring)) {
		if t.n < t.limit {
			t.grow()
		} else {
			t.evict()
		}
	}
	p := t.position(int(t.n))
	t.ring[p] = e
	t.n++
	if e&nameMask != 0 {
		t.index(e, p)
	}
}

// evict forgets the oldest entry.
func (t *tracker) evict() {
	p := int(t.head)
	if e := t.ring[p]; e&nameMask != 0 {
		i := t.home(e)
		for int(t.slots[i]) != p+1 {
			i = t.next(i)
		}
		t.free(i)
	}
	t.head = uint16(t.position(1))
	t.n--
}

// free empties slot i and closes the hole: whatever follows without a gap moves
// back if its home lets it, so that no search ever stops short of its entry
// (Knuth, The Art of Computer Programming 3, 6.4, Algorithm R).
func (t *tracker) free(i int) {
	mask := len(t.slots) - 1
	for j := t.next(i); t.slots[j] != 0; j = t.next(j) {
		home := t.home(t.ring[t.slots[j]-1])
		if (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = 0
}

func (t *tracker) grow() {
	size := min(max(trackerFirst, 2*len(t.ring)), int(t.limit))
	t.resize(t.appendTo(make([]uint64, 0, size)))
}

// resize takes over entries, oldest first, with room up to their capacity.
func (t *tracker) resize(entries []uint64) {
	slots := 2 * trackerFirst
	for slots < 2*cap(entries) {
		slots *= 2
	}
	t.slots = make([]uint16, slots)
	t.ring = entries[:cap(entries)]
	t.head, t.n = 0, uint16(len(entries))
	for p, e := range entries {
		if e&nameMask != 0 {
			t.index(e, p)
		}
	}
}

func (t *tracker) index(e uint64, position int) {
	i := t.home(e)
	for t.slots[i] != 0 {
		i = t.next(i)
	}
	t.slots[i] = uint16(position + 1)
}

// home is where a key's search begins. It uses the upper half, which is part of
// every key and, coming from a keyed hash, evenly spread.
func (t *tracker) home(e uint64) int { return int(e>>32) & (len(t.slots) - 1) }

func (t *tracker) next(i int) int { return (i + 1) & (len(t.slots) - 1) }

// appendTo appends the window to dst, oldest first.
func (t *tracker) appendTo(dst []uint64) []uint64 {
	end := int(t.head) + int(t.n)
	if end <= len(t.ring) {
		return append(dst, t.ring[t.head:end]...)
	}
	dst = append(dst, t.ring[t.head:]...)
	return append(dst, t.ring[:end-len(t.ring)]...)
}

// load replaces the window by the newest of the given entries, oldest first, as
// many as fit. Of entries with the same key only the first is kept.
func (t *tracker) load(entries []uint64) {
	t.reset()
	if over := len(entries) - int(t.limit); over > 0 {
		entries = entries[over:]
	}
	for _, e := range entries {
		if e&nameMask == 0 {
			t.append(e)
		} else {
			t.remember(e)
		}
	}
}

// reset forgets every entry and gives the memory back.
func (t *tracker) reset() {
	t.ring, t.slots, t.head, t.n = nil, nil, 0, 0
}
