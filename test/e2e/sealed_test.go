package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/test/harness"
)

var sealedID = regexp.MustCompile(`id: ([A-Za-z0-9_-]{60,160})\n`)

// takeSealed takes events with sealed ids up to and including the one with this
// data, checks that nothing but their ids differs from want, and returns the ids.
func takeSealed(t *testing.T, s *harness.Stream, data, want string) (ids []string) {
	t.Helper()
	got := s.WantUntil(t, "data: "+data+"\n\n")
	for _, m := range sealedID.FindAllStringSubmatch(got, -1) {
		ids = append(ids, m[1])
	}
	if got = sealedID.ReplaceAllString(got, ""); got != want {
		t.Fatalf("the client got\n%q\nwant\n%q", got, want)
	}
	return ids
}

// bare writes events from..to as takeSealed sees them.
func bare(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&b, "data: event %d\n\n", n)
	}
	return b.String()
}

const sealed = `
policies:
- {name: inline, match: {path_prefix: /inline/}, mode: inline, ids: sealed, heartbeat: 0s}
- {name: immediate, match: {path_prefix: /immediate/}, mode: hold, via: immediate, ids: sealed, heartbeat: 0s}
- {name: relay, mode: hold, ids: sealed, heartbeat: 0s}
`

// TestSealedIDs: the client sees ids of ours, the origin its own, and nobody can
// do anything with an id that was not made for them.
func TestSealedIDs(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, sealed)
	for _, prefix := range []string{"/inline", "/immediate", ""} {
		t.Run("mode"+prefix, func(t *testing.T) {
			t.Parallel()
			path := origin.Path(prefix)
			s := gw.Get(t, path, "authorization", "A")
			x := origin.Accept(t, path)
			x.Stream()
			x.Send(events(1, 3))
			ids := takeSealed(t, s, "event 3", bare(1, 3))
			if len(ids) != 3 {
				t.Fatalf("%d ids", len(ids))
			}
			s.Close()
			x.WantGone(t)
			for name, c := range map[string]struct{ principal, id, want string }{
				"own":           {"A", ids[1], "2"},
				"somebody else": {"B", ids[1], ""},
				"the origin's":  {"A", "2", ""},
				"made up":       {"A", strings.ToUpper(ids[1]), ""},
			} {
				s := gw.Get(t, path, "authorization", c.principal, "last-event-id", c.id)
				x := origin.Accept(t, path)
				if got := x.Request.Header["Last-Event-Id"]; strings.Join(got, ",") != c.want {
					t.Errorf("%s: the origin got %q, want %q", name, got, c.want)
				}
				x.Stream()
				x.Send(events(3, 4))
				takeSealed(t, s, "event 4", bare(3, 4))
				s.Close()
				x.WantGone(t)
			}
		})
	}
}

// TestSealedIDsOfLongIDs: an origin's id that does not fit into one of ours is found in
// the log.
func TestSealedIDsOfLongIDs(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, sealed)
	long := strings.Repeat("long", 50)
	for _, prefix := range []string{"/inline", "/immediate", ""} {
		path := origin.Path(prefix)
		s := gw.Get(t, path, "authorization", "A")
		x := origin.Accept(t, path)
		x.Stream()
		x.Send("id: " + long + "1\ndata: event 1\n\nid: " + long + "2\ndata: event 2\n\n")
		ids := takeSealed(t, s, "event 2", bare(1, 2))
		s.Close()
		x.WantGone(t)
		s = gw.Get(t, path, "authorization", "A", "last-event-id", ids[0])
		x = origin.Accept(t, path)
		if got := x.Request.Header.Get("last-event-id"); got != long+"1" {
			t.Errorf("the origin got %q", got)
		}
		x.Stream()
		s.WantOpen(t)
		s.Close()
		x.WantGone(t)
	}
}

// TestSealedIDsOutliveTheProcess, if there is a file with the key; also where the
// next one has another key, and accepts the old.
func TestSealedIDsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	path := origin.Path("")
	keys := filepath.Join(t.TempDir(), "keys")
	older, newer := strings.Repeat("a", 40)+"\n", strings.Repeat("b", 40)+"\n"
	id := "none"
	for i, lines := range []string{older, newer + older, newer} {
		if err := os.WriteFile(keys, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		gw := harness.Run(t, origin.URL, fmt.Sprintf("seal: {key_file: %q}\n%s", keys, sealed))
		s := gw.Get(t, path, "last-event-id", id)
		x := origin.Accept(t, path)
		if got, want := strings.Join(x.Request.Header["Last-Event-Id"], ","), []string{"", "1", "2"}[i]; got != want {
			t.Errorf("the origin got %q, want %q", got, want)
		}
		x.Stream()
		x.Send(events(i+1, i+1))
		id = takeSealed(t, s, fmt.Sprintf("event %d", i+1), bare(i+1, i+1))[0]
		s.Close()
		gw.Stop(t)
	}
}
