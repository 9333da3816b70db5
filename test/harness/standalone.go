package harness

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Standalone is `holdfast serve` and an Envoy of the user's own, configured by
// what `holdfast bootstrap` prints. Unlike `run`, each may die without the other.
type Standalone struct {
	URL        string // of Envoy's listener
	Admin      string // of Holdfast's admin port
	EnvoyAdmin string // of Envoy's
	AccessLog  string // file; one JSON line per finished request
	Processor  *Program
	Envoy      *Program

	Config string // the processor's configuration, as it began

	dir     string // where that is mounted
	version int    // of that
	clients map[Protocol]*http.Client
}

// Serve starts both before the origin at upstream and waits until Envoy is ready.
// config must not set listen and admin.
func Serve(tb testing.TB, upstream, config string) *Standalone {
	tb.Helper()
	dir := tb.TempDir()
	admin, listen, envoyAdmin := FreeAddress(tb), FreeAddress(tb), FreeAddress(tb)
	config = "listen: unix:" + filepath.Join(dir, "p.sock") + "\nadmin: " + admin + "\n" + config
	access := filepath.Join(dir, "access.log")
	code, bootstrap, stderr := RunHoldfast(tb, "bootstrap", "--config", WriteFile(tb, "holdfast.yaml", config), "--upstream", upstream,
		"--listen", listen, "--envoy-admin", envoyAdmin, "--access-log", access, "--envoy-version", "1.40.0")
	if code != 0 {
		tb.Fatalf("holdfast bootstrap: exit code %d\n%s", code, stderr)
	}
	s := ServeFiles(tb, Files{Config: config, Bootstrap: bootstrap, Listen: listen, Admin: admin, EnvoyAdmin: envoyAdmin})
	s.AccessLog = access
	return s
}

// Files are the configurations of a processor and of its Envoy, and the addresses
// in them.
type Files struct {
	Config, Bootstrap         string // texts
	Listen, Admin, EnvoyAdmin string // host:port
	Cluster                   string // of the processor, as Envoy's statistics call it; "" is holdfast
	Envoy                     string // path of the program; "" is the one to test with
}

// ServeFiles is Serve with configurations that were written elsewhere.
func ServeFiles(tb testing.TB, f Files) *Standalone {
	tb.Helper()
	s := &Standalone{
		URL:        "http://" + f.Listen,
		Admin:      "http://" + f.Admin,
		EnvoyAdmin: "http://" + f.EnvoyAdmin,
		Config:     f.Config,
		clients:    map[Protocol]*http.Client{H1: NewClient(tb, H1), H2: NewClient(tb, H2)},
	}
	s.dir = tb.TempDir()
	if err := os.Symlink("..data/holdfast.yaml", s.file()); err != nil {
		tb.Fatal(err)
	}
	s.Configure(tb, f.Config)
	s.StartProcessor(tb)
	envoy := f.Envoy
	if envoy == "" {
		envoy = Envoy(tb)
	}
	s.Envoy = Start(tb, envoy, "-c", WriteFile(tb, "envoy.yaml", f.Bootstrap),
		"--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning")
	Eventually(tb, "Envoy to be ready", func() bool { return s.fetchOK(s.EnvoyAdmin + "/ready") })
	Eventually(tb, "Envoy to find the processor healthy", func() bool {
		return s.EnvoyStat(tb, "cluster."+cmp.Or(f.Cluster, "holdfast")+".membership_healthy") == 1
	})
	return s
}

// StartProcessor starts `holdfast serve`, for the first time or again after it
// was killed, and waits until it is ready.
func (s *Standalone) StartProcessor(tb testing.TB) {
	tb.Helper()
	s.Processor = Start(tb, Holdfast(tb), "serve", "--config", s.file())
	Eventually(tb, "the processor to be ready", func() bool {
		if s.Processor.Exited() {
			tb.Fatalf("holdfast serve ended:\n%s", s.Processor.Output())
		}
		return s.fetchOK(s.Admin + "/readyz")
	})
}

func (s *Standalone) file() string { return filepath.Join(s.dir, "holdfast.yaml") }

// Configure changes the processor's file as Kubernetes changes a mounted ConfigMap:
// the file is a link through a link, and that one is swapped.
func (s *Standalone) Configure(tb testing.TB, config string) {
	tb.Helper()
	s.version++
	version := func(n int) string { return fmt.Sprintf("..%d", n) }
	for _, err := range []error{
		os.Mkdir(filepath.Join(s.dir, version(s.version)), 0o700),
		os.WriteFile(filepath.Join(s.dir, version(s.version), "holdfast.yaml"), []byte(config), 0o600),
		os.Symlink(version(s.version), filepath.Join(s.dir, "..tmp")),
		os.Rename(filepath.Join(s.dir, "..tmp"), filepath.Join(s.dir, "..data")),
		os.RemoveAll(filepath.Join(s.dir, version(s.version-1))),
	} {
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// KillProcessor ends the processor at once and waits until it is gone.
func (s *Standalone) KillProcessor(tb testing.TB) {
	tb.Helper()
	s.Processor.Kill()
	s.Processor.Wait(tb)
}

func (s *Standalone) fetchOK(url string) bool {
	resp, err := s.clients[H1].Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Metric is Gateway.Metric of the processor.
func (s *Standalone) Metric(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	_, page := Fetch(tb, s.clients[H1], s.Admin+"/metrics")
	return SumMetric(page, name, labels...)
}

// Open sends a request for path through Envoy and returns at once.
func (s *Standalone) Open(tb testing.TB, path string, r Request) *Stream {
	tb.Helper()
	protocol := r.Protocol
	if protocol == "" {
		protocol = H1
	}
	return Open(tb, s.clients[protocol], r.For(tb, s.URL+path))
}

// Get is Open for a GET with header pairs, on HTTP/1.1.
func (s *Standalone) Get(tb testing.TB, path string, header ...string) *Stream {
	tb.Helper()
	return s.Open(tb, path, Request{Header: header})
}

// EnvoyStat is the value of one of Envoy's counters or gauges, 0 if there is none.
func (s *Standalone) EnvoyStat(tb testing.TB, name string) int {
	tb.Helper()
	_, page := Fetch(tb, s.clients[H1], s.EnvoyAdmin+"/stats?filter="+url.QueryEscape(regexp.QuoteMeta(name)))
	return envoyStat(page, name)
}

// Stop ends Envoy and then the processor as an operator would.
func (s *Standalone) Stop(tb testing.TB) {
	tb.Helper()
	for _, p := range []*Program{s.Envoy, s.Processor} {
		p.Signal(syscall.SIGTERM)
		if code := p.Wait(tb); code != 0 {
			tb.Errorf("%s exited with %d after SIGTERM", p.name, code)
		}
	}
}

func envoyStat(page, name string) int {
	for line := range strings.Lines(page) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || key != name {
			continue
		}
		if n, err := strconv.Atoi(value); err == nil {
			return n
		}
	}
	return 0
}
