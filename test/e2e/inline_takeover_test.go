package e2e

import (
	"net/http"
	"testing"

	"holdfast/test/harness"
)

// soon takes over after a third of a second of silence.
const soon = `
policies:
- name: default
  mode: inline
  heartbeat: 0s
  health: {idle_timeout: 300ms, check_interval: 50ms}
  backoff: {base: 20ms, max: 200ms, retries: 50}
`

// TestInlineTakesOver: what Envoy's own response does not bring any more is fetched,
// after a clean early end and after a silence. What an abandoned response still says
// is not for the client.
func TestInlineTakesOver(t *testing.T) {
	t.Parallel()
	everyWay(t, soon, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		t.Run("clean early end", func(t *testing.T) {
			path := origin.Path("")
			s := gw.Open(t, path, harness.Request{Protocol: client})
			x := origin.Accept(t, path)
			x.Stream()
			x.Send(events(1, 3) + "id: 4\ndata: ev")
			s.Want(t, events(1, 3))
			x.End()
			x = resumed(t, origin, path, "3")
			x.Stream()
			x.Send(events(4, 5))
			s.Want(t, events(4, 5))
			// From here on it is our own fetch, which may break in any way.
			x.Abort()
			x = resumed(t, origin, path, "5")
			x.Stream()
			x.Send(events(6, 6))
			s.Want(t, events(6, 6))
			finish(t, origin, path, "6", x, s)
		})
		t.Run("silence", func(t *testing.T) {
			path := origin.Path("")
			s := gw.Open(t, path, harness.Request{Protocol: client})
			silent := origin.Accept(t, path)
			silent.Stream()
			silent.Send(events(1, 2))
			s.Want(t, events(1, 2))
			x := resumed(t, origin, path, "2")
			x.Stream()
			x.Send(events(3, 4))
			s.Want(t, events(3, 4))
			silent.Send(event("90", "late") + "id: 91\ndata: la")
			x.Send(events(5, 5))
			s.Want(t, events(5, 5))
			silent.Send("te\n\n")
			x.Send(events(6, 6))
			s.Want(t, events(6, 6))
			finish(t, origin, path, "6", x, s)
		})
	})
}

// TestInlineCannotSurviveAReset: Envoy resets its client, and nobody calls that an
// end. (Hold mode is for these.)
func TestInlineCannotSurviveAReset(t *testing.T) {
	t.Parallel()
	everyWay(t, soon, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("")
		s := gw.Open(t, path, harness.Request{Protocol: client})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(events(1, 2))
		s.Want(t, events(1, 2))
		x.Abort()
		s.WantAbort(t)
		if n := len(origin.Requests(path)); n != 1 {
			t.Errorf("the origin saw %d requests, want 1: nobody is there to be sent more", n)
		}
	})
}

// TestRequestIDIsOne: where the client has none, Envoy gives the request one, and
// whoever continues it has the same.
func TestRequestIDIsOne(t *testing.T) {
	t.Parallel()
	everyWay(t, quick, func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, client harness.Protocol) {
		path := origin.Path("")
		s := gw.Open(t, path, harness.Request{Protocol: client})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(events(1, 1))
		s.Want(t, events(1, 1))
		x.Abort()
		x = resumed(t, origin, path, "1")
		x.Stream()
		x.Send(events(2, 2))
		s.Want(t, events(2, 2))
		finish(t, origin, path, "2", x, s)
		ids := map[string]int{}
		for _, r := range origin.Requests(path) {
			ids[r.Header.Get("x-request-id")]++
		}
		if len(ids) != 1 || ids[""] > 0 {
			t.Errorf("the requests are named %v", ids)
		}
		if n := len(origin.Requests(path)); n != 3 || origin.Requests(path)[0].Method != http.MethodGet {
			t.Errorf("the origin saw %d requests", n)
		}
	})
}
