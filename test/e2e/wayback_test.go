package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/processor/keyfile"
	"holdfast/processor/pass"
	"holdfast/test/harness"
)

// wayBackAt is a processor and an Envoy whose way back is at a given URL, with the
// public listener's address for LISTEN and nobody's for NOBODY in the
// configuration. more are arguments for bootstrap.
func wayBackAt(t *testing.T, upstream, config string, more ...string) *harness.Standalone {
	t.Helper()
	f := harness.Files{Listen: harness.FreeAddress(t), Admin: harness.FreeAddress(t), EnvoyAdmin: harness.FreeAddress(t)}
	config = strings.NewReplacer("LISTEN", f.Listen, "NOBODY", harness.FreeAddress(t)).Replace(config)
	f.Config = fmt.Sprintf("listen: unix:%s\nadmin: %s\n%s", filepath.Join(t.TempDir(), "p.sock"), f.Admin, config)
	code, bootstrap, stderr := harness.RunHoldfast(t, append([]string{
		"bootstrap", "--config", harness.WriteFile(t, "holdfast.yaml", f.Config), "--upstream", upstream,
		"--listen", f.Listen, "--envoy-admin", f.EnvoyAdmin,
	}, more...)...)
	if code != 0 {
		t.Fatalf("bootstrap: exit code %d: %s", code, stderr)
	}
	f.Bootstrap = bootstrap
	return harness.ServeFiles(t, f)
}

// heldAndResumed holds a stream through a failure.
func heldAndResumed(t *testing.T, s *harness.Standalone, origin *harness.Origin, header ...string) {
	t.Helper()
	path := origin.Path("")
	stream := s.Get(t, path, header...)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 2))
	stream.Want(t, events(1, 2))
	x.Abort()
	x = resumed(t, origin, path, "2")
	x.Stream()
	x.Send(events(3, 3))
	stream.Want(t, events(3, 3))
	x.End()
	x = resumed(t, origin, path, "3")
	x.Answer(http.StatusNoContent)
	x.End() // or Envoy would send the next request on a connection that is still busy
	stream.WantEnd(t)
	for _, r := range origin.Requests(path) {
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Holdfast-") {
				t.Errorf("the origin got %s", name)
			}
		}
	}
}

// TestWayBackThroughTheFilter: where the way back is the clients' own listener, a
// pass leads past the filter. One that a client made up gains it nothing.
func TestWayBackThroughTheFilter(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	key := harness.WriteFile(t, "key", strings.Repeat("0123456789abcdef", 3)+"\n")
	s := wayBackAt(t, origin.URL, "fetch: {url: \"http://LISTEN\", pass_key_file: "+key+"}"+strings.Replace(quick, "default,", "default, mode: hold,", 1))
	heldAndResumed(t, s, origin)
	s.Processor.WantLog(t, map[string]string{"msg": "stream ended", "mode": "hold", "outcome": "resumed"})
	heldAndResumed(t, s, origin, "x-holdfast-pass", "forged")
	s.Processor.WantLog(t, map[string]string{"level": "warn", "msg": "a request came with a pass that does not hold, and is treated as any other: " +
		"a client made it up, or fetch.pass_key_file differs between replicas, or a clock does"})
	s.Stop(t)
}

// TestLoopIsNoticed: the way back is the clients' own listener, and there is no
// pass. A fetch that comes back is let through, and the operator is told once.
func TestLoopIsNoticed(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := wayBackAt(t, origin.URL, "fetch: {url: \"http://LISTEN\"}"+strings.Replace(quick, "default,", "default, mode: hold,", 1), "--loopback", harness.FreeAddress(t))
	for range 3 {
		heldAndResumed(t, s, origin)
	}
	const said = "a request that was fetched came back to the filter"
	if n := strings.Count(s.Processor.Output(), said); n != 1 {
		t.Errorf("the loop is told %d times, want once", n)
	}
	s.Stop(t)
}

// TestNoWayBack: nobody listens where the way back leads. Streams run inline, and the
// operator is told once.
func TestNoWayBack(t *testing.T) {
	t.Parallel()
	for _, via := range []string{"immediate", "relay"} {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			origin := harness.NewOrigin(t)
			s := wayBackAt(t, origin.URL, "fetch: {url: \"http://NOBODY\"}\nrelay: {listen: "+harness.FreeAddress(t)+"}\n"+
				strings.Replace(quick, "default,", "default, mode: hold, via: "+via+",", 1), "--loopback", harness.FreeAddress(t))
			path := origin.Path("")
			for range 3 {
				stream := s.Get(t, path)
				x := origin.Accept(t, path)
				x.Stream()
				x.Send(event("", "a"))
				stream.Want(t, event("", "a"))
				x.End()
				stream.WantEnd(t)
			}
			s.Processor.WantLog(t, map[string]string{"msg": "stream ended", "mode": "inline", "outcome": "complete"})
			const said = "a response to be held could not be fetched"
			if n := strings.Count(s.Processor.Output(), said); n != 1 {
				t.Errorf("the missing way back is told %d times, want once", n)
			}
			s.Stop(t)
		})
	}
}

// TestPassesAndTicketsThatDoNotHold: what has expired, was used before, or was made up,
// gains its sender nothing; the operator is told once.
func TestPassesAndTicketsThatDoNotHold(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	key, relay := harness.WriteFile(t, "key", strings.Repeat("0123456789abcdef", 3)+"\n"), harness.FreeAddress(t)
	s := wayBackAt(t, origin.URL, "fetch: {url: \"http://LISTEN\", pass_key_file: "+key+"}\nrelay: {listen: "+relay+"}"+
		strings.Replace(quick, "default,", "default, mode: hold,", 1))
	keys, err := keyfile.Read(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pass.New(keys, pass.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := origin.Path("")
	claims := pass.Claims{Policy: "default", Method: http.MethodGet, Authority: strings.TrimPrefix(s.URL, "http://"), Path: path}
	sign := func(at time.Time, kind pass.Kind) string {
		t.Helper()
		token, err := signer.Sign(at, kind, claims)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	long := time.Now().Add(-time.Hour)
	for _, header := range [][2]string{
		{pass.PassHeader, sign(long, pass.Pass)},
		{pass.PassHeader, sign(time.Now(), pass.Ticket)}, // a ticket is no pass
		{pass.TicketHeader, sign(long, pass.Ticket)},
		{pass.TicketHeader, "forged"},
	} {
		stream := s.Get(t, path, header[0], header[1])
		x := origin.Accept(t, path)
		for name := range x.Request.Header {
			if strings.HasPrefix(name, "X-Holdfast-") {
				t.Errorf("the origin got %s", name)
			}
		}
		x.Stream()
		x.Send(events(1, 1))
		stream.Want(t, events(1, 1))
		x.End()
		x = resumed(t, origin, path, "1")
		x.Answer(http.StatusNoContent)
		x.End() // or Envoy would send the next request on a connection that is still busy
		stream.WantEnd(t)
		s.Processor.WantLog(t, map[string]string{"msg": "stream ended", "mode": "hold", "outcome": "complete"})
	}

	// Past the filter, at the relay listener itself.
	claims.Path = origin.Body("", events(1, 3))
	once := sign(time.Now(), pass.Ticket)
	for i, c := range []struct {
		ticket string
		status int
	}{
		{"", http.StatusForbidden},
		{"forged", http.StatusForbidden},
		{sign(long, pass.Ticket), http.StatusForbidden},
		{sign(time.Now(), pass.Pass), http.StatusForbidden},
		{once, http.StatusOK},
		{once, http.StatusForbidden},
	} {
		req := harness.Request{Header: []string{pass.TicketHeader, c.ticket}}.For(t, "http://"+relay+claims.Path)
		req.Host = claims.Authority
		resp := harness.Open(t, harness.NewClient(t, harness.H2), req).Response(t)
		if resp.StatusCode != c.status {
			t.Errorf("ticket %d: %s, want %d", i, resp.Status, c.status)
		}
	}
	for _, said := range []string{"a request came with a pass that does not hold", "without a valid ticket and was refused"} {
		if n := strings.Count(s.Processor.Output(), said); n != 1 {
			t.Errorf("%q is told %d times, want once", said, n)
		}
	}
	s.Stop(t)
}
