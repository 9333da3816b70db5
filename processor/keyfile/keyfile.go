// Package keyfile reads secret keys from a file: text, one key on each line. The
// first key makes new tokens, all of them are good for checking old ones, so a key
// is changed without refusing anybody: add the new one at the end everywhere, then
// move it to the front, then remove the old one.
package keyfile

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

// maxFile bounds what is read: a key file is a few lines.
const maxFile = 64 << 10

// advice ends every error about keys: what to do is always the same.
const advice = "make one with: openssl rand -base64 48"

// New returns a fresh random key, for a process that checks only what it has made
// itself.
func New() []byte {
	k := make([]byte, KeyBytes)
	// Never returns an error: https://pkg.go.dev/crypto/rand#Read
	_, _ = rand.Read(k)
	return k
}

// Check reports the first of keys that is too short to be one, or that there is
// none, and what to do about it.
func Check(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("no key given; " + advice)
	}
	for i, k := range keys {
		if len(k) < KeyBytes {
			return fmt.Errorf("key %d has %d bytes, it needs %d or more; "+advice, i+1, len(k), KeyBytes)
		}
	}
	return nil
}

// Read reads a key file. The bytes of a key are used as they are, without blanks
// around them; empty lines and lines that begin with '#' are left out. Errors name
// the file and line and say what to do, and never show what is in the file.
func Read(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w; %s > FILE", err, advice)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("key file: %w", err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("key file %s: more than %d bytes: this is no key file; %s > FILE", path, maxFile, advice)
	}
	keys, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w; %s > FILE", path, err, advice)
	}
	return keys, nil
}

// parse takes a key file's text apart.
func parse(text []byte) ([][]byte, error) {
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
