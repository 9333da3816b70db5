package clients

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"holdfast/test/harness"
)

// goServer serves the scenario's tools with the Go SDK.
func goServer(t *testing.T, c *control, revision string) (url string) {
	t.Helper()
	s := mcp.NewServer(&mcp.Implementation{Name: "go", Version: "1"}, &mcp.ServerOptions{SupportedProtocolVersions: []string{revision}})
	tool := func(name string, run func(ctx context.Context, req *mcp.CallToolRequest, progress func(int)) string) {
		mcp.AddTool(s, &mcp.Tool{Name: name}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			c.count(name)
			text := run(ctx, req, func(n int) {
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
					ProgressToken: req.Params.GetProgressToken(), Progress: float64(n), Message: fmt.Sprintf("step %d", n),
				})
			})
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
		})
	}
	tool("announce", func(context.Context, *mcp.CallToolRequest, func(int)) string {
		// To all sessions; for a server without, to all who listen.
		s.AddTool(&mcp.Tool{Name: fmt.Sprintf("extra-%d", c.calls("announce")), InputSchema: map[string]any{"type": "object"}}, nil)
		return "announced"
	})
	tool("count", func(_ context.Context, _ *mcp.CallToolRequest, progress func(int)) string {
		for n := range 5 {
			progress(n + 1)
		}
		return "counted to 5"
	})
	tool("cut", func(ctx context.Context, _ *mcp.CallToolRequest, progress func(int)) string {
		progress(1)
		progress(2)
		c.cut("cut-2", ctx.Done())
		progress(3)
		progress(4)
		return "survived"
	})
	tool("leave", func(_ context.Context, req *mcp.CallToolRequest, progress func(int)) string {
		progress(1)
		req.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
		progress(2)
		return "came back"
	})
	return serve(t, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{
		Stateless: revision >= sessionlessRevision, EventStore: mcp.NewMemoryEventStore(nil),
	}))
}

// goClient plays the scenario with the Go SDK.
func goClient(t *testing.T, url string, c *control, revision string) transcript {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	var tr transcript
	requests := &requestCounter{next: new(http.Transport)}
	defer requests.next.CloseIdleConnections()
	announced := make(chan struct{}, 10)
	var mu sync.Mutex
	progress := map[string][]string{} // by tool
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			tool := fmt.Sprint(r.Params.ProgressToken)
			mu.Lock()
			progress[tool] = append(progress[tool], fmt.Sprintf("%v %s", r.Params.Progress, r.Params.Message))
			mu.Unlock()
			c.saw(fmt.Sprintf("%s-%v", tool, r.Params.Progress))
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { announced <- struct{}{} },
	})
	s, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: requests}},
		&mcp.ClientSessionOptions{ProtocolVersion: revision})
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	tr.add("server %s speaks %s", s.InitializeResult().ServerInfo.Name, s.InitializeResult().ProtocolVersion)
	list := func() {
		res, err := s.ListTools(ctx, nil)
		if err != nil {
			tr.add("no tools: %v", err)
			return
		}
		var names []string
		for _, tool := range res.Tools {
			names = append(names, tool.Name)
		}
		slices.Sort(names)
		tr.add("tools %s", strings.Join(names, " "))
	}
	call := func(name string, steps int) {
		p := &mcp.CallToolParams{Name: name, Arguments: map[string]any{}}
		p.SetProgressToken(name)
		res, err := s.CallTool(ctx, p)
		if err != nil {
			tr.add("%s fails", name)
			t.Logf("%s: %v", name, err)
			return
		}
		// Notifications are handled beside the answer.
		harness.Eventually(t, "progress of "+name, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(progress[name]) >= steps
		})
		mu.Lock()
		defer mu.Unlock()
		tr.add("%s: %s; %s", name, strings.Join(progress[name], ", "), res.Content[0].(*mcp.TextContent).Text)
	}
	announce := func() {
		call("announce", 0)
		select {
		case <-announced:
			tr.add("the list of tools has changed")
		case <-ctx.Done():
			tr.add("nothing was announced")
		}
		list()
	}
	list()
	call("count", 5)
	announce()
	call("cut", 4)
	if revision < sessionlessRevision {
		announce()
		if revision >= leavingRevision {
			call("leave", 2)
		}
	}
	id := s.ID()
	if err := s.Close(); err != nil {
		tr.add("the end fails: %v", err)
	}
	if id != "" {
		tr.add("afterwards the session answers %d", useSession(t, url, id, revision))
	}
	tr.Resumes = requests.resumes()
	return tr
}

// requestCounter counts what a client asks for.
type requestCounter struct {
	next *http.Transport

	mu      sync.Mutex
	resumed int
}

// RoundTrip implements [http.RoundTripper].
func (r *requestCounter) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Last-Event-Id") != "" {
		r.mu.Lock()
		r.resumed++
		r.mu.Unlock()
	}
	return r.next.RoundTrip(req)
}

func (r *requestCounter) resumes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resumed
}
