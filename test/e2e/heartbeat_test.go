package e2e

import (
	"strings"
	"testing"

	"holdfast/test/harness"
)

// clock is a stream that lives only to show that time passes: it has received
// heartbeats at the same interval as the stream under test could have.
type clock struct{ s *harness.Stream }

func newClock(t *testing.T, gw *harness.Gateway, origin *harness.Origin) clock {
	t.Helper()
	path := origin.Path("")
	s := gw.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(event("1", "tick"))
	wantAfterSilence(t, s, event("1", "tick"))
	return clock{s}
}

// tick waits for n heartbeats.
func (c clock) tick(t *testing.T, n int) {
	t.Helper()
	for range n {
		if got := c.s.WantLine(t); !strings.HasPrefix(got, ":") && got != "\n" {
			t.Fatalf("in the silence the client got %q, which is no comment", got)
		}
	}
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "limits: {event_bytes: 8KiB}\npolicies:\n"+
		"- {name: inline, match: {path_prefix: /inline/}, mode: inline, heartbeat: 50ms}\n- {name: fast, heartbeat: 50ms}\n")
	// A heartbeat may be a comment line alone or one with a blank line behind.
	const several = 6

	openAt := func(t *testing.T, way string) (clock, *harness.Exchange, *harness.Stream) {
		t.Parallel()
		watch := newClock(t, gw, origin)
		path := origin.Path(way)
		s := gw.Get(t, path)
		x := origin.Accept(t, path)
		x.Stream()
		s.WantOpen(t)
		return watch, x, s
	}
	open := func(t *testing.T) (clock, *harness.Exchange, *harness.Stream) { return openAt(t, "") }

	t.Run("heartbeats", func(t *testing.T) {
		t.Run("fill a silence and change nothing else", func(t *testing.T) {
			_, x, s := open(t)
			x.Send(events(1, 2))
			wantAfterSilence(t, s, events(1, 2))
			clock{s}.tick(t, several)
			x.Send(events(3, 3))
			rest := s.WantUntil(t, events(3, 3))
			if other := withoutHeartbeats(strings.TrimSuffix(rest, events(3, 3))); other != "" {
				t.Errorf("between the events the client got %q", other)
			}
			x.Finish(s)
			if _, err := s.All(t); err != nil {
				t.Errorf("the stream ended with %v", err)
			}
		})
		t.Run("before the first byte, where the response is ours", func(t *testing.T) {
			_, x, s := open(t)
			clock{s}.tick(t, several)
			x.Send(events(1, 1))
			rest := s.WantUntil(t, events(1, 1))
			if other := withoutHeartbeats(strings.TrimSuffix(rest, events(1, 1))); other != "" {
				t.Errorf("before the first event the client got %q", other)
			}
		})
		// Envoy takes a chunk before the first one of the upstream for a fault of the
		// processor and kills the client's stream.
		t.Run("never before the first byte of Envoy's", func(t *testing.T) {
			watch, x, s := openAt(t, "/inline")
			watch.tick(t, several)
			if s.Pending() != "" || s.Ended() {
				t.Fatalf("before the origin's first byte the client got %q (ended: %v)", s.Pending(), s.Ended())
			}
			x.Send(events(1, 1))
			s.Want(t, events(1, 1))
		})
		t.Run("also while an event is held back", func(t *testing.T) {
			_, x, s := open(t)
			x.Send(events(1, 1) + "id: 2\ndata: ha")
			wantAfterSilence(t, s, events(1, 1))
			clock{s}.tick(t, several)
			x.Send("lf\n\n")
			rest := s.WantUntil(t, "id: 2\ndata: half\n\n")
			if other := withoutHeartbeats(strings.TrimSuffix(rest, "id: 2\ndata: half\n\n")); other != "" {
				t.Errorf("between the events the client got %q", other)
			}
		})
		t.Run("never inside an event", func(t *testing.T) {
			watch, x, s := open(t)
			huge := "id: 2\ndata: " + strings.Repeat("x", 32<<10)
			x.Send(events(1, 1) + huge)
			wantAfterSilence(t, s, events(1, 1))
			s.Want(t, huge[:16<<10]) // above the limit, so it streams through
			watch.tick(t, several)
			x.Send("end\n\n")
			s.Want(t, huge[16<<10:]+"end\n\n")
		})
		t.Run("between CR and LF nothing is lost", func(t *testing.T) {
			watch, x, s := open(t)
			// The CR ends the event, so this may be the end of it or the middle of a
			// line end: only what follows will tell.
			x.Send("id: 1\r\ndata: a\r\n\r")
			wantAfterSilence(t, s, "id: 1\r\ndata: a\r\n\r")
			watch.tick(t, several)
			x.Send("\n")
			x.Send("data: b\r\n\r\n")
			rest := s.WantUntil(t, "data: b\r\n\r\n")
			if other := strings.TrimSuffix(withoutHeartbeats(rest), "data: b\r\n\r\n"); strings.Trim(other, "\n") != "" {
				t.Errorf("between the events the client got %q", other)
			}
		})
		t.Run("not while events flow", func(t *testing.T) {
			_, x, s := open(t)
			x.Send(": origin's own\n\n")
			wantAfterSilence(t, s, ": origin's own\n\n")
			x.Send(events(1, 500))
			x.Finish(s)
			wantAfterSilence(t, s, events(1, 500))
			s.WantEnd(t)
		})
	})
	gw.WantIdle(t)
	if gw.Metric(t, "holdfast_heartbeats_total") == 0 {
		t.Error("holdfast_heartbeats_total is 0")
	}
}

// wantAfterSilence is Want where heartbeats may have come before: a machine that is
// busy with other things lets more than one interval pass.
func wantAfterSilence(t *testing.T, s *harness.Stream, want string) {
	t.Helper()
	got := s.WantUntil(t, want)
	if other := withoutHeartbeats(strings.TrimSuffix(got, want)); other != "" {
		t.Fatalf("before %q the client got %q", want, other)
	}
}

// withoutHeartbeats removes comment lines and the blank lines behind them.
func withoutHeartbeats(s string) string {
	var rest strings.Builder
	comment := false
	for line := range strings.Lines(s) {
		switch {
		case strings.HasPrefix(line, ":"):
			comment = true
		case comment && line == "\n":
		default:
			rest.WriteString(line)
			comment = false
		}
	}
	return rest.String()
}
