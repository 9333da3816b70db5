package e2e

import (
	"net/http"
	"testing"
	"time"

	"holdfast/test/harness"
)

// TestSlowAnswersAreWaitedFor: an origin may take longer for its first bytes than
// Envoy waits for a processor (message_timeout, 1 s), whoever owns the response.
func TestSlowAnswersAreWaitedFor(t *testing.T) {
	t.Parallel()
	const late = 1500 * time.Millisecond
	for _, way := range []string{"inline", "relay", "immediate"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			policy := "mode: hold, via: " + way
			if way == "inline" {
				policy = "mode: inline"
			}
			origin := harness.NewOrigin(t)
			gw := harness.Run(t, origin.URL, "policies: [{name: default, "+policy+", heartbeat: 0s}]")
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				path := origin.Path("")
				begun := time.Now()
				s := gw.Open(t, path, harness.Request{Method: method})
				x := origin.Accept(t, path)
				select {
				case <-time.After(late):
				case <-x.Gone():
					t.Fatalf("%s was given up after %v", method, time.Since(begun))
				}
				x.Stream()
				x.Send(event("", "a"))
				s.Want(t, event("", "a"))
				x.End()
				s.WantEnd(t)
				gw.WantLog(t, map[string]string{"msg": "stream ended", "method": method, "path": path, "outcome": "complete"})
			}
		})
	}
}
