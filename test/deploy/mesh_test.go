//go:build deploy

package deploy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// read returns the text of an example's file.
func read(tb testing.TB, path ...string) string {
	tb.Helper()
	text, err := os.ReadFile(example(path...))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// places are addresses of this machine, by what is there.
type places map[string]string

func newPlaces(t *testing.T, names ...string) places {
	t.Helper()
	p := places{}
	for _, name := range names {
		p[name] = harness.FreeAddress(t)
	}
	return p
}

// port is that of a place, or of a URL.
func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// config is the processor's, as the chart makes it.
func (p places) config(t *testing.T, fetch, policies string) string {
	t.Helper()
	return fmt.Sprintf("listen: %s\nadmin: %s\nfetch: {url: \"http://%s\", pass_key_file: %s}\nrelay: {listen: %q}\n%s",
		p["processor"], p["admin"], fetch, harness.WriteFile(t, "pass", "0123456789abcdef0123456789abcdef"), p["relay"], policies)
}

// mesh is an Envoy as a control plane configures it, its processor, and an origin.
type mesh struct {
	*harness.Standalone
	origin *harness.Origin
}

// host is whom the routes of the examples are for.
const host = "streams.example.com"

// holds has the origin restart under a stream whose client must not notice.
func (m *mesh) holds(t *testing.T) {
	t.Helper()
	path := m.origin.Path("/events")
	stream := m.Get(t, path, "Host", host)
	x := m.origin.Accept(t, path)
	x.Stream()
	x.Send("id: 1\ndata: a\n\n")
	stream.Want(t, "id: 1\ndata: a\n\n")
	m.origin.Down()
	m.origin.Up(t)
	x = m.origin.Accept(t, path)
	if cursor := x.Request.Header.Get("Last-Event-ID"); cursor != "1" {
		t.Fatalf("resumed behind %q, want 1", cursor)
	}
	for name := range x.Request.Header {
		if strings.HasPrefix(name, "X-Holdfast-") {
			t.Errorf("the service was sent %s", name)
		}
	}
	x.Stream()
	x.Send("id: 2\ndata: b\n\n")
	stream.Want(t, "id: 2\ndata: b\n\n")
	x.Finish(stream)
	stream.WantEnd(t)
	harness.Eventually(t, "the stream to be counted", func() bool {
		return m.Metric(t, "holdfast_streams_total", "mode=hold", "outcome=resumed") >= 1
	})
}

// relays has a stream run through the processor inline, as a POST's does.
func (m *mesh) relays(t *testing.T) {
	t.Helper()
	before := m.Metric(t, "holdfast_streams_total", "mode=inline", "outcome=complete")
	path := m.origin.Path("/events")
	stream := m.Open(t, path, harness.Request{Method: http.MethodPost, Header: []string{"Host", host}})
	x := m.origin.Accept(t, path)
	x.Stream()
	x.Send("data: a\n\n")
	stream.Want(t, "data: a\n\n")
	x.Finish(stream)
	stream.WantEnd(t)
	harness.Eventually(t, "the stream to be counted", func() bool {
		return m.Metric(t, "holdfast_streams_total", "mode=inline", "outcome=complete") == before+1
	})
}

// wantNoFindings has holdfast lint look at all that Envoy was configured with.
func (m *mesh) wantNoFindings(t *testing.T, lintArgs []string) {
	t.Helper()
	_, dump := harness.Fetch(t, harness.NewClient(t, harness.H1), m.EnvoyAdmin+"/config_dump?include_eds")
	file := filepath.Join(t.TempDir(), "config_dump.json")
	write(t, file, dump)
	lintTakes(t, file, lintArgs...)
}

// lintTakes wants nothing that holdfast lint calls an error or a warning.
func lintTakes(t *testing.T, file string, args ...string) {
	t.Helper()
	code, out, errs := harness.RunHoldfast(t, append([]string{"lint", "--least", "warning", file}, args...)...)
	if code != 0 || strings.Contains(out, ": warning ") || strings.Contains(out, ": error ") {
		t.Errorf("holdfast lint: exit code %d\n%s%s", code, out, errs)
	}
}
