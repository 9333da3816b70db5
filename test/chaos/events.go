package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
)

// appendEvent appends event n of a stream, of 1 to 4 lines of data and some 40 to
// 600 bytes. It depends on nothing but its name, so that an origin that was killed
// has lost nothing, and whoever reads it knows what is right.
func appendEvent(b []byte, stream string, n int) []byte {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", stream, n)
	r := rand.New(rand.NewPCG(h.Sum64(), 0))
	b = fmt.Appendf(b, "id: %d\n", n)
	for range 1 + r.IntN(4) {
		b = fmt.Appendf(b, "data: %s %d %s\n", stream, n, strings.Repeat("x", r.IntN(120)))
	}
	return append(b, '\n')
}
