package pass

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/processor/keyfile"
)

// Names of the request headers that carry tokens. Whoever verifies one removes
// the header before the request goes on, whatever the result.
const (
	TicketHeader = "x-holdfast-ticket"
	PassHeader   = "x-holdfast-pass"
)

// Kind is what a token is for. A token of one kind is never valid as another.
type Kind byte

const (
	Ticket Kind = 't' // from the filter to the relay listener
	Pass   Kind = 'p' // from our fetch to the filter
)

// Claims are what a token is bound to. Every field is compared byte by byte:
// sign what the verifying side will see.
type Claims struct {
	Policy    string // name of the policy that chose the request; at most 255 bytes, may be empty
	Method    string // ":method"
	Authority string // ":authority"
	Path      string // ":path" as it is on the wire, query included
}

var (
	// ErrRefused is all that is ever said about a token that does not hold:
	// malformed, forged, for another request, expired, from too far in the
	// future, used before. A difference would be advice to a forger.
	ErrRefused = errors.New("pass: token refused")
	// ErrPolicy is returned by Sign for a policy's name of more than 255 bytes.
	ErrPolicy = errors.New("pass: policy name longer than 255 bytes: choose a shorter one")
)

const (
	version = 1

	kindAt   = 1
	expiryAt = 2
	nonceAt  = 10
	macAt    = 22
	policyAt = macAt + sha256.Size // 54

	maxPolicy  = 255
	maxEncoded = (policyAt + maxPolicy) * 4 / 3 // of base64 without padding; exact, for 309 is a multiple of 3
)

// Options bound a token's life. The zero value is the documented default.
type Options struct {
	// TTL is how long a token is valid after Sign. Zero or less: 10 s.
	TTL time.Duration
	// Skew is how far the clocks of the signing and the verifying host may
	// differ. Zero: 2 s. Negative: not at all.
	Skew time.Duration
	// Remember is how many used tokens are kept in mind at least before the
	// oldest are forgotten early. Zero or less: 262,144, which takes up to some
	// 12 MiB and lasts for 18,000 new streams a second.
	Remember int
}

const (
	defaultTTL      = 10 * time.Second
	defaultSkew     = 2 * time.Second
	defaultRemember = 1 << 18
)

func (o Options) ttl() time.Duration {
	if o.TTL <= 0 {
		return defaultTTL
	}
	return o.TTL
}

func (o Options) skew() time.Duration {
	switch {
	case o.Skew < 0:
		return 0
	case o.Skew == 0:
		return defaultSkew
	}
	return o.Skew
}

func (o Options) remember() int {
	if o.Remember <= 0 {
		return defaultRemember
	}
	return o.Remember
}

// Signer makes and checks tokens. It is safe for concurrent use.
type Signer struct {
	ttl, skew time.Duration
	keys      atomic.Pointer[[]*key]
	used      window
}

// New returns a Signer for keys of at least [keyfile.KeyBytes] bytes each. The first key
// signs, all of them verify: to change a key without refusing anyone, add the
// new one at the end everywhere, then move it to the front, then remove the old
// one. Keys are copied.
func New(keys [][]byte, o Options) (*Signer, error) {
	s := &Signer{ttl: o.ttl(), skew: o.skew()}
	// A token verifies from skew before it was signed until skew after it
	// expires; that long its nonce has to be known.
	s.used.init(s.ttl+2*s.skew, o.remember())
	if err := s.SetKeys(keys); err != nil {
		return nil, err
	}
	return s, nil
}

// SetKeys replaces the keys, at once for every later Sign and Verify. What is
// known about used tokens stays. On an error the old keys stay too.
func (s *Signer) SetKeys(keys [][]byte) error {
	if err := keyfile.Check(keys); err != nil {
		return fmt.Errorf("pass: %w", err)
	}
	made := make([]*key, len(keys))
	for i, k := range keys {
		made[i] = newKey(k)
	}
	s.keys.Store(&made)
	return nil
}

// Sign returns a token of the given kind, valid for the Signer's TTL from now
// and bound to the claims. The only error is [ErrPolicy].
func (s *Signer) Sign(now time.Time, kind Kind, c Claims) (string, error) {
	if len(c.Policy) > maxPolicy {
		return "", ErrPolicy
	}
	var buf [policyAt + maxPolicy]byte
	buf[0], buf[kindAt] = version, byte(kind)
	binary.BigEndian.PutUint64(buf[expiryAt:], uint64(now.Add(s.ttl).UnixMilli()))
	// Never returns an error: https://pkg.go.dev/crypto/rand#Read
	_, _ = rand.Read(buf[nonceAt:macAt])
	(*s.keys.Load())[0].sum(buf[macAt:policyAt], buf[:macAt], c)
	n := policyAt + copy(buf[policyAt:], c.Policy)
	return base64.RawURLEncoding.EncodeToString(buf[:n]), nil
}

// Verify checks a token that came with a request, and returns the name of the
// policy it was signed for. The request is what c says; c.Policy is ignored, for
// it is the token that knows. The only error is [ErrRefused].
//
// A token is good for one Verify. That it was used is known to this Signer, for
// as long as it could be used again; when more than Options.Remember tokens were
// used within such a time, the oldest are forgotten early (see
// [Signer.Forgotten]). So a flood can make a token usable twice, but cannot
// make genuine ones be refused; and whoever could repeat it would still only
// repeat the very request it was made for. Several processes with the same key
// do not tell each other.
func (s *Signer) Verify(now time.Time, kind Kind, token string, c Claims) (policy string, err error) {
	var buf [policyAt + maxPolicy]byte
	raw, ok := decode(buf[:0], token)
	if !ok || raw[0] != version || Kind(raw[kindAt]) != kind {
		return "", ErrRefused
	}
	c.Policy = string(raw[policyAt:])
	if !s.genuine(raw, c) {
		return "", ErrRefused
	}
	// Only now is anything in it believed. The upper bound keeps one signed with
	// a longer life elsewhere from outliving the memory of its use.
	ttl := time.UnixMilli(int64(binary.BigEndian.Uint64(raw[expiryAt:]))).Sub(now)
	if ttl < -s.skew || ttl > s.ttl+s.skew {
		return "", ErrRefused
	}
	if !s.used.add(now, nonce(raw[nonceAt:macAt])) {
		return "", ErrRefused
	}
	return c.Policy, nil
}

// Forgotten counts how often used tokens were forgotten before they expired.
func (s *Signer) Forgotten() uint64 { return s.used.forgotten.Load() }

// genuine reports whether one of the keys made the token. All comparisons are
// made, each in constant time.
func (s *Signer) genuine(raw []byte, c Claims) bool {
	good := false
	for _, k := range *s.keys.Load() {
		var mac [sha256.Size]byte
		k.sum(mac[:], raw[:macAt], c)
		good = hmac.Equal(mac[:], raw[macAt:policyAt]) || good
	}
	return good
}

// decode appends the bytes of a token to dst, which has room for the longest.
func decode(dst []byte, token string) ([]byte, bool) {
	if len(token) > maxEncoded {
		return nil, false
	}
	var text [maxEncoded]byte
	n := copy(text[:], token)
	// The decoder skips CR and LF; in one of ours there are none.
	if bytes.ContainsAny(text[:n], "\r\n") {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().AppendDecode(dst, text[:n])
	return raw, err == nil && len(raw) >= policyAt
}

// key is one secret, with states of its HMAC to be used again: setting one up
// hashes two blocks and allocates, resetting one does neither.
type key struct {
	states sync.Pool
}

// state is an HMAC and room for what goes through the hash.Hash interface, which
// would otherwise be moved to the heap call by call.
type state struct {
	mac hash.Hash
	buf []byte
}

func newKey(secret []byte) *key {
	secret = bytes.Clone(secret)
	return &key{states: sync.Pool{New: func() any {
		return &state{mac: hmac.New(sha256.New, secret)}
	}}}
}

// sum writes the HMAC of head and the claims to mac.
func (k *key) sum(mac, head []byte, c Claims) {
	st, _ := k.states.Get().(*state) // the pool's New makes nothing else
	st.mac.Reset()
	b := st.buf[:0]
	b = append(b, head...)
	for _, field := range [...]string{c.Policy, c.Method, c.Authority, c.Path} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	st.mac.Write(b)
	b = st.mac.Sum(b[:0]) // overwrites what has been hashed
	copy(mac, b)
	if cap(b) <= maxKept {
		st.buf = b
	}
	k.states.Put(st)
}

// maxKept is the largest buffer that is kept for the next token: most paths fit.
const maxKept = 4 << 10
