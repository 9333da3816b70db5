package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"holdfast/test/harness"
)

// TestServeHolds: a processor of its own holds streams too, if it is told its way
// back and where it is to be found; bootstrap gives Envoy both.
func TestServeHolds(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	relay := harness.FreeAddress(t)
	s := harness.Serve(t, origin.URL, fmt.Sprintf("fetch: {url: \"http://%s\"}\nrelay: {listen: %q}\n%s",
		harness.FreeAddress(t), relay, quick))
	path := origin.Path("")
	stream := s.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 2))
	stream.Want(t, events(1, 2))
	x.Abort()
	x = resumed(t, origin, path, "2")
	x.Stream()
	x.Send(events(3, 3))
	stream.Want(t, events(3, 3))
	finish(t, origin, path, "3", x, stream)

	// The relay listener serves what has a ticket, and nothing else.
	for _, ticket := range []string{"", "forged"} {
		header := []string{"accept", "*/*"}
		if ticket != "" {
			header = append(header, "x-holdfast-ticket", ticket)
		}
		got := harness.Open(t, harness.NewClient(t, harness.H2), harness.Request{Header: header}.For(t, "http://"+relay+path))
		if status := got.Response(t).StatusCode; status != http.StatusForbidden {
			t.Errorf("with ticket %q: status %d, want 403", ticket, status)
		}
	}
	if n := len(origin.Requests(path)); n != 3 {
		t.Errorf("the origin saw %d requests, want 3", n)
	}
	s.Stop(t)
}

// TestServeWithoutFetch: hold mode is off, and a ticket that a client made up
// leads nowhere it should not.
func TestServeWithoutFetch(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := harness.Serve(t, origin.URL, "")
	path := origin.Body("", events(1, 3))
	s.Get(t, path, "x-holdfast-ticket", "forged").WantBody(t, events(1, 3))
	s.Stop(t)
}
