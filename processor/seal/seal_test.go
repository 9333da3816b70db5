package seal

import (
	"bytes"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/processor/keyfile"
)

var (
	keyA  = bytes.Repeat([]byte("a"), keyfile.KeyBytes)
	keyB  = bytes.Repeat([]byte("b"), keyfile.KeyBytes)
	mine  = Scope{1, 2, 3}
	other = Scope{1, 2, 4}
	here  = Cursor{Method: "GET", Mark: Mark{7}, Number: 12, Token: 1, Seq: 345, Origin: []byte("41")}
)

func newSealer(t testing.TB, keys ...[]byte) *Sealer {
	t.Helper()
	s, err := New(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(s *Sealer, scope Scope, c Cursor) string { return string(s.Append(nil, &scope, &c)) }

func wantOpen(t testing.TB, s *Sealer, id string, want Cursor) {
	t.Helper()
	if got, ok := s.Open(id, &mine); !ok || !reflect.DeepEqual(got, want) {
		t.Fatalf("Open(%q) = %+v, %v, want %+v", id, got, ok, want)
	}
}

func wantNone(t testing.TB, s *Sealer, id string, scope Scope) {
	t.Helper()
	if got, ok := s.Open(id, &scope); ok || !reflect.DeepEqual(got, Cursor{}) {
		t.Fatalf("Open(%q) = %+v, %v", id, got, ok)
	}
}

func TestWhatIsSealedIsOpened(t *testing.T) {
	s := newSealer(t, keyA)
	header := regexp.MustCompile(`^[A-Za-z0-9_-]{1,160}$`)
	rapid.Check(t, func(t *rapid.T) {
		c := Cursor{
			Method:   rapid.SampledFrom([]string{"GET", "POST", "PATCH", "UPDATEREDIRECTREF", "M", ""}).Draw(t, "method"),
			Number:   rapid.Uint64().Draw(t, "number"),
			Token:    rapid.Uint64().Draw(t, "token"),
			Seq:      rapid.Uint64().Draw(t, "seq"),
			Epoch:    rapid.Uint32().Draw(t, "epoch"),
			Origin:   rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "origin"),
			Referred: rapid.Bool().Draw(t, "referred"),
		}
		copy(c.Mark[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "mark"))
		id := sealed(s, mine, c)
		if !header.MatchString(id) {
			t.Fatalf("%q is no value for a header", id)
		}
		got, ok := s.Open(id, &mine)
		if got.Referred {
			c.Origin, c.Referred = nil, true
		}
		if !ok || !reflect.DeepEqual(got, c) {
			t.Fatalf("Open = %+v, %v, want %+v", got, ok, c)
		}
	})
}

// TestUsualCursorsFit: what origins use in the field does not need the log.
func TestUsualCursorsFit(t *testing.T) {
	s := newSealer(t, keyA)
	for _, origin := range []string{
		"",
		"1",
		"urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
		"6ba7b810-9dad-11d1-80b4-00c04fd430c8_1785600000000_a1b2c3d4", // MCP, TypeScript
	} {
		c := Cursor{Method: "POST", Number: 1_000_000, Token: 3, Seq: 10_000, Epoch: 2}
		if origin != "" {
			c.Origin = []byte(origin)
		}
		wantOpen(t, s, sealed(s, mine, c), c)
	}
}

func TestLongCursorIsReferredTo(t *testing.T) {
	s := newSealer(t, keyA)
	c := here
	c.Origin = bytes.Repeat([]byte("x"), 200)
	id := sealed(s, mine, c)
	c.Origin, c.Referred = nil, true
	wantOpen(t, s, id, c)

	c = Cursor{
		Method: strings.Repeat("M", maxMethod), Number: math.MaxUint64, Token: math.MaxUint64, Seq: math.MaxUint64,
		Epoch: math.MaxUint32, Origin: []byte("x"),
	}
	id = sealed(s, mine, c)
	if len(id) > MaxID {
		t.Errorf("%d characters", len(id))
	}
	got, ok := s.Open(id, &mine)
	if got.Origin, got.Referred = c.Origin, false; !ok || !reflect.DeepEqual(got, c) {
		t.Errorf("Open = %+v, %v", got, ok)
	}

	c.Method += "M"
	got, _ = s.Open(sealed(s, mine, c), &mine)
	if got.Method != "" || got.Number != c.Number {
		t.Errorf("a method too long to be spelled: %+v", got)
	}
}

func TestIDsAreOpaque(t *testing.T) {
	s := newSealer(t, keyA)
	one, two := sealed(s, mine, here), sealed(s, mine, here)
	same := 0
	for i := range one {
		if one[i] == two[i] {
			same++
		}
	}
	// Version and tag are the same, the rest by chance.
	if one == two || same > len(one)/4 {
		t.Errorf("two ids of one cursor are alike: %s %s", one, two)
	}
}

func TestForeignIDs(t *testing.T) {
	s := newSealer(t, keyA)
	id := sealed(s, mine, here)
	wantNone(t, s, id, other)
	wantNone(t, newSealer(t, keyB), id, mine)
	wantOpen(t, s, id, here)
}

// TestChangedBits: no bit of an id is without meaning.
func TestChangedBits(t *testing.T) {
	s := newSealer(t, keyA, keyB)
	id := sealed(s, mine, here)
	raw, err := encoding.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		wantNone(t, s, encoding.EncodeToString(raw), mine)
		raw[i/8] ^= 1 << (i % 8)
	}
	wantOpen(t, s, encoding.EncodeToString(raw), here)
}

func TestWhatIsNoID(t *testing.T) {
	s := newSealer(t, keyA)
	id := sealed(s, mine, here)
	for name, bad := range map[string]string{
		"empty":           "",
		"an origin's":     "41",
		"cut":             id[:len(id)-1],
		"cut in half":     id[:len(id)/2],
		"more":            id + "AAAA",
		"padding":         id + "=",
		"line end":        id[:10] + "\n" + id[10:],
		"carriage return": id + "\r",
		"blank":           id + " ",
		"standard base64": "+/+/" + id[4:],
		"not ascii":       id[:20] + "ä" + id[21:],
		"two in one":      id + "," + id,
		"too long":        strings.Repeat("A", MaxID+1),
		"very long":       strings.Repeat("A", 1<<20),
		"nothing sealed":  encoding.EncodeToString(make([]byte, minRaw)),
	} {
		t.Run(name, func(t *testing.T) { wantNone(t, s, bad, mine) })
	}
}

// TestSealedByOthers: a key may one day seal what this version cannot read.
func TestSealedByOthers(t *testing.T) {
	s := newSealer(t, keyA)
	k := (*s.keys.Load())[0]
	var sc scratch
	for name, plain := range map[string][]byte{
		"nothing":          {},
		"unknown method":   append([]byte{9}, make([]byte, 12)...),
		"unknown flag":     append([]byte{0x81}, make([]byte, 12)...),
		"half a mark":      {methodGET, 1, 2, 3},
		"no numbers":       append([]byte{methodGET}, make([]byte, 8)...),
		"unfinished":       append([]byte{methodGET}, append(make([]byte, 11), 0x80)...),
		"too large":        append([]byte{methodGET}, append(make([]byte, 11), 0xff, 0xff, 0xff, 0xff, 0xff, 1)...),
		"method without":   {methodSpelled},
		"method too short": {methodSpelled, 5, 'P', 'A'},
		"method too long":  append([]byte{methodSpelled, maxMethod + 1}, make([]byte, 60)...),
	} {
		t.Run(name, func(t *testing.T) {
			raw := make([]byte, sealedAt, maxRaw)
			raw[0], raw[tagAt] = version, k.tag
			raw = k.aead.Seal(raw, raw[nonceAt:], plain, sc.bind(k.tag, &mine))
			wantNone(t, s, encoding.EncodeToString(raw), mine)
		})
	}
}

func TestKeyRotation(t *testing.T) {
	before, during, after := newSealer(t, keyA), newSealer(t, keyB, keyA), newSealer(t, keyB)
	wantOpen(t, during, sealed(before, mine, here), here)
	wantOpen(t, after, sealed(during, mine, here), here) // the first key seals
	wantNone(t, after, sealed(before, mine, here), mine)
	wantNone(t, before, sealed(during, mine, here), mine)

	s := newSealer(t, keyA)
	id := sealed(s, mine, here)
	if err := s.SetKeys([][]byte{keyB, keyA}); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, s, id, here)
	wantOpen(t, after, sealed(s, mine, here), here)
	if err := s.SetKeys([][]byte{keyA[1:]}); err == nil || !strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("a short key: %v", err)
	}
	wantOpen(t, s, id, here) // the keys before are still there
}

func TestNoKeys(t *testing.T) {
	if _, err := New(nil); err == nil || !strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("no keys: %v", err)
	}
}

// TestGolden pins the format: replicas of two versions may meet, and clients
// outlive both.
func TestGolden(t *testing.T) {
	const id = "Ae8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFheRLJ9rzElE654AdH1yVrY06mGGocSNI0hv9tnKsSUoWA"
	s := newSealer(t, keyA)
	k := (*s.keys.Load())[0]
	raw := make([]byte, sealedAt, maxRaw)
	raw[0], raw[tagAt] = version, k.tag
	for i := range raw[nonceAt:] {
		raw[nonceAt+i] = byte(i)
	}
	var sc scratch
	c := here
	raw = k.aead.Seal(raw, raw[nonceAt:], c.appendTo(nil, maxClear), sc.bind(k.tag, &mine))
	if made := encoding.EncodeToString(raw); made != id {
		t.Errorf("made %s", made)
	}
	wantOpen(t, s, id, here)
}

// FuzzOpen: no text but an id of this Sealer's is taken, and none brings it down.
func FuzzOpen(f *testing.F) {
	s := newSealer(f, keyA, keyB)
	stranger := newSealer(f, bytes.Repeat([]byte("z"), keyfile.KeyBytes))
	f.Add("", "")
	f.Add(sealed(stranger, mine, here), "1")
	f.Add(sealed(s, other, here), strings.Repeat("x", 100))
	f.Add(strings.Repeat("A", 72), "\x00")
	f.Fuzz(func(t *testing.T, id, origin string) {
		wantNone(t, s, id, mine)
		c := here
		c.Origin = []byte(origin)
		good := sealed(s, mine, c)
		got, ok := s.Open(good, &mine)
		if !ok || got.Seq != c.Seq || !got.Referred && string(got.Origin) != origin {
			t.Fatalf("Open = %+v, %v", got, ok)
		}
		wantNone(t, s, good+id+"-", mine)
	})
}

func BenchmarkAppend(b *testing.B) {
	s := newSealer(b, keyA)
	buf := make([]byte, 0, MaxID)
	b.ReportAllocs()
	for b.Loop() {
		c := here
		buf = s.Append(buf[:0], &mine, &c)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newSealer(b, keyB, keyA)
	id := sealed(newSealer(b, keyA), mine, here) // with the older of two keys
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Open(id, &mine); !ok {
			b.Fatal("not opened")
		}
	}
}

func BenchmarkOpenForged(b *testing.B) {
	s := newSealer(b, keyA)
	id := sealed(s, other, here)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Open(id, &mine); ok {
			b.Fatal("opened")
		}
	}
}
