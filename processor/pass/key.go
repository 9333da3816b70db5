package pass

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
)

// KeyBytes is the least length of a key.
//
//	"The key for HMAC can be of any length [...]. However, less than L bytes is
//	strongly discouraged as it would decrease the security strength of the
//	function."
//	https://www.rfc-editor.org/rfc/rfc2104#section-3
//
// L, the length of SHA-256's output, is 32.
const KeyBytes = 32

// maxKeyFile bounds what is read: a key file is a few lines.
const maxKeyFile = 64 << 10

// advice ends every error about keys: what to do is always the same.
const advice = "make one with: openssl rand -base64 48"

var errNoKey = errors.New("pass: no key given; " + advice)

func errShortKey(i, n int) error {
	return fmt.Errorf("pass: key %d has %d bytes, it needs %d or more; "+advice, i+1, n, KeyBytes)
}

// NewKey returns a fresh random key, for a process that verifies only what it
// has signed itself.
func NewKey() []byte {
	k := make([]byte, KeyBytes)
	// Never returns an error: https://pkg.go.dev/crypto/rand#Read
	_, _ = rand.Read(k)
	return k
}

// ReadKeys reads a key file: text, one key on each line, of which the bytes are
// used as they are, without blanks around them. Empty lines and lines that begin
// with '#' are left out. The first key signs, all verify (see [New]). Errors name
// the file and line and say what to do, and never show what is in the file.
func ReadKeys(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("pass key file: %w; %s > FILE", err, advice)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("pass key file: %w", err)
	case len(text) > maxKeyFile:
		return nil, fmt.Errorf("pass key file %s: more than %d bytes: this is no key file; %s > FILE", path, maxKeyFile, advice)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("pass key file %s: %w; %s > FILE", path, err, advice)
	}
	return keys, nil
}

// parseKeys takes a key file's text apart.
func parseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.Trim(line, " \t\r\n")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		for _, c := range line {
			// Random bytes written as they are would be torn apart wherever one
			// of them is a line's end, and differently in each file.
			if c < ' ' || c > '~' {
				return nil, fmt.Errorf("line %d is not printable text: write keys as text", number)
			}
		}
		if len(line) < KeyBytes {
			return nil, fmt.Errorf("line %d has %d characters, a key needs %d or more", number, len(line), KeyBytes)
		}
		keys = append(keys, bytes.Clone(line))
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it")
	}
	return keys, nil
}
