package clients

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Revisions of MCP in which something changed for streams.
const (
	// From here on a server may close a stream that it goes on with later:
	// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
	leavingRevision = "2025-11-25"
	// From here on there are no sessions, and a stream that breaks is a call that is
	// cancelled: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
	sessionlessRevision = "2026-07-28"
)

// transcript is what a client saw.
type transcript struct {
	Lines   []string `json:"lines"`
	Resumes int      `json:"resumes"` // requests with Last-Event-ID that it had to make
}

func (tr *transcript) add(format string, args ...any) {
	tr.Lines = append(tr.Lines, fmt.Sprintf(format, args...))
}

// scenario is what every client sees of every server: four tools of which one
// counts, one announces a further tool on the stream for notifications, one has the
// server's connections cut in the middle of it, and one has the server leave and go
// on later.
func scenario(server, revision string) []string {
	lines := []string{
		fmt.Sprintf("server %s speaks %s", server, revision),
		"tools announce count cut leave",
		"count: 1 step 1, 2 step 2, 3 step 3, 4 step 4, 5 step 5; counted to 5",
		"announce: ; announced",
		"the list of tools has changed",
		"tools announce count cut extra-1 leave",
	}
	if revision >= sessionlessRevision {
		return append(lines, "cut fails")
	}
	lines = append(lines,
		"cut: 1 step 1, 2 step 2, 3 step 3, 4 step 4; survived",
		"announce: ; announced",
		"the list of tools has changed",
		"tools announce count cut extra-1 extra-2 leave")
	if revision >= leavingRevision {
		lines = append(lines, "leave: 1 step 1, 2 step 2; came back")
	}
	return append(lines, "afterwards the session answers 404")
}

var mcpServers = map[string]func(t *testing.T, c *control, revision string) (url string){
	"go":  goServer,
	"ts1": nodeServer("mcp-server-1.mjs"),
	"ts2": nodeServer("mcp-server-2.mjs"),
}

var mcpClients = map[string]func(t *testing.T, url string, c *control, revision string) transcript{
	"go":  goClient,
	"ts1": nodeClient("mcp-client-1.mjs"),
	"ts2": nodeClient("mcp-client-2.mjs"),
}

// TestMCP: what the SDKs do directly, they do through Holdfast.
func TestMCP(t *testing.T) {
	for _, test := range []struct{ client, server, revision string }{
		{"go", "go", "2025-03-26"},
		{"go", "go", "2025-06-18"},
		{"go", "go", leavingRevision},
		{"go", "go", sessionlessRevision},
		{"ts1", "ts1", leavingRevision},
		{"ts2", "ts2", "2025-06-18"},
		{"ts2", "ts2", leavingRevision},
		{"ts2", "ts2", sessionlessRevision},
		// One's client and the other's server.
		{"go", "ts1", "2025-06-18"},
		{"go", "ts2", leavingRevision},
		{"go", "ts2", sessionlessRevision},
		{"ts1", "go", "2025-06-18"},
		{"ts1", "ts2", leavingRevision},
		{"ts2", "go", leavingRevision},
		{"ts2", "go", sessionlessRevision},
	} {
		t.Run(fmt.Sprintf("%s client, %s server, %s", test.client, test.server, test.revision), func(t *testing.T) {
			everyWay(t, func(t *testing.T, w way) {
				c := newControl(t)
				c.wire = newWire(t, mcpServers[test.server](t, c, test.revision))
				url, gw := w.to(t, c.wire.URL)
				got := mcpClients[test.client](t, url+"/mcp", c, test.revision)
				if diff := cmp.Diff(scenario(test.server, test.revision), got.Lines); diff != "" {
					t.Errorf("the client saw (-want +got):\n%s", diff)
				}
				if n := c.calls("cut"); n != 1 {
					t.Errorf("the tool ran %d times, want 1", n)
				}
				resumable := test.revision < sessionlessRevision
				switch {
				case w.holds():
					if got.Resumes != 0 {
						t.Errorf("the client had to resume %d times", got.Resumes)
					}
					if n := gw.Metric(t, "holdfast_resumes_total", "result=resumed"); (n > 0) != resumable {
						t.Errorf("Holdfast resumed %g streams", n)
					}
				case resumable && got.Resumes == 0:
					t.Errorf("the client had nothing to resume: is the wire cut?")
				}
				if gw != nil {
					if n := gw.Metric(t, "holdfast_streams_total", "mode="+w.mode()); n == 0 {
						t.Errorf("no stream ran in mode %s", w.mode())
					}
				}
			})
		})
	}
}

// useSession is the status of the answer to a request in a session.
func useSession(t *testing.T, url, id, revision string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":"late","method":"ping"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Session-Id": id, "Mcp-Protocol-Version": revision,
	} {
		req.Header.Set(name, value)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
