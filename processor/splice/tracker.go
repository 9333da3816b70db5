package splice

// tracker is the memory of a session's most recent events: a first-in-first-out
// window of 64-bit entries with an index over it.
//
// Sessions are counted in hundreds of thousands, so it is built to be small and
// to be invisible to the garbage collector: a ring of entries in order of
// arrival, and chains of 16-bit links through it, one chain for each value of
// the lowest bits of a name. A new entry becomes the head of its chain, so along
// a chain entries only get older, and the first one that has left the window
// ends it: nothing is ever taken out of a chain. (zlib finds its matches in a
// sliding window in this way.) Both parts grow on demand up to the limit; once
// there, nothing allocates. A full window of 1000 takes 12 KiB.
//
// An entry's key is the part of it that names the event: keys are unique within
// the index. Entries with a zero upper half have no name and are in no chain;
// they only keep their place in the order.
type tracker struct {
	ring []uint64 // entries by position; the newest is before next, wrapping
	// links has first the heads, a power of two, and then for each position the
	// next older entry of the chain. A link is a position + 1; 0 is none.
	links []uint16
	key   uint64 // mask over an entry: the bits that are its key
	gone  uint64 // entries that others took the place of
	next  uint16 // position of the next entry
	n     uint16
	limit uint16
}

const (
	trackerFirst        = 16                // entries of the first ring: most sessions see few events
	nameMask     uint64 = 0xffff_ffff << 32 // the name of an entry
	wholeEntry   uint64 = 1<<64 - 1
)

// newTracker returns a tracker of at most limit entries whose keys are the
// bits in key, the name among them. It takes no memory until the first entry.
func newTracker(limit int, key uint64) tracker {
	return tracker{limit: uint16(limit), key: key}
}

func (t *tracker) len() int { return int(t.n) }

// at returns the i-th entry, 0 being the oldest.
func (t *tracker) at(i int) uint64 {
	p := int(t.next) - int(t.n) + i
	if p < 0 {
		p += len(t.ring)
	}
	return t.ring[p]
}

// lookUp returns the entry with e's key, if there is one.
func (t *tracker) lookUp(e uint64) (earlier uint64, known bool) {
	if t.n == 0 {
		return 0, false
	}
	ring, key := t.ring, t.key
	heads := len(t.links) - len(ring)
	older := t.links[heads:]
	mask := uint64(heads - 1)
	newest, last := int(t.next)-1, -1
	for link := t.links[e>>32&mask]; link != 0; {
		p := int(link) - 1
		age := newest - p
		age += age >> 63 & len(ring)
		c := ring[p]
		if age <= last || (c^e)>>32&mask != 0 {
			// The entry that was linked has left the window, and with it all
			// that were older: another one has its position now.
			break
		}
		if (c^e)&key == 0 {
			return c, true
		}
		last, link = age, older[p]
	}
	return 0, false
}

// find returns the place of the entry with e's key, counted from the oldest, or
// -1. It walks the window: places are wanted once a resume, and entries mostly
// every event.
func (t *tracker) find(e uint64) int {
	for i := t.len() - 1; i >= 0; i-- {
		if (t.at(i)^e)&t.key == 0 {
			return i
		}
	}
	return -1
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

// append makes e the newest entry, over the oldest one if the window is full. Its
// key must not be in the index.
func (t *tracker) append(e uint64) {
	if int(t.n) == len(t.ring) {
		if t.n < t.limit {
			t.grow()
		} else {
			t.n--
			t.gone++
		}
	}
	t.put(e)
}

// put is append where there is room.
func (t *tracker) put(e uint64) {
	p := int(t.next)
	heads := len(t.links) - len(t.ring)
	t.ring[p] = e
	t.links[heads+p] = 0
	if e&nameMask != 0 {
		head := &t.links[int(e>>32)&(heads-1)]
		t.links[heads+p] = *head
		*head = uint16(p + 1)
	}
	if p++; p == len(t.ring) {
		p = 0
	}
	t.next = uint16(p)
	t.n++
}

// dropNewest takes the n newest entries back, none of which has a name.
func (t *tracker) dropNewest(n int) {
	for range n {
		if t.next == 0 {
			t.next = uint16(len(t.ring))
		}
		t.next--
		t.n--
	}
}

func (t *tracker) grow() {
	size := min(max(trackerFirst, 2*len(t.ring)), int(t.limit))
	heads := trackerFirst
	for heads < size {
		heads *= 2
	}
	old := *t
	t.ring, t.links = make([]uint64, size), make([]uint16, heads+size)
	t.next, t.n = 0, 0
	for i := range old.len() {
		t.put(old.at(i))
	}
}

// appendTo appends the window to dst, oldest first.
func (t *tracker) appendTo(dst []uint64) []uint64 {
	begin := int(t.next) - int(t.n)
	if begin < 0 {
		dst = append(dst, t.ring[begin+len(t.ring):]...)
		begin = 0
	}
	return append(dst, t.ring[begin:t.next]...)
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
	t.ring, t.links, t.next, t.n, t.gone = nil, nil, 0, 0, 0
}
