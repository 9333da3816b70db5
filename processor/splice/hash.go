package splice

import (
	"encoding/binary"
	"math/bits"
)

// hashKey is the secret that makes tracker entries meaningful. It is stored
// beside them, so that another process, days later, computes the same entries.
//
// A collision loses an event, so nobody who can put text into a stream, be it
// the origin or somebody who writes to it, may be able to make two events look
// alike. That rules out hashes without a key, and those that only take a seed:
// for xxhash, inputs are known that collide under every seed. hash/maphash has a
// key, but one that cannot leave the process.
//
// The hash below multiplies words that are blinded by the key, to 128 bits, and
// folds the product: what Go's runtime does for its maps where there is no AES
// instruction, for the same reason. Its attacks all start from knowing the
// blinding words, or from seeing hashes. Neither is to be had here: the key is
// random for each line, and hashes stay within its state. SipHash-1-3 would do
// without that argument, but takes three to four times as long, which is more
// than everything else that is done about an event's identity.
type hashKey [2]uint64

// Each use of the key has its own domain, so that entries of one kind are never
// taken for another's: a window stored under another Dedup holds no id we know.
const (
	domainOrdered uint64 = 0x9e3779b97f4a7c15 // id of an entry that also has content
	domainContent uint64 = 0xc2b2ae3d27d4eb4f // content
	domainAlone   uint64 = 0x165667b19e3779f9 // id of an entry that is only an id
	domainBare    uint64 = 0x27d4eb2f165667c5 // the same of a block without data
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

// sum hashes p under the key, within a domain.
func (k hashKey) sum(domain uint64, p []byte) uint64 {
	var (
		n    = uint64(len(p))
		left = k[0] ^ domain
		h    = k[1] ^ bits.RotateLeft64(domain, 32)
	)
	if len(p) > 64 {
		// Four lanes, because a product is used only after several cycles.
		left1, left2, left3 := left^lane1, left^lane2, left^lane3
		h1, h2, h3 := h, h, h
		for len(p) > 64 {
			h = fold(word(p)^left, word(p[8:])^h)
			h1 = fold(word(p[16:])^left1, word(p[24:])^h1)
			h2 = fold(word(p[32:])^left2, word(p[40:])^h2)
			h3 = fold(word(p[48:])^left3, word(p[56:])^h3)
			p = p[64:]
		}
		h = fold(h^left1, h1^k[1]) ^ fold(h2^left2, h3^k[1])
	}
	for len(p) > 16 {
		h = fold(word(p)^left, word(p[8:])^h)
		p = p[16:]
	}
	// At most 16 bytes are left. Which of them are read twice depends on n only.
	var a, b uint64
	switch {
	case len(p) >= 8:
		a, b = word(p), word(p[len(p)-8:])
	case len(p) >= 4:
		a, b = halfWord(p), halfWord(p[len(p)-4:])
	case len(p) > 0:
		a = uint64(p[0])<<16 | uint64(p[len(p)/2])<<8 | uint64(p[len(p)-1])
	}
	h = fold(a^left, b^h)
	return fold(h^left, n^k[1])
}

// Differences between the lanes, so that words cannot change places.
const (
	lane1 uint64 = 0x8ebc6af09c88c6e3
	lane2 uint64 = 0x589965cc75374cc3
	lane3 uint64 = 0x1d8e4e27c47d124f
)

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func word(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

func halfWord(p []byte) uint64 { return uint64(binary.LittleEndian.Uint32(p)) }
