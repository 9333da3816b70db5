package e2e

import (
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
