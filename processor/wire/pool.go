package wire

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

const (
	smallestBits = 8  // 256 bytes
	largestBits  = 20 // 1 MiB
)

// Pool is a mem.BufferPool with a size for every power of two from 256 bytes to
// 1 MiB. It differs from grpc-go's pools in two things that a chunk of some KiB
// pays for: theirs has nothing between 32 KiB and 1 MiB, and clears all of a
// buffer before it hands it out. Whoever gets a buffer here finds old bytes in
// it and must fill it; grpc-go and [Codec] do.
//
// The zero Pool is ready for use, and safe for concurrent use.
type Pool struct {
	tiers [largestBits - smallestBits + 1]sync.Pool // *[]byte, by size
}

var _ mem.BufferPool = (*Pool)(nil)

// Get returns a buffer of that length.
func (p *Pool) Get(length int) *[]byte {
	tier := max(bits.Len(uint(max(length, 1)-1)), smallestBits) // of the power of two at or above it
	if tier > largestBits {
		b := make([]byte, length)
		return &b
	}
	if b, ok := p.tiers[tier-smallestBits].Get().(*[]byte); ok {
		*b = (*b)[:length]
		return b
	}
	b := make([]byte, length, 1<<tier)
	return &b
}

// Put takes a buffer back that is not used any more.
func (p *Pool) Put(b *[]byte) {
	size := cap(*b)
	tier := bits.Len(uint(size)) - 1
	if size == 0 || size != 1<<tier || tier < smallestBits || tier > largestBits {
		return // not one of ours
	}
	p.tiers[tier-smallestBits].Put(b)
}
