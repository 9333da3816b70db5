package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// TestMessagesPerExchange counts, in Envoy's own statistics, what a request
// costs that has nothing to do with events.
func TestMessagesPerExchange(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	st := harness.Serve(t, origin.URL, modesConfig+"- {name: rest}\n")
	for _, tc := range []struct {
		name, prefix, contentType string
		bytes, messages           int
	}{
		{"mode off", "/off", "text/event-stream", 100, 1},
		{"outside the rollout", "/nobody", "text/event-stream", 100, 1},
		{"JSON", "", "application/json", 100, 2},
		{"10 MB download", "", "application/octet-stream", 10 << 20, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const sent, received = "http.public.ext_proc.stream_msgs_sent", "http.public.ext_proc.stream_msgs_received"
			sentBefore, receivedBefore := st.EnvoyStat(t, sent), st.EnvoyStat(t, received)
			body := strings.Repeat("x", tc.bytes)
			path := origin.Handle(tc.prefix, func(x *harness.Exchange) {
				x.Answer(http.StatusOK, "content-type", tc.contentType)
				x.Send(body)
			})
			st.Get(t, path).WantBody(t, body)
			if got := st.EnvoyStat(t, sent) - sentBefore; got != tc.messages {
				t.Errorf("Envoy sent %d messages, want %d", got, tc.messages)
			}
			if got := st.EnvoyStat(t, received) - receivedBefore; got != tc.messages {
				t.Errorf("Envoy received %d messages, want %d", got, tc.messages)
			}
		})
	}
	for _, fault := range []string{"spurious_msgs_received", "streams_failed", "message_timeouts", "failure_mode_allowed", "rejected_header_mutations"} {
		if n := st.EnvoyStat(t, "http.public.ext_proc."+fault); n != 0 {
			t.Errorf("Envoy counts %d %s", n, fault)
		}
	}
	st.Stop(t)
}

// TestProcessorDies: below us is plain Envoy. What the dead processor was
// holding is cut; whoever comes after is served as if it had never been there.
func TestProcessorDies(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	st := harness.Serve(t, origin.URL, "")

	path := origin.Path("")
	live := st.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 2))
	live.Want(t, events(1, 2))

	st.KillProcessor(t)
	for range 20 {
		// An unfinished event comes through at once: nobody parses it any more.
		path := origin.Path("")
		s := st.Get(t, path)
		x := origin.Accept(t, path)
		x.Stream()
		x.Send("id: 1\ndata: ha")
		s.Want(t, "id: 1\ndata: ha")
		x.Send("lf\n\n")
		x.Finish(s)
		s.Want(t, "lf\n\n")
		s.WantEnd(t)
	}

	// The live stream broke off, visibly, or goes on: Envoy decides. It must not
	// hang or look complete.
	x.Send(events(3, 3))
	x.Abort()
	live.WantAbort(t)

	// A new processor takes over without Envoy being told.
	st.StartProcessor(t)
	harness.Eventually(t, "Envoy to use the processor again", func() bool {
		return st.EnvoyStat(t, "cluster.holdfast.membership_healthy") == 1
	})
	path = origin.Path("")
	s := st.Get(t, path)
	x = origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 1) + "id: 2\nda")
	s.Want(t, events(1, 1))
	if rest := s.Pending(); rest != "" {
		t.Errorf("the new processor is not in the way of %q", rest)
	}
	x.Send("ta: x\n\n")
	x.Finish(s)
	s.Want(t, "id: 2\ndata: x\n\n")
	s.WantEnd(t)
	st.Stop(t)
}

// TestAccessLog: Envoy's access log tells what became of a stream.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	st := harness.Serve(t, origin.URL, "")
	path := origin.Body("", events(1, 3))
	st.Get(t, path, "mcp-session-id", "m").WantBody(t, events(1, 3))
	again := origin.Body("", events(1, 3))
	st.Get(t, again, "accept", "application/json").WantBody(t, events(1, 3))
	plain := origin.Handle("", func(x *harness.Exchange) { x.Answer(http.StatusOK, "content-type", "application/json") })
	st.Get(t, plain).WantBody(t, "")
	st.Stop(t) // which makes Envoy write what it has buffered

	log, err := os.ReadFile(st.AccessLog)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Path     string
		Holdfast struct {
			Policy, Mode, Outcome, Cursor string
			Events, Duplicates, Resumes   float64
		}
	}
	got := map[string]entry{}
	for line := range strings.Lines(string(log)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		got[e.Path] = e
	}
	if h := got[path].Holdfast; h.Policy != "default" || h.Mode != "inline" || h.Outcome != "complete" || h.Events != 3 || h.Cursor != "3" {
		t.Errorf("the stream is logged as %+v in\n%s", h, log)
	}
	if h := got[plain].Holdfast; h.Outcome != "" {
		t.Errorf("the JSON answer is logged with the outcome %q", h.Outcome)
	}
}
