package splice

import (
	"encoding/binary"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

// sipReference is SipHash-c-d as the paper writes it, sentence by sentence.
// https://www.aumasson.jp/siphash/siphash.pdf, 2.2 to 2.4
func sipReference(c, d int, k0, k1 uint64, b []byte) uint64 {
	v := [4]uint64{
		k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573,
	}
	round := func() {
		v[0] += v[1]
		v[1] = bits.RotateLeft64(v[1], 13)
		v[1] ^= v[0]
		v[0] = bits.RotateLeft64(v[0], 32)
		v[2] += v[3]
		v[3] = bits.RotateLeft64(v[3], 16)
		v[3] ^= v[2]
		v[0] += v[3]
		v[3] = bits.RotateLeft64(v[3], 21)
		v[3] ^= v[0]
		v[2] += v[1]
		v[1] = bits.RotateLeft64(v[1], 17)
		v[1] ^= v[2]
		v[2] = bits.RotateLeft64(v[2], 32)
	}
	padded := append([]byte(nil), b...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(b)))
	for i := 0; i < len(padded); i += 8 {
		m := binary.LittleEndian.Uint64(padded[i:])
		v[3] ^= m
		for range c {
			round()
		}
		v[0] ^= m
	}
	v[2] ^= 0xff
	for range d {
		round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func TestSipReference(t *testing.T) {
	// Appendix A of the paper: SipHash-2-4 of 00 01 .. 0e under the key 00 .. 0f.
	var in [15]byte
	for i := range in {
		in[i] = byte(i)
	}
	if h := sipReference(2, 4, 0x0706050403020100, 0x0f0e0d0c0b0a0908, in[:]); h != 0xa129ca6149be45e5 {
		t.Errorf("the reference itself is wrong: %#x", h)
	}
}

func TestHash(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := hashKey{rapid.Uint64().Draw(rt, "k0"), rapid.Uint64().Draw(rt, "k1")}
		domain := rapid.SampledFrom([]uint64{domainOrdered, domainContent, domainAlone}).Draw(rt, "domain")
		b := rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(rt, "bytes")
		if got, want := k.sum(domain, b), sipReference(1, 3, k[0]^domain, k[1], b); got != want {
			rt.Fatalf("%#x, want %#x", got, want)
		}
	})
}

// A line's entries are for its own key: what a client or origin of one line
// learns about collisions is worth nothing on another.
func TestHashIsKeyed(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(1000) {
		k := newHashKey(seed)
		if k == (hashKey{}) {
			t.Fatalf("seed %d gives the key that stands for none", seed)
		}
		for _, e := range []uint64{k.alone([]byte("42")), k.name([]byte("42"))} {
			if seen[e] || e&nameMask == 0 {
				t.Fatalf("seed %d: entry %#x came before, or has no name", seed, e)
			}
			seen[e] = true
		}
	}
}
