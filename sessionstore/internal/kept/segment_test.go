package kept

import (
	"testing"
	"time"

	"holdfast/sessionstore"
)

// TestEvictGetsOn: a store that is over its bound evicts until it is not, so each
// time has to free something, also where a segment is stored in part.
func TestEvictGetsOn(t *testing.T) {
	var memory Memory
	a := NewArena(&memory)
	lg := newLog(&sessionstore.Key{Log: sessionstore.LogLimits{Events: 1000}})
	now := time.Unix(0, 0)
	wire := make([]byte, 1000)
	for seq := uint64(1); len(lg.segments) < 6; seq++ {
		if err := lg.Append(&a, 1, now, []sessionstore.Record{{Seq: seq, Wire: wire}}); err != nil {
			t.Fatal(err)
		}
	}
	lg.SetStored(lg.newest - uint64(lg.segments[len(lg.segments)-1].n) - 1) // all but the last of a segment, and what follows
	for memory.Bytes() > 0 {
		before := memory.Bytes()
		a.evict()
		if memory.Bytes() >= before {
			t.Fatalf("%d bytes stay, with %d segments", before, len(lg.segments))
		}
		if oldest, ok := a.order(); ok && oldest != lg.segments[0].order {
			t.Fatalf("the arena's oldest segment is %d, the log's %d", oldest, lg.segments[0].order)
		}
	}
}

func TestSegmentClasses(t *testing.T) {
	seen := make(map[int]int) // class: size
	for room := 1; room <= hugest+1000; room += 97 {
		size, class := classOf(room)
		if size < room || size > max(room, room*5/4+1) {
			t.Fatalf("%d bytes for %d", size, room)
		}
		if pooled := room >= maxSegment && room <= hugest; pooled != (class >= 0) || class >= classes {
			t.Fatalf("class %d for %d bytes", class, room)
		}
		if class < 0 {
			continue
		}
		if other, ok := seen[class]; ok && other != size {
			t.Fatalf("class %d holds %d and %d bytes", class, other, size)
		}
		seen[class] = size
		if again, same := classOf(size); again != size || same != class {
			t.Fatalf("a segment of %d bytes comes back as one of %d, in class %d", size, again, same)
		}
	}
}
