package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/test/quietport"
)

// Gateway is `holdfast run`: Envoy and the processor before an origin.
type Gateway struct {
	*Program

	URL   string // of Envoy's listener
	Admin string // of Holdfast's admin port

	clients map[Protocol]*http.Client
}

// Run starts `holdfast run` before the origin at upstream, with a configuration
// file ("" for the defaults) and more arguments, and waits until it is ready. When the
// test ends it is stopped, and must then exit 0 with no stream left.
func Run(tb testing.TB, upstream, config string, args ...string) *Gateway {
	tb.Helper()
	admin := FreeAddress(tb)
	// With a file, even an empty one, the log is JSON, which WantLog reads.
	all := []string{
		"run", "--upstream", upstream, "--listen", "127.0.0.1:0", "--admin", admin, "--envoy", Envoy(tb),
		"--config", WriteFile(tb, "holdfast.yaml", config),
	}
	g := &Gateway{
		Program: Start(tb, Holdfast(tb), append(all, args...)...),
		Admin:   "http://" + admin,
	}
	g.URL = g.WantLine(tb, "ready ")
	g.clients = map[Protocol]*http.Client{H1: NewClient(tb, H1), H2: NewClient(tb, H2)}
	tb.Cleanup(func() {
		if !tb.Failed() && !g.Exited() {
			g.WantIdle(tb)
			g.Stop(tb)
		}
	})
	return g
}

// Stop ends the gateway as an operator would and wants exit code 0.
func (g *Gateway) Stop(tb testing.TB) {
	tb.Helper()
	g.Signal(syscall.SIGTERM)
	if code := g.Wait(tb); code != 0 {
		tb.Errorf("holdfast exited with %d after SIGTERM", code)
	}
}

// Request describes a client's request. The zero value is a GET for an event
// stream on HTTP/1.1.
type Request struct {
	Method   string
	Protocol Protocol
	Header   []string // name, value pairs; an Accept among them replaces ours
	Body     string
}

// Open sends a request for path through the gateway and returns at once.
func (g *Gateway) Open(tb testing.TB, path string, r Request) *Stream {
	tb.Helper()
	client := g.clients[r.Protocol]
	if r.Protocol == "" {
		client = g.clients[H1]
	}
	return Open(tb, client, r.For(tb, g.URL+path))
}

// Get is Open for a GET with header pairs, on HTTP/1.1.
func (g *Gateway) Get(tb testing.TB, path string, header ...string) *Stream {
	tb.Helper()
	return g.Open(tb, path, Request{Header: header})
}

// For builds the request.
func (r Request) For(tb testing.TB, url string) *http.Request {
	tb.Helper()
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	var body io.Reader
	if r.Body != "" {
		body = strings.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(tb.Context()), method, url, body)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("accept", "text/event-stream")
	for i := 0; i+1 < len(r.Header); i += 2 {
		req.Header.Set(r.Header[i], r.Header[i+1])
	}
	if host := req.Header.Get("Host"); host != "" { // which net/http does not take from there
		req.Host = host
	}
	return req
}

// Fetch asks the admin port and returns status and body.
func (g *Gateway) Fetch(tb testing.TB, path string) (int, string) {
	tb.Helper()
	return Fetch(tb, g.clients[H1], g.Admin+path)
}

// Fetch GETs a URL whole.
func Fetch(tb testing.TB, client *http.Client, url string) (int, string) {
	tb.Helper()
	s := Open(tb, client, Request{Header: []string{"accept", "*/*"}}.For(tb, url))
	status := s.Response(tb).StatusCode
	body, err := s.All(tb)
	if err != nil {
		tb.Fatalf("GET %s: %v", url, err)
	}
	return status, body
}

// FetchJSON asks the admin port and decodes a 200 answer into v.
func (g *Gateway) FetchJSON(tb testing.TB, path string, v any) {
	tb.Helper()
	status, body := g.Fetch(tb, path)
	if status != http.StatusOK {
		tb.Fatalf("GET %s: status %d: %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		tb.Fatalf("GET %s: %v in\n%s", path, err, body)
	}
}

// WantIdle waits until no stream is active, so that none leaks.
func (g *Gateway) WantIdle(tb testing.TB) {
	tb.Helper()
	Eventually(tb, "the last stream to end", func() bool { return g.Metric(tb, "holdfast_streams_active") == 0 })
}

// WantLog waits for a log line, a JSON object, that has all these fields, and
// returns it. A number compares as its decimal text.
func (p *Program) WantLog(tb testing.TB, fields map[string]string) map[string]any {
	tb.Helper()
	var found map[string]any
	Eventually(tb, fmt.Sprintf("a log line with %v", fields), func() bool {
	scan:
		for line := range scanJSONLines(p.Output()) {
			var entry map[string]any
			if json.Unmarshal(line, &entry) != nil {
				continue
			}
			for name, want := range fields {
				if got, ok := entry[name]; !ok || fmt.Sprint(got) != want {
					continue scan
				}
			}
			found = entry
			return true
		}
		return false
	})
	return found
}

// FreeAddress is a loopback address that was free a moment ago.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	address, err := quietport.Free(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return address
}

// WriteFile writes a file into a fresh directory and returns its path.
func WriteFile(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
