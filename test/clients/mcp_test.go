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

func newTranscript() transcript { return transcript{Lines: []string{}} }

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

// TestMCP: what the SDKs do directly, they do through Holdfast.
func TestMCP(t *testing.T) {
	for _, revision := range []string{"2025-03-26", "2025-06-18", leavingRevision, sessionlessRevision} {
		t.Run(revision, func(t *testing.T) {
			everyWay(t, func(t *testing.T, w way) {
				var c *control
				server := http.HandlerFunc(nil)
				_ = server
				// The control has to know the wire, the server the control.
				var handler http.Handler
				line := newWire(t, serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) })))
				c = newControl(t, line)
				handler = goServer(t, c, revision >= sessionlessRevision)
				url, _ := w.to(t, line.URL)
				got := goClient(t, url+"/mcp", c, revision)
				if diff := cmp.Diff(scenario("go", revision), got.Lines); diff != "" {
					t.Errorf("the client saw (-want +got):\n%s", diff)
				}
				t.Logf("the client resumed %d times", got.Resumes)
				if n := c.calls("cut"); n != 1 {
					t.Errorf("the tool ran %d times, want 1", n)
				}
				if w.holds() && got.Resumes != 0 {
					t.Errorf("the client had to resume %d times", got.Resumes)
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
