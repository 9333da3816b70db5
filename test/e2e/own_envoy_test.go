package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// ownEnvoy starts what docs/adopting.md tells its reader to start: the files of
// examples/own-envoy, but for the places where they listen and connect.
func ownEnvoy(t *testing.T, config, bootstrap string, origin *harness.Origin, changes ...string) *harness.Standalone {
	t.Helper()
	return harness.ServeFiles(t, ownFiles(t, config, bootstrap, origin, changes...))
}

// ownFiles are those files.
func ownFiles(t *testing.T, config, bootstrap string, origin *harness.Origin, changes ...string) harness.Files {
	t.Helper()
	dir, admin, listen, envoyAdmin := t.TempDir(), harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t)
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", "own-envoy", name))
		if err != nil {
			t.Fatal(err)
		}
		socket := func(address string) string {
			host, port, _ := strings.Cut(address, ":")
			return "address: " + host + ", port_value: " + port
		}
		all := append([]string{
			"/run/holdfast/", dir + "/",
			"127.0.0.1:9902", admin,
			"address: 127.0.0.1, port_value: 8080", socket(listen),
			"address: 127.0.0.1, port_value: 9901", socket(envoyAdmin),
			"address: localhost, port_value: 3000", socket(strings.TrimPrefix(origin.URL, "http://")),
		}, changes...)
		return strings.NewReplacer(all...).Replace(string(text))
	}
	return harness.Files{
		Config: read(config), Bootstrap: read(bootstrap), Listen: listen, Admin: admin, EnvoyAdmin: envoyAdmin,
	}
}

// TestOwnEnvoyObserves is day 1 of docs/adopting.md.
func TestOwnEnvoyObserves(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := ownEnvoy(t, "holdfast-observe.yaml", "observe.yaml", origin)
	path := origin.Body("", events(1, 3))
	s.Get(t, path).WantBody(t, events(1, 3))
	harness.Eventually(t, "the stream to be counted", func() bool {
		return s.Metric(t, "holdfast_streams_total", "mode=observe", "outcome=complete") == 1
	})
	s.Stop(t)
}

// TestOwnEnvoyStepByStep is what docs/adopting.md promises of the steps between: each
// is a change of the file, streams that are running keep what they began with, a bad
// file is refused, and everything can be taken back.
func TestOwnEnvoyStepByStep(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := ownEnvoy(t, "holdfast-observe.yaml", "observe.yaml", origin)
	base, _, _ := strings.Cut(s.Config, "policies:")
	step := func(policy string) {
		t.Helper()
		n := strings.Count(s.Processor.Stderr(), "configuration reloaded")
		s.Configure(t, base+"policies:\n- {name: all, "+policy+"}\n")
		harness.Eventually(t, "the change to be seen", func() bool {
			return strings.Count(s.Processor.Stderr(), "configuration reloaded") == n+1
		})
	}
	type live struct {
		x    *harness.Exchange
		s    *harness.Stream
		path string
	}
	// begin opens a stream. Half an event comes through at once, unless somebody waits
	// for the other half.
	begin := func(held bool, header ...string) live {
		t.Helper()
		path := origin.Path("")
		st := s.Get(t, path, header...)
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(events(1, 1) + "id: 2\ndata: ev")
		if held {
			st.Want(t, events(1, 1))
		} else {
			st.Want(t, events(1, 1)+"id: 2\ndata: ev")
		}
		return live{x, st, path}
	}
	ends := func(l live, rest string) {
		t.Helper()
		l.x.Send("ent 2\n\nid: 3\nda")
		l.s.Want(t, rest)
		l.x.Abort()
		l.s.WantAbort(t)
	}
	const half, whole = "ent 2\n\nid: 3\nda", "id: 2\ndata: event 2\n\n"

	// Day 1: what clients lose now, and what the ids are worth.
	observed := begin(false)
	_, page := harness.Fetch(t, harness.NewClient(t, harness.H1), s.Admin+"/api/v1/streams")
	if !strings.Contains(page, `"mode": "observe"`) || !strings.Contains(page, `"trust": "unique"`) {
		t.Errorf("the stream is shown as %s", page)
	}
	ends(begin(false), half)
	harness.Eventually(t, "the cut to be counted", func() bool {
		return s.Metric(t, "holdfast_streams_total", "mode=observe", "outcome=cut") == 1
	})

	// A file that is no good changes nothing.
	s.Configure(t, base+"policies:\n- {name: all, mode: inlin}\n")
	s.Processor.WantLog(t, map[string]string{"level": "error", "msg": "the configuration was refused; the old one stays"})
	ends(begin(false), half)

	// Day 2: inline, for some, and then for all.
	step("mode: inline, rollout: 0")
	ends(begin(false, "mcp-session-id", "a"), half)
	step("mode: inline, rollout: 100")
	inlined := begin(true, "mcp-session-id", "a")

	// Taking it back.
	step("mode: 'off'")
	ends(begin(false), half)
	ends(inlined, whole)
	ends(observed, half)
	for labels, want := range map[string]float64{"mode=observe": 3, "mode=inline": 1} {
		harness.Eventually(t, "streams to be counted", func() bool {
			return s.Metric(t, "holdfast_streams_total", labels, "outcome=cut") == want
		})
	}
	for reason, want := range map[string]float64{"reason=rollout": 1, "reason=off": 1} {
		if got := s.Metric(t, "holdfast_bypassed_total", reason); got != want {
			t.Errorf("%s: %g, want %g", reason, got, want)
		}
	}

	// At once, for everything: without the processor, requests go past it.
	s.KillProcessor(t)
	ends(begin(false), half)
}

// TestOwnEnvoyHolds is where docs/adopting.md leads.
func TestOwnEnvoyHolds(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := ownEnvoy(t, "holdfast-hold.yaml", "hold.yaml", origin, "rollout: 5", "rollout: 100")
	path := origin.Path("")
	stream := s.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 2))
	stream.Want(t, events(1, 2))
	origin.Down()
	origin.Up(t)
	x = resumed(t, origin, path, "2")
	x.Stream()
	x.Send(events(3, 3))
	stream.Want(t, events(3, 3))
	finish(t, origin, path, "3", x, stream)
	s.Stop(t)
}

// TestATimeoutOfExchanges: some control planes give each exchange with a processor a
// timeout, Envoy Gateway one of ten seconds. Envoy takes no notice of it, so streams
// outlive it; if that changes, it has to be told to users.
func TestATimeoutOfExchanges(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	s := ownEnvoy(t, "holdfast-hold.yaml", "hold.yaml", origin, "rollout: 5", "rollout: 100\n  heartbeat: 1s",
		"initial_metadata: [{key", "timeout: 0.1s\n                initial_metadata: [{key")
	for _, method := range []string{http.MethodGet, http.MethodPost} { // held and inline
		path := origin.Path("")
		stream := s.Open(t, path, harness.Request{Method: method})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(events(1, 1))
		// By the heartbeat, ten times the timeout has passed.
		stream.Want(t, events(1, 1)+": keep-alive\n\n")
		x.Send(events(2, 2))
		stream.WantUntil(t, events(2, 2))
		x.Finish(stream)
		stream.WantEnd(t)
	}
	harness.Eventually(t, "both to be counted as complete", func() bool {
		return s.Metric(t, "holdfast_streams_total", "outcome=complete") == 2
	})
	s.Stop(t)
}
