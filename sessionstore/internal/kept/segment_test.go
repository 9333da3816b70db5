package kept

import "testing"

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
