package main

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/envoy"
)

// TestTryUpstream: what would be a 503 from Envoy, without a word, is explained.
func TestTryUpstream(t *testing.T) {
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	plain := httptest.NewServer(nil)
	plain.Close() // refuses from now on
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	authority := write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	tests := []struct{ name, url, ca, want string }{
		{"trusted", secure.URL, authority, ""},
		{"untrusted", secure.URL, "", "--upstream-ca"},
		{"no certificate in the file", secure.URL, write("empty.pem", nil), "holds no PEM certificate"},
		{"refused", plain.URL, "", "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := envoy.ParseUpstream(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			err = tryUpstream(t.Context(), u, tt.ca)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
