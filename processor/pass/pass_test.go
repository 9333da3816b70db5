package pass

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/processor/keyfile"
)

var (
	start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	keyA  = bytes.Repeat([]byte("a"), keyfile.KeyBytes)
	keyB  = bytes.Repeat([]byte("b"), keyfile.KeyBytes)
	feed  = Claims{Policy: "default", Method: "GET", Authority: "example.com", Path: "/feed?x=1"}
)

func newSigner(t testing.TB, o Options, keys ...[]byte) *Signer {
	t.Helper()
	s, err := New(keys, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *Signer, now time.Time, k Kind, c Claims) string {
	t.Helper()
	token, err := s.Sign(now, k, c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func wantGood(t testing.TB, s *Signer, now time.Time, k Kind, token string, c Claims) {
	t.Helper()
	policy, err := s.Verify(now, k, token, c)
	if err != nil || policy != c.Policy {
		t.Errorf("Verify = %q, %v, want %q", policy, err, c.Policy)
	}
}

func wantRefused(t testing.TB, s *Signer, now time.Time, k Kind, token string, c Claims) {
	t.Helper()
	// The very same error value, so that no caller can tell one from another.
	if policy, err := s.Verify(now, k, token, c); err != ErrRefused || policy != "" {
		t.Errorf("Verify(%q) = %q, %v, want ErrRefused", token, policy, err)
	}
}

func TestTokenIsGoodForItsRequestOnce(t *testing.T) {
	for _, kind := range []Kind{Ticket, Pass} {
		s := newSigner(t, Options{}, keyA)
		token := sign(t, s, start, kind, feed)
		wantGood(t, s, start.Add(time.Second), kind, token, feed)
		wantRefused(t, s, start.Add(time.Second), kind, token, feed)
		wantRefused(t, s, start.Add(9*time.Second), kind, token, feed)
	}
}

func TestTokenIsBoundToEveryField(t *testing.T) {
	s := newSigner(t, Options{}, keyA)
	for name, c := range map[string]Claims{
		"method":         {Method: "POST", Authority: feed.Authority, Path: feed.Path},
		"authority":      {Method: "GET", Authority: "example.com:80", Path: feed.Path},
		"authority case": {Method: "GET", Authority: "Example.com", Path: feed.Path},
		"path":           {Method: "GET", Authority: feed.Authority, Path: "/feed"},
		"query":          {Method: "GET", Authority: feed.Authority, Path: "/feed?x=2"},
		"moved border":   {Method: "GET", Authority: feed.Authority + "/", Path: feed.Path[1:]},
		"nothing":        {},
	} {
		t.Run(name, func(t *testing.T) {
			token := sign(t, s, start, Ticket, feed)
			wantRefused(t, s, start, Ticket, token, c)
			// A failed try does not use the token up.
			wantGood(t, s, start, Ticket, token, feed)
		})
	}
	t.Run("kind", func(t *testing.T) {
		wantRefused(t, s, start, Pass, sign(t, s, start, Ticket, feed), feed)
		wantRefused(t, s, start, Ticket, sign(t, s, start, Pass, feed), feed)
	})
	t.Run("policy", func(t *testing.T) {
		token := sign(t, s, start, Ticket, feed)
		other := strings.Replace(decoded(t, token), feed.Policy, "another", 1)
		wantRefused(t, s, start, Ticket, base64.RawURLEncoding.EncodeToString([]byte(other)), feed)
	})
}

func decoded(t testing.TB, token string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestFlippedBits: no bit of a token is without meaning.
func TestFlippedBits(t *testing.T) {
	s := newSigner(t, Options{}, keyA)
	token := sign(t, s, start, Ticket, feed)
	raw := []byte(decoded(t, token))
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		wantRefused(t, s, start, Ticket, base64.RawURLEncoding.EncodeToString(raw), feed)
		raw[i/8] ^= 1 << (i % 8)
	}
	wantGood(t, s, start, Ticket, token, feed)
}

func TestMalformedTokens(t *testing.T) {
	s := newSigner(t, Options{}, keyA)
	token := sign(t, s, start, Ticket, feed)
	for name, bad := range map[string]string{
		"empty":            "",
		"word":             "ticket",
		"cut":              token[:len(token)-1],
		"only fixed part":  token[:71],
		"more":             token + "AAAA",
		"padding":          token + "=",
		"line end":         token[:10] + "\n" + token[10:],
		"carriage return":  token + "\r",
		"standard base64":  "+/+/" + token[4:],
		"not ascii":        token[:20] + "ä" + token[21:],
		"two in one":       token + "," + token,
		"very long":        strings.Repeat("A", 1<<20),
		"longest plus one": strings.Repeat("A", maxEncoded+1),
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, s, start, Ticket, bad, feed) })
	}
	wantGood(t, s, start, Ticket, token, feed)
}

// TestOtherSpellingIsNotAnotherToken: base64 has bits that do not count at the
// end; a token with other ones would pass for a new one.
func TestOtherSpellingIsNotAnotherToken(t *testing.T) {
	s := newSigner(t, Options{}, keyA)
	c := feed
	c.Policy = "ab" // 56 bytes: the last character holds two idle bits
	token := sign(t, s, start, Ticket, c)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	for low := range 4 {
		if twin := token[:len(token)-1] + alphabet[last&^3|low:][:1]; twin != token {
			wantRefused(t, s, start, Ticket, twin, c)
		}
	}
}

func TestExpiryAndSkew(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     Options
		after time.Duration
		good  bool
	}{
		{"at once", Options{}, 0, true},
		{"at its end", Options{}, 10 * time.Second, true},
		{"within the skew", Options{}, 12 * time.Second, true},
		{"after the skew", Options{}, 12*time.Second + time.Millisecond, false},
		{"verifier is behind", Options{}, -2 * time.Second, true},
		{"verifier is far behind", Options{}, -2*time.Second - time.Millisecond, false},
		{"no skew", Options{Skew: -1}, 10 * time.Second, true},
		{"no skew, after", Options{Skew: -1}, 10*time.Second + time.Millisecond, false},
		{"no skew, before", Options{Skew: -1}, -time.Millisecond, false},
		{"own life", Options{TTL: time.Minute}, 61 * time.Second, true},
		{"own life, after", Options{TTL: time.Minute}, 63 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSigner(t, tt.o, keyA)
			token := sign(t, s, start, Pass, feed)
			if tt.good {
				wantGood(t, s, start.Add(tt.after), Pass, token, feed)
			} else {
				wantRefused(t, s, start.Add(tt.after), Pass, token, feed)
			}
		})
	}
	t.Run("longer life elsewhere", func(t *testing.T) {
		// It would outlive what the verifier remembers.
		token := sign(t, newSigner(t, Options{TTL: time.Hour}, keyA), start, Pass, feed)
		wantRefused(t, newSigner(t, Options{}, keyA), start, Pass, token, feed)
	})
	t.Run("absurd expiry", func(t *testing.T) {
		s := newSigner(t, Options{}, keyA)
		for _, ms := range []uint64{0, 1 << 63, 1<<64 - 1, 1<<63 - 1} {
			raw := make([]byte, policyAt)
			raw[0], raw[kindAt] = version, byte(Pass)
			binary.BigEndian.PutUint64(raw[expiryAt:], ms)
			(*s.keys.Load())[0].sum(raw[macAt:policyAt], raw[:macAt], feed)
			wantRefused(t, s, start, Pass, base64.RawURLEncoding.EncodeToString(raw), feed)
		}
	})
}

func TestKeyRotation(t *testing.T) {
	before, during, after := newSigner(t, Options{}, keyA), newSigner(t, Options{}, keyA, keyB), newSigner(t, Options{}, keyB)
	wantGood(t, during, start, Pass, sign(t, before, start, Pass, feed), feed)
	wantGood(t, during, start, Pass, sign(t, after, start, Pass, feed), feed)
	wantGood(t, before, start, Pass, sign(t, during, start, Pass, feed), feed) // the first key signs
	wantRefused(t, after, start, Pass, sign(t, during, start, Pass, feed), feed)
	wantRefused(t, after, start, Pass, sign(t, before, start, Pass, feed), feed)

	// A change of keys does not make used tokens fresh.
	s := newSigner(t, Options{}, keyA)
	token := sign(t, s, start, Pass, feed)
	wantGood(t, s, start, Pass, token, feed)
	if err := s.SetKeys([][]byte{keyB, keyA}); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, s, start, Pass, token, feed)
	wantGood(t, after, start, Pass, sign(t, s, start, Pass, feed), feed)

	if err := s.SetKeys([][]byte{keyA, keyA[1:]}); err == nil {
		t.Error("a short key was taken")
	}
	wantGood(t, after, start, Pass, sign(t, s, start, Pass, feed), feed) // the keys before are still there
}

func TestKeysAreCopied(t *testing.T) {
	mine := bytes.Clone(keyA)
	s := newSigner(t, Options{}, mine)
	mine[0] = 'x'
	wantGood(t, newSigner(t, Options{}, keyA), start, Pass, sign(t, s, start, Pass, feed), feed)
}

func TestKeysThatAreNone(t *testing.T) {
	for name, keys := range map[string][][]byte{"none": nil, "empty": {{}}, "short": {keyA[:31]}} {
		if _, err := New(keys, Options{}); err == nil || !strings.Contains(err.Error(), "openssl rand") {
			t.Errorf("%s: error %v does not say what to do", name, err)
		}
	}
}

func TestPolicyNames(t *testing.T) {
	s := newSigner(t, Options{}, keyA)
	for _, n := range []int{0, 1, 2, 3, 255} {
		c := feed
		c.Policy = strings.Repeat("p", n)
		wantGood(t, s, start, Ticket, sign(t, s, start, Ticket, c), c)
	}
	if _, err := s.Sign(start, Ticket, Claims{Policy: strings.Repeat("p", 256)}); !errors.Is(err, ErrPolicy) {
		t.Errorf("256 bytes: %v", err)
	}
}

// TestGolden pins the format: processes of two versions may meet.
func TestGolden(t *testing.T) {
	const token = "AXQAAAGiDW2BEAABAgMEBQYHCAkKC7eLaGTCQ8lzc-KgnoTDN5D9LQk7dL7_NBCa9ta6FIcMZGVmYXVsdA"
	raw := make([]byte, policyAt, policyAt+len(feed.Policy))
	raw[0], raw[kindAt] = 1, 't'
	binary.BigEndian.PutUint64(raw[expiryAt:], uint64(start.Add(10*time.Second).UnixMilli()))
	for i := range macAt - nonceAt {
		raw[nonceAt+i] = byte(i)
	}
	s := newSigner(t, Options{}, keyA)
	(*s.keys.Load())[0].sum(raw[macAt:policyAt], raw[:macAt], feed)
	if made := base64.RawURLEncoding.EncodeToString(append(raw, feed.Policy...)); made != token {
		t.Errorf("made %s", made)
	}
	wantGood(t, s, start, Ticket, token, feed)
}

// TestReplayWindow: whatever the order of uses, a token is good at most once
// within its life, and what is remembered stays bounded.
func TestReplayWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const life = 10 * time.Second
		var w window
		w.init(life, 1<<20)
		now := start
		used := map[nonce]time.Time{}
		for range rapid.IntRange(1, 200).Draw(t, "uses") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "pause")) * time.Millisecond)
			n := nonce{byte(rapid.IntRange(0, 20).Draw(t, "nonce"))}
			at, before := used[n]
			isNew := w.add(now, n)
			if before && now.Sub(at) <= life && isNew {
				t.Fatalf("used again %v later", now.Sub(at))
			}
			if !before && !isNew {
				t.Fatal("refused a fresh one")
			}
			if isNew {
				used[n] = now
			}
		}
	})
}

func TestReplayWindowIsBounded(t *testing.T) {
	const size = shardCount * 8
	var w window
	w.init(time.Hour, size)
	for i := range 100 * size {
		var n nonce
		binary.BigEndian.PutUint32(n[4:], uint32(i))
		n[0] = byte(i)
		if !w.add(start, n) {
			t.Fatal("a genuine token was refused for lack of room")
		}
		if !w.full(2 * size) {
			t.Fatalf("more than two generations after %d", i)
		}
		if w.add(start, n) {
			t.Fatal("forgot the youngest")
		}
	}
	if w.forgotten.Load() == 0 {
		t.Error("nothing says that the window is too small")
	}
}

func (w *window) full(most int) bool {
	sum := 0
	for i := range w.shards {
		sum += len(w.shards[i].now) + len(w.shards[i].last)
	}
	return sum <= most
}

// TestOneOfManyWins: the same token from many goroutines is good exactly once.
func TestOneOfManyWins(t *testing.T) {
	s := newSigner(t, Options{}, keyA)
	for range 20 {
		token := sign(t, s, start, Ticket, feed)
		var mu sync.Mutex
		var wg sync.WaitGroup
		good := 0
		for range 8 {
			wg.Go(func() {
				if _, err := s.Verify(start, Ticket, token, feed); err == nil {
					mu.Lock()
					good++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if good != 1 {
			t.Fatalf("good %d times", good)
		}
	}
}

// FuzzVerify: no text but a token made by Sign is taken, and none brings
// Verify down.
func FuzzVerify(f *testing.F) {
	s := newSigner(f, Options{}, keyA, keyB)
	stranger := newSigner(f, Options{}, bytes.Repeat([]byte("z"), keyfile.KeyBytes))
	f.Add("", "GET", "example.com", "/")
	f.Add(sign(f, stranger, start, Ticket, feed), feed.Method, feed.Authority, feed.Path)
	f.Add(strings.Repeat("A", 72), "GET", "", "")
	f.Fuzz(func(t *testing.T, token, method, authority, path string) {
		c := Claims{Method: method, Authority: authority, Path: path}
		wantRefused(t, s, start, Ticket, token, c)
		// What is made for these fields is taken, whatever they hold, and
		// together with anything else it is not.
		good := sign(t, s, start, Ticket, c)
		wantRefused(t, s, start, Ticket, good+token+"-", c)
		wantGood(t, s, start, Ticket, good, c)
	})
}

func BenchmarkVerify(b *testing.B) {
	s := newSigner(b, Options{}, keyA)
	tokens := make([]string, b.N)
	for i := range tokens {
		tokens[i] = sign(b, s, start, Ticket, feed)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, token := range tokens {
		if _, err := s.Verify(start, Ticket, token, feed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyForged(b *testing.B) {
	s := newSigner(b, Options{}, keyA)
	token := sign(b, newSigner(b, Options{}, keyB), start, Ticket, feed)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Verify(start, Ticket, token, feed); err == nil {
			b.Fatal("taken")
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s := newSigner(b, Options{}, keyA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(start, Ticket, feed); err != nil {
			b.Fatal(err)
		}
	}
}
