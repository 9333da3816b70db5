package keyfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	keyA = strings.Repeat("a", KeyBytes)
	keyB = strings.Repeat("b", KeyBytes)
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	for _, tt := range []struct {
		name, text string
		want       []string
		err        string
	}{
		{"one", keyA + "\n", []string{keyA}, ""},
		{"no line end", keyA, []string{keyA}, ""},
		{"rotation", "# new\n" + keyB + "\r\n\n  " + keyA + "\t\n", []string{keyB, keyA}, ""},
		{"empty", "", nil, "there is no key in it"},
		{"comments", "# none\n\n", nil, "there is no key in it"},
		{"short", "\nsecret\n", nil, "line 2 has 6 characters"},
		{"binary", strings.Repeat("\xf0\x07", 20), nil, "not printable text"},
		{"huge", strings.Repeat("x", maxFile+1), nil, "no key file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			keys, err := Read(path)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "openssl rand -base64 48") ||
					!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("error %v", err)
				}
				return
			}
			var got []string
			for _, k := range keys {
				got = append(got, string(k))
			}
			if err != nil || strings.Join(got, "|") != strings.Join(tt.want, "|") {
				t.Fatalf("keys %q, %v", got, err)
			}
		})
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("absent file: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for name, keys := range map[string][][]byte{"none": nil, "empty": {{}}, "short": {[]byte(keyA[1:])}} {
		if err := Check(keys); err == nil || !strings.Contains(err.Error(), "openssl rand") {
			t.Errorf("%s: error %v does not say what to do", name, err)
		}
	}
	if err := Check([][]byte{[]byte(keyA), New()}); err != nil {
		t.Error(err)
	}
	if bytes.Equal(New(), New()) {
		t.Error("New is not fresh")
	}
}
