package wire

import "testing"

func TestPool(t *testing.T) {
	var p Pool
	for _, n := range []int{0, 1, 255, 256, 257, 4096, 4097, 65536, 65537, 1 << 20, 1<<20 + 1, 5 << 20} {
		b := p.Get(n)
		if len(*b) != n {
			t.Errorf("Get(%d) has length %d", n, len(*b))
		}
		if n <= 1<<20 && (cap(*b) < 256 || cap(*b) > 256 && cap(*b) >= 2*n && n > 1) {
			t.Errorf("Get(%d) has capacity %d", n, cap(*b))
		}
		*b = (*b)[:n/2] // "a prefix of the buffer"
		p.Put(b)
		if again := p.Get(n); len(*again) != n {
			t.Errorf("Get(%d) after Put has length %d", n, len(*again))
		}
	}
	p.Put(new([]byte))
	odd := make([]byte, 1000)
	p.Put(&odd)
	if b := p.Get(1000); cap(*b) != 1024 {
		t.Errorf("a foreign buffer was kept: capacity %d", cap(*b))
	}
}
