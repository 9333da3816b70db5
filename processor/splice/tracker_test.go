package splice

import (
	"slices"
	"strconv"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// trackerModel is what a tracker is, without any of what makes it fast.
type trackerModel struct {
	entries []uint64
	limit   int
	key     uint64
}

func (m *trackerModel) remember(e uint64) (uint64, bool) {
	for _, c := range m.entries {
		if c&nameMask != 0 && (c^e)&m.key == 0 {
			return c, true
		}
	}
	m.append(e)
	return 0, false
}

func (m *trackerModel) append(e uint64) {
	m.entries = append(m.entries, e)
	if len(m.entries) > m.limit {
		m.entries = m.entries[1:]
	}
}

func TestTracker(t *testing.T) {
	// Few names, most of them with the same home in tables of any size, so that
	// every search, eviction and shift meets its neighbours.
	entry := rapid.Custom(func(t *rapid.T) uint64 {
		name := rapid.SampledFrom([]uint64{1, 2, 3, 1 << 16, 2 << 16, 3 << 16, 1<<16 | 31, 31, 63, 1<<16 | 63}).Draw(t, "name")
		return (name+rapid.Uint64Range(0, 6).Draw(t, "spread")<<20)<<32 | rapid.Uint64Range(0, 2).Draw(t, "content")
	})
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.SampledFrom([]int{1, 2, 15, 16, 17, 40, 100}).Draw(rt, "limit")
		key := rapid.SampledFrom([]uint64{nameMask, wholeEntry}).Draw(rt, "key")
		tr, model := newTracker(limit, key), &trackerModel{limit: limit, key: key}
		for range rapid.IntRange(1, 400).Draw(rt, "steps") {
			switch rapid.IntRange(0, 60).Draw(rt, "op") {
			case 0:
				tr.reset()
				model.entries = nil
			case 1:
				tr.load(model.entries)
			case 2, 3, 4, 5, 6, 7, 8, 9:
				e := rapid.Uint64Range(0, 3).Draw(rt, "nameless")
				tr.append(e)
				model.append(e)
			default:
				e := entry.Draw(rt, "entry")
				got, known := tr.remember(e)
				if want, wantKnown := model.remember(e); got != want || known != wantKnown {
					rt.Fatalf("remember(%#x) = %#x %t, want %#x %t", e, got, known, want, wantKnown)
				}
			}
			if got := tr.appendTo(nil); !slices.Equal(got, model.entries) {
				rt.Fatalf("window %#x, want %#x", got, model.entries)
			}
			for i, want := range model.entries {
				if got := tr.at(i); got != want {
					rt.Fatalf("at(%d) = %#x, want %#x", i, got, want)
				}
			}
			for _, want := range model.entries {
				if got, known := tr.lookUp(want); want&nameMask != 0 && (!known || got != want) {
					rt.Fatalf("lookUp(%#x) = %#x %t", want, got, known)
				}
			}
		}
	})
}

func TestTrackerLargest(t *testing.T) {
	k := newHashKey(1)
	tr := newTracker(MaxWindow, wholeEntry)
	for i := range 3 * MaxWindow {
		if _, known := tr.remember(k.alone([]byte(strconv.Itoa(i)))); known {
			t.Fatalf("id %d is new", i)
		}
	}
	for i := 2 * MaxWindow; i < 3*MaxWindow; i++ {
		if _, known := tr.lookUp(k.alone([]byte(strconv.Itoa(i)))); !known {
			t.Fatalf("id %d was forgotten", i)
		}
	}
	if _, known := tr.lookUp(k.alone([]byte(strconv.Itoa(2*MaxWindow - 1)))); known {
		t.Fatal("the window is larger than it may be")
	}
}

// size is what a tracker takes, as the allocator rounds it up.
func (t *tracker) size() int {
	return int(unsafe.Sizeof(*t)) + sizeClass(8*cap(t.ring)) + sizeClass(2*cap(t.links))
}

// sizeClass rounds up as the Go allocator does for the sizes that occur here.
func sizeClass(n int) int {
	for _, c := range []int{0, 64, 128, 256, 512, 1024, 2048, 4096, 8192} {
		if n <= c {
			return c
		}
	}
	return (n + 8191) &^ 8191
}

// The bounds that docs and operators count on.
func TestTrackerSize(t *testing.T) {
	k := newHashKey(1)
	tr := newTracker(DefaultWindow, nameMask)
	if n := tr.size(); n > 96 {
		t.Errorf("%d bytes before the first id, want at most 96", n)
	}
	bounds := map[int]int{10: 300, 100: 1700, DefaultWindow: 12800, 5 * DefaultWindow: 12800}
	for i := range 5 * DefaultWindow {
		tr.remember(k.alone([]byte(strconv.Itoa(i))))
		if most, ok := bounds[i+1]; ok {
			t.Logf("%d bytes at %d ids", tr.size(), i+1)
			if tr.size() > most {
				t.Errorf("%d bytes at %d ids, want at most %d", tr.size(), i+1, most)
			}
		}
	}
}

func TestTrackerAllocations(t *testing.T) {
	k := newHashKey(1)
	tr := newTracker(DefaultWindow, wholeEntry)
	i := 0
	id := make([]byte, 0, 24)
	next := func() {
		i++
		id = strconv.AppendInt(append(id[:0], "event-"...), int64(i), 10)
		tr.remember(k.alone(id))
		tr.remember(k.alone(id))
	}
	for range 2 * DefaultWindow {
		next()
	}
	if n := testing.AllocsPerRun(5000, next); n != 0 {
		t.Errorf("%v allocations per id", n)
	}
}
