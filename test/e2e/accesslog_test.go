package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// logged is a line of Envoy's access log.
type logged struct {
	Path, Flags string
	Holdfast    struct {
		Policy, Mode, Outcome, Cursor, Stream string
		Events, Duplicates, Resumes           float64
	}
}

// readLog returns the lines of an access log by path. Envoy has to have ended, which
// writes what it has buffered.
func readLog(t *testing.T, file string) map[string]logged {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]logged{}
	for line := range strings.Lines(string(text)) {
		var l logged
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all[l.Path] = l
	}
	return all
}

// TestAccessLogOfHeldStreams: Envoy's access log says how a held stream went, and its
// client is told nothing of that.
func TestAccessLogOfHeldStreams(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"relay", "immediate"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "access.log")
			origin := harness.NewOrigin(t)
			gw := harness.Run(t, origin.URL, "policies:\n"+
				"- {name: kept, match: {path_prefix: /kept/}, mode: hold, via: "+way+", heartbeat: 0s, ids: sealed, detach: 1m}\n"+
				"- {name: default, mode: hold, via: "+way+", heartbeat: 0s}\n", "--access-log", file)

			whole, told, lost := map[string]bool{}, map[string]bool{}, map[string]bool{}
			for _, client := range []harness.Protocol{harness.H1, harness.H2} {
				// Interrupted, and resumed with an overlap; with a trailer of the origin's.
				path := origin.Path("")
				s, x := holding(t, origin, gw, path, events(1, 3), client)
				x.Abort()
				x = resumed(t, origin, path, "3")
				x.Stream()
				x.Send(events(2, 4))
				s.Want(t, events(4, 4))
				x.Trailer("x-sum", "7")
				x.Trailer("x-holdfast-end", "outcome=forged")
				x.Finish(s)
				s.WantEnd(t)
				resp := s.Response(t)
				if got := resp.Trailer.Get("x-sum"); got != "7" {
					t.Errorf("the client got the trailers %v", resp.Trailer)
				}
				if got := resp.Trailer.Get("x-holdfast-end"); got != "" && way == "relay" {
					t.Errorf("the client got the trailer %q", got)
				}
				whole[path] = true

				// Nothing happened.
				path = origin.Path("")
				s, x = holding(t, origin, gw, path, event("", "a"), client)
				x.End()
				s.WantEnd(t)
				if trailer := s.Response(t).Trailer; len(trailer) > 0 {
					t.Errorf("the client got the trailers %v", trailer)
				}
				told[path] = true

				// Cut.
				path = origin.Path("")
				s, x = holding(t, origin, gw, path, event("", "a"), client)
				x.Abort()
				s.WantAbort(t)
				lost[path] = true
			}
			// Left and taken up again: its line is the second.
			kept := origin.Path("/kept")
			s := gw.Get(t, kept, "authorization", "A")
			x := origin.Accept(t, kept)
			x.Stream()
			x.Send(bare(1, 2))
			ids := takeSealed(t, s, "event 2", bare(1, 2))
			s.Close()
			x.Send(bare(3, 3))
			s = gw.Get(t, kept, "authorization", "A", "last-event-id", ids[0])
			takeSealed(t, s, "event 3", bare(2, 3))
			x.End()
			s.WantEnd(t)
			gw.WantIdle(t)
			gw.Stop(t)

			log := readLog(t, file)
			for path := range whole {
				h := log[path].Holdfast
				if h.Policy != "default" || h.Mode != "hold" || h.Outcome != "resumed" || h.Events != 6 || h.Duplicates != 2 || h.Resumes != 1 || h.Cursor != "4" || h.Stream == "" {
					t.Errorf("%s was resumed, and is logged as %+v", path, h)
				}
			}
			if h := log[kept].Holdfast; h.Policy != "kept" || h.Mode != "hold" || h.Outcome != "complete" || h.Events != 2 {
				t.Errorf("what was served from the log is logged as %+v", h)
			}
			for path := range told {
				h := log[path].Holdfast
				if h.Outcome != "complete" || h.Events != 1 || h.Resumes != 0 || h.Mode != "hold" {
					t.Errorf("%s ended, and is logged as %+v", path, h)
				}
			}
			for path := range lost {
				// Of a relayed response that is cut Envoy says so, and we cannot.
				outcome, flags := "cut", "-"
				if way == "relay" {
					outcome, flags = "", "UR"
				}
				if l := log[path]; l.Holdfast.Mode != "hold" || l.Holdfast.Outcome != outcome || l.Flags != flags {
					t.Errorf("%s was cut, and is logged as %+v", path, l)
				}
			}
		})
	}
}
