package splice

import (
	"encoding/binary"
	"math/bits"
)

// hashKey is the secret that makes tracker entries meaningful. It is stored
// beside them, so that another process, days later, computes the same entries.
//
// The hash is SipHash-1-3 (https://www.aumasson.jp/siphash/siphash.pdf), a keyed
// function that resists an adversary who chooses the inputs. That matters here,
// because a collision loses an event: a hostile origin, or whoever can put text
// into somebody else's stream, must not be able to make two events look alike.
// xxhash only takes a seed, and inputs that collide for every seed are known;
// hash/maphash is keyed, but its key cannot leave the process. SipHash costs
// some 10 ns for an id, which is in the noise of a message's journey.
type hashKey [2]uint64

// Each use of the key has its own domain, so that entries of one kind are never
// taken for another's: a window stored under another Dedup holds no id we know.
const (
	domainOrdered uint64 = 0x9e3779b97f4a7c15 // id of an entry that also has content
	domainContent uint64 = 0xc2b2ae3d27d4eb4f // content
	domainAlone   uint64 = 0x165667b19e3779f9 // id of an entry that is only an id
)

// newHashKey spreads a seed over a key (SplitMix64); never the zero key, which
// stands for none.
func newHashKey(seed uint64) hashKey {
	next := func() uint64 {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	return hashKey{next() | 1, next()}
}

// sum is SipHash-1-3 of p under the key, within a domain.
func (k hashKey) sum(domain uint64, p []byte) uint64 {
	k0, k1 := k[0]^domain, k[1]
	v0 := k0 ^ 0x736f6d6570736575
	v1 := k1 ^ 0x646f72616e646f6d
	v2 := k0 ^ 0x6c7967656e657261
	v3 := k1 ^ 0x7465646279746573

	last := uint64(len(p)) << 56
	for len(p) >= 8 {
		m := binary.LittleEndian.Uint64(p)
		p = p[8:]
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, c := range p {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last

	v2 ^= 0xff
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v1
	v0 += v3
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
