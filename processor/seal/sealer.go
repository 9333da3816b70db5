package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"

	"holdfast/processor/keyfile"
)

// MaxID is the length of the longest id, in characters.
const MaxID = 160

const (
	version = 1

	tagAt    = 1
	nonceAt  = 2
	sealedAt = nonceAt + chacha20poly1305.NonceSizeX
	maxRaw   = MaxID * 3 / 4
	maxClear = maxRaw - sealedAt - chacha20poly1305.Overhead // of a Cursor
	minRaw   = sealedAt + chacha20poly1305.Overhead + 1
)

// encoding is strict, so that there is one spelling of an id.
var encoding = base64.RawURLEncoding.Strict() //nolint:gochecknoglobals // immutable

// Sealer makes and opens ids. It is safe for concurrent use.
type Sealer struct {
	keys    atomic.Pointer[[]key]
	scratch sync.Pool // *scratch
}

type key struct {
	aead cipher.AEAD
	tag  byte
}

// scratch is what a cipher is handed. As that happens through an interface it
// would have to be allocated for each id.
type scratch struct {
	bound [nonceAt + len(Scope{})]byte
	raw   [maxRaw]byte
	plain [maxRaw]byte
	name  [MaxID]byte
}

// New returns a Sealer for keys of at least [keyfile.KeyBytes] bytes each. The
// first one seals, all of them open.
func New(keys [][]byte) (*Sealer, error) {
	s := new(Sealer)
	if err := s.SetKeys(keys); err != nil {
		return nil, err
	}
	return s, nil
}

// SetKeys replaces the keys. On an error the old ones stay.
func (s *Sealer) SetKeys(keys [][]byte) error {
	if err := keyfile.Check(keys); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	made := make([]key, len(keys))
	for i, secret := range keys {
		// What is in the file may serve for other things as well, so none of its
		// bytes are a cipher's key: https://www.rfc-editor.org/rfc/rfc5869
		derived, err := hkdf.Key(sha256.New, secret, nil, "holdfast sealed event id 1", chacha20poly1305.KeySize+1)
		if err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		made[i].tag = derived[chacha20poly1305.KeySize]
		if made[i].aead, err = chacha20poly1305.NewX(derived[:chacha20poly1305.KeySize]); err != nil {
			return fmt.Errorf("seal: %w", err)
		}
	}
	s.keys.Store(&made)
	return nil
}

func (s *Sealer) get() *scratch {
	sc, _ := s.scratch.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	return sc
}

// bind writes down what is authenticated beside the content.
func (sc *scratch) bind(tag byte, scope *Scope) []byte {
	sc.bound[0], sc.bound[tagAt] = version, tag
	copy(sc.bound[nonceAt:], scope[:])
	return sc.bound[:]
}

// Append appends an id for c to dst: at most [MaxID] characters of the base64url
// alphabet. Two ids of the same cursor differ.
func (s *Sealer) Append(dst []byte, scope *Scope, c *Cursor) []byte {
	sc := s.get()
	defer s.scratch.Put(sc)
	k := &(*s.keys.Load())[0]
	raw := sc.raw[:sealedAt]
	raw[0], raw[tagAt] = version, k.tag
	// "the probability of nonce collision is negligible [...] with randomly
	// generated nonces": that is what the 24 bytes are for. Read never fails:
	// https://pkg.go.dev/crypto/rand#Read
	_, _ = rand.Read(raw[nonceAt:])
	plain := c.appendTo(sc.plain[:0], maxClear)
	raw = k.aead.Seal(raw, raw[nonceAt:sealedAt], plain, sc.bind(k.tag, scope))
	return encoding.AppendEncode(dst, raw)
}

// Open reads an id. That it is none of ours, was made for another Scope, or with
// a key that is no longer there, is all the same: false.
func (s *Sealer) Open(id string, scope *Scope) (Cursor, bool) {
	if len(id) > MaxID {
		return Cursor{}, false
	}
	sc := s.get()
	defer s.scratch.Put(sc)
	name := append(sc.name[:0], id...)
	for _, c := range name {
		if c < '-' {
			return Cursor{}, false // such as the line ends that a decoder skips
		}
	}
	n, err := encoding.Decode(sc.raw[:], name)
	if err != nil || n < minRaw || sc.raw[0] != version {
		return Cursor{}, false
	}
	raw := sc.raw[:n]
	keys := *s.keys.Load()
	for i := range keys {
		k := &keys[i]
		if k.tag != raw[tagAt] {
			continue
		}
		plain, err := k.aead.Open(sc.plain[:0], raw[nonceAt:sealedAt], raw[sealedAt:], sc.bind(k.tag, scope))
		if err != nil {
			continue
		}
		var c Cursor
		if !c.read(plain) {
			return Cursor{}, false
		}
		return c, true
	}
	return Cursor{}, false
}
