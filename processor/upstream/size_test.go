package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A header that Envoy's codec would not take, at the price of the connection, is not
// sent at all.
func TestLargeHeadersAreNotSent(t *testing.T) {
	d, err := New(Options{Dial: func(context.Context) (net.Conn, error) {
		t.Error("a connection is made")
		return nil, io.ErrUnexpectedEOF
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	large := strings.Repeat("x", 60<<10)
	for name, r := range map[string]Request{
		"field":     {Path: "/", Authority: "a", Header: http.Header{"X": {large}}},
		"fields":    {Path: "/", Authority: "a", Header: http.Header{"X": {large[:50<<10], large[:50<<10], large[:50<<10]}}},
		"path":      {Path: "/" + large, Authority: "a"},
		"authority": {Path: "/", Authority: large + large},
		"cursor":    {Path: "/", Authority: "a", Header: http.Header{"Last-Event-Id": {large}}},
	} {
		r.Method = http.MethodGet
		if _, err := d.Fetch(t.Context(), r); CauseOf(err) != Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nor is such a trailer.
func TestLargeTrailerCostsItsRequest(t *testing.T) {
	trailer := http.Header{"X": nil}
	r := Request{Body: io.NopCloser(strings.NewReader("body")), Trailer: trailer, Method: http.MethodPost, Path: "/", Authority: "a"}
	hr, _ := r.start(t.Context(), nil)
	trailer["X"] = []string{strings.Repeat("x", 64<<10)}
	if b, err := io.ReadAll(hr.Body); string(b) != "body" || err == nil {
		t.Errorf("%q, %v", b, err)
	}
	trailer["X"] = []string{"y"}
	r.Body = io.NopCloser(strings.NewReader("body"))
	hr, _ = r.start(t.Context(), nil)
	if b, err := io.ReadAll(hr.Body); string(b) != "body" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
