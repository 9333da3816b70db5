package processor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInline(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/events?token=secret", "authorization: Bearer secret", "mcp-session-id: secret")
		w.wantMetric(1, "streams_active", "inline")
		if d := cmp.Diff(map[string]any{
			"policy": "p", "mode": "inline", streamField: w.srv.live.Snapshot(0, 1)[0].ID,
		}, e.opening); d != "" {
			t.Errorf("metadata of the headers: %s", d)
		}
		e.chunk("id: 1\ndata: a\n\nid: 2\nda")
		e.wantBody("id: 1\ndata: a\n\n") // whole events only
		e.chunk("ta: b\n")
		e.nothing()
		e.chunk("\n: comment\n")
		e.wantBody("id: 2\ndata: b\n\n: comment\n")
		e.end("data: tail")
		meta := e.wantEnd("data: tail")
		delete(meta, streamField)
		if d := cmp.Diff(map[string]any{
			"policy": "p", "mode": "inline", "outcome": "complete", "cursor": "2",
			"events": 2.0, "duplicates": 0.0, "resumes": 0.0, "stored": true,
		}, meta); d != "" {
			t.Errorf("metadata: %s", d)
		}
		line := w.ended()
		for _, v := range line {
			if s, ok := v.(string); ok && (s == "secret" || s == "/events?token=secret") {
				t.Errorf("a credential in the log: %v", line)
			}
		}
		delete(line, "stream")
		delete(line, "session")
		if d := cmp.Diff(map[string]any{
			"policy": "p", "mode": "inline", "outcome": "complete", "method": "GET", "path": "/events", "upstream": "",
			"events": uint64(2), "duplicates": uint64(0), "heartbeats": uint64(0), "resumes": uint64(0), "bytes": uint64(50), "duration": time.Duration(0),
			"stored": true,
		}, line); d != "" {
			t.Errorf("log: %s", d)
		}
		w.wantMetric(0, "streams_active", "inline")
		w.wantMetric(1, "streams_total", "inline", "complete", "p")
		w.wantMetric(2, "events_total", "p")
		w.wantMetric(2, "event_seconds")
		w.wantMetric(1, "sessions")
	})
}

func TestObserveTouchesNothing(t *testing.T) {
	inWorld(t, `- {name: p, mode: observe, dedup: always, heartbeat: 1s}`, func(w *world) {
		e := w.stream("GET", "/")
		for _, c := range []string{"id: 1\r\nda", "ta: x\r", "\n\r\n", "id: 1\r\ndata: x\r\n\r\n", "\xff\x00"} {
			e.chunk(c)
			e.wantBody(c)
		}
		elapse(time.Minute)
		e.nothing()
		e.end("")
		if meta := e.wantEnd(""); meta["mode"] != "observe" || meta["events"] != 2.0 {
			t.Errorf("metadata: %v", meta)
		}
	})
}

func TestTrailers(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.stream("POST", "/")
		e.chunk("data: 1\n\ndata: no blank line\n")
		e.wantBody("data: 1\n\n")
		e.send(trailersMessage())
		e.wantBody("data: no blank line\n")
		if m := e.recv(); m.GetResponseTrailers() == nil || m.GetDynamicMetadata() == nil {
			t.Errorf("want trailers with metadata, got %v", m)
		}
		e.wantClosed()
		w.wantOutcome("complete")
	})
}

func TestHeartbeat(t *testing.T) {
	inWorld(t, `- {name: p, heartbeat: 15s}`, func(w *world) {
		e := w.stream("GET", "/")
		elapse(time.Minute)
		e.nothing() // Envoy takes no chunk from us before one of the origin's
		e.chunk("data: 1\n\n")
		e.wantBody("data: 1\n\n")
		for range 3 {
			before := time.Now()
			if b, _ := e.body(); b[0] != ':' {
				t.Errorf("heartbeat %q", b)
			}
			if d := time.Since(before); d != 15*time.Second {
				t.Errorf("heartbeat after %v", d)
			}
		}
		// A deadline that moves with every event is kept without re-arming.
		for range 20 {
			elapse(10 * time.Second)
			e.chunk("data: 2\n\n")
			e.wantBody("data: 2\n\n")
		}
		e.end("")
		e.wantEnd("")
		w.wantMetric(3, "heartbeats_total")
	})
}

func TestClientLeaves(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/")
		e.chunk("id: 1\ndata: 1\n\n")
		e.wantBody("id: 1\ndata: 1\n\n")
		e.leave()
		w.wantOutcome("client_gone")
		w.wantMetric(1, "store_operations_total", "release", "ok")
		if n := w.srv.live.Len(); n != 0 {
			t.Errorf("%d streams are still known", n)
		}
		for i := range w.srv.lines.shards {
			if n := len(w.srv.lines.shards[i].streams); n != 0 {
				t.Errorf("%d lines are still known", n)
			}
		}
	})
}

// A clean end where the policy knows what the last event looks like is no
// success without it, and the client must not take it for one.
func TestCut(t *testing.T) {
	inWorld(t, `- {name: p, complete_when: [{data: "[DONE]"}]}`, func(w *world) {
		e := w.stream("POST", "/")
		e.chunk("data: 1\n\n")
		e.wantBody("data: 1\n\n")
		e.end("data: half")
		if got := e.wantReset(); got != "data: half" {
			t.Errorf("%q before the reset", got)
		}
		w.wantOutcome("cut")

		e = w.stream("POST", "/")
		e.end("data: 1\n\ndata: [DONE]\n\n")
		e.wantEnd("data: 1\n\ndata: [DONE]\n\n")
		w.wantOutcome("complete")
	})
}

// The client comes back with a cursor and the origin repeats what it has. It
// makes no difference whether we know yet that the first connection is dead.
func TestOverlap(t *testing.T) {
	const one, two, three, four = "id: 1\ndata: 1\n\n", "id: 2\ndata: 2\n\n", "id: 3\ndata: 3\n\n", "id: 4\ndata: 4\n\n"
	for name, ended := range map[string]bool{"ended": true, "still live": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, inline, func(w *world) {
				first := w.stream("GET", "/events", "mcp-session-id: s")
				for _, ev := range []string{one, two, three} {
					first.chunk(ev) // within one interval of saving
					first.wantBody(ev)
				}
				if ended {
					first.leave()
					w.wantOutcome("client_gone")
				}
				e := w.stream("GET", "/events", "mcp-session-id: s", "last-event-id: 2")
				e.chunk(one + two)
				e.nothing()
				e.chunk(three + four)
				e.wantBody(three + four) // of 3 the client knows nothing
				e.end("")
				meta := e.wantEnd("")
				if meta["duplicates"] != 2.0 || meta["events"] != 4.0 {
					t.Errorf("metadata: %v", meta)
				}
				w.wantMetric(2, "duplicates_dropped_total", "p")
				first.leave()
			})
		})
	}
	t.Run("others keep theirs", func(t *testing.T) {
		inWorld(t, inline, func(w *world) {
			first := w.stream("GET", "/events", "mcp-session-id: s", "authorization: a")
			first.chunk(one + two)
			first.wantBody(one + two)
			first.leave()
			for _, who := range [][]string{
				{"mcp-session-id: s", "authorization: b"},
				{"mcp-session-id: t", "authorization: a"},
				{"authorization: a"},
			} {
				e := w.stream("GET", "/events", append(who, "last-event-id: 2")...)
				e.chunk(one + two)
				e.wantBody(one + two)
				e.leave()
			}
		})
	})
}

// A reload changes requests, not streams.
func TestReload(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.stream("GET", "/")
		if err := w.srv.SetPolicies(compile(t, `- {name: q, mode: "off"}`)); err != nil {
			t.Fatal(err)
		}
		other := w.dial()
		if a := other.ask(requestMessage("GET", "/")); a.GetModeOverride() == nil {
			t.Errorf("the new policy is not in force: %v", a)
		}
		other.wantClosed()
		e.chunk("data: 1\n\ndata:")
		e.wantBody("data: 1\n\n")
		e.leave()
		w.wantOutcome("client_gone")
	})
}

// A client that does not read holds up its own stream and nothing else.
func TestBlockedClient(t *testing.T) {
	inWorld(t, `- {name: p, heartbeat: 1s}`, func(w *world) {
		e := w.dialSilently()
		e.send(requestMessage("GET", "/"))
		e.send(responseMessage(":status: 200", "content-type: text/event-stream"))
		event := "data: " + string(make([]byte, 60_000)) + "\n\n"
		go func() {
			for range 100 {
				if e.g.Send(bodyMessage(event, false)) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		elapse(time.Minute) // heartbeats are due, and wait at the gate
		streams := w.srv.live.Snapshot(0, 10)
		if len(streams) != 1 || streams[0].Events == 0 || streams[0].Events == 100 {
			t.Errorf("snapshot: %+v", streams)
		}
		other := w.stream("GET", "/other", "last-event-id: 1")
		other.end("data: 1\n\n")
		other.wantEnd("data: 1\n\n")
		w.wantOutcome("complete")
		e.leave()
		w.wantOutcome("client_gone")
	})
}
