package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// TestAccessLogExample: examples/own-envoy/access-log.yaml, in the Envoy of that
// example, says of each kind of stream what its comment says.
func TestAccessLogExample(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile(filepath.Join(harness.Root(), "examples", "own-envoy", "access-log.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "access.log")
	indented := strings.ReplaceAll("\n"+strings.Replace(string(example), "/dev/stdout", file, 1), "\n", "\n          ")
	origin := harness.NewOrigin(t)
	s := ownEnvoy(t, "holdfast-hold.yaml", "hold.yaml", origin, "rollout: 5", "rollout: 100", "access_log:", "access_log:"+indented)

	post := harness.Request{Method: http.MethodPost, Body: "{}", Header: []string{"mcp-session-id", "a"}}
	whole := func(x *harness.Exchange) {
		if x.Request.Header.Get("last-event-id") != "" {
			x.Answer(http.StatusNoContent) // that was all
			return
		}
		x.Stream()
		x.Send(events(1, 3))
	}
	complete := origin.Handle("", whole)
	s.Open(t, complete, post).WantBody(t, events(1, 3))
	cut := origin.Path("")
	broken := s.Open(t, cut, post)
	x := origin.Accept(t, cut)
	x.Stream()
	x.Send(events(1, 2))
	broken.Want(t, events(1, 2))
	x.Abort()
	broken.WantAbort(t)
	held := origin.Handle("", whole)
	s.Get(t, held).WantBody(t, events(1, 3))
	other := origin.Handle("", func(x *harness.Exchange) { x.Answer(http.StatusOK, "content-type", "application/json") })
	s.Open(t, other, post).WantBody(t, "")
	left := origin.Path("")
	leaving := s.Open(t, left, post)
	x = origin.Accept(t, left)
	x.Stream()
	x.Send(events(1, 1))
	leaving.Want(t, events(1, 1))
	leaving.Close()
	s.Processor.WantLog(t, map[string]string{"path": left, "outcome": "client_gone"})
	s.Stop(t) // which makes Envoy write what it has buffered

	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]map[string]any{}
	for line := range strings.Lines(string(log)) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		lines[fmt.Sprint(e["path"])] = e
	}
	for path, want := range map[string]map[string]any{
		complete: {"policy": "all", "mode": "inline", "outcome": "complete", "events": 3.0, "duplicates": 0.0, "resumes": 0.0, "cursor": "3", "status": 200.0},
		cut:      {"policy": "all", "mode": "inline", "outcome": nil, "flags": "UPE"},
		held:     {"policy": "all", "mode": "hold", "outcome": nil, "events": nil, "status": 200.0},
		other:    {"policy": nil, "mode": nil, "outcome": nil, "status": 200.0},
		left:     {"policy": "all", "mode": "inline", "outcome": nil, "details": "downstream_remote_disconnect"},
	} {
		got := lines[path]
		if got == nil {
			t.Errorf("no line for %s in\n%s", path, log)
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %v, want %v, in %v", path, name, got[name], value, got)
			}
		}
	}
	entry := s.Processor.WantLog(t, map[string]string{"path": complete, "outcome": "complete"})
	if entry["stream"] != lines[complete]["stream"] {
		t.Errorf("the stream is %v in our log and %v in Envoy's", entry["stream"], lines[complete]["stream"])
	}
}
