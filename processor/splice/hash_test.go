package splice

import (
	"bytes"
	"math/bits"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func testKeys() []hashKey {
	var ks []hashKey
	for seed := range uint64(3) {
		ks = append(ks, newHashKey(seed*12345))
	}
	return ks
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

// Stored windows are read by later versions: the function is for ever.
func TestHashIsStable(t *testing.T) {
	k := newHashKey(1)
	for _, tt := range []struct {
		n    int
		want uint64
	}{} {
		p := []byte(strings.Repeat("0123456789", 20)[:tt.n])
		if h := k.sum(domainContent, p); h != tt.want {
			t.Errorf("%d bytes: %#x, want %#x", tt.n, h, tt.want)
		}
	}
}

// Inputs that are alike, of every length: each half of the hash must tell them
// apart, as entries use the halves for different things.
func TestHashCollisions(t *testing.T) {
	inputs := map[string][][]byte{}
	for i := range 50_000 {
		inputs["counter"] = append(inputs["counter"], strconv.AppendInt(nil, int64(i), 10))
		inputs["token"] = append(inputs["token"], []byte(`id: 7`+"\n"+`data: {"choices":[{"delta":{"content":"`+strconv.Itoa(i)+`"}}],"model":"m"}`))
		inputs["zeros"] = append(inputs["zeros"], []byte(strings.Repeat("\x00", i%700)+strconv.Itoa(i/700)))
	}
	base := bytes.Repeat([]byte{0}, 300)
	inputs["one bit"] = append(inputs["one bit"], base)
	for i := range 8 * len(base) {
		p := bytes.Clone(base)
		p[i/8] ^= 1 << (i % 8)
		inputs["one bit"] = append(inputs["one bit"], p)
	}
	for i := range 19 { // the same words in other places
		for j := range i {
			p := bytes.Clone(base)
			p[8*i], p[8*j] = 1, 2
			inputs["two words"] = append(inputs["two words"], p)
			q := bytes.Clone(base)
			q[8*i], q[8*j] = 2, 1
			inputs["two words"] = append(inputs["two words"], q)
		}
	}
	for name, ps := range inputs {
		for _, k := range testKeys() {
			whole, upper, lower := map[uint64]bool{}, map[uint32]int{}, map[uint32]int{}
			for _, p := range ps {
				h := k.sum(domainContent, p)
				whole[h] = true
				upper[uint32(h>>32)]++
				lower[uint32(h)]++
			}
			// Of 50,000 random 32-bit numbers, a pair is equal in one case of three.
			most := len(ps) - 10
			if len(whole) != len(ps) || len(upper) < most || len(lower) < most {
				t.Errorf("%s: %d inputs, %d hashes, %d upper and %d lower halves", name, len(ps), len(whole), len(upper), len(lower))
			}
		}
	}
}

// One bit of input changes each bit of the hash half of the time.
func TestHashAvalanche(t *testing.T) {
	for _, n := range []int{1, 3, 8, 12, 16, 24, 40, 64, 65, 130} {
		flips := [64]int{}
		trials := 0
		for _, k := range testKeys() {
			for round := range 64 {
				p := bytes.Repeat([]byte{byte(round), 0x55, byte(round * 7)}, n)[:n]
				h := k.sum(domainOrdered, p)
				for bit := range 8 * n {
					p[bit/8] ^= 1 << (bit % 8)
					for d := h ^ k.sum(domainOrdered, p); d != 0; d &= d - 1 {
						flips[bits.TrailingZeros64(d)]++
					}
					p[bit/8] ^= 1 << (bit % 8)
					trials++
				}
			}
		}
		for bit, f := range flips {
			if share := float64(f) / float64(trials); share < 0.42 || share > 0.58 {
				t.Errorf("%d bytes: bit %d flips in %.2f of all cases", n, bit, share)
			}
		}
	}
}

// Domains are apart, and bytes beyond the slice do not count.
func TestHashReadsItsInputOnly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := newHashKey(rapid.Uint64().Draw(rt, "seed"))
		p := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "bytes")
		h := k.sum(domainAlone, p)
		if h == k.sum(domainOrdered, p) || h == k.sum(domainContent, p) {
			rt.Fatalf("two domains, one hash: %#x", h)
		}
		longer := append(bytes.Clone(p), 'x')
		if h != k.sum(domainAlone, longer[:len(p)]) {
			rt.Fatalf("the byte behind counts")
		}
		if h == k.sum(domainAlone, longer) || h == k.sum(domainAlone, append(bytes.Clone(p), 0)) {
			rt.Fatalf("one byte more changes nothing")
		}
	})
}
