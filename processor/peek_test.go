package processor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/health"
)

const peek = `- {name: p, retry_when: [{event: error}], health: {eject_after: 2}}`

// try begins one of Envoy's tries on a host.
func (w *world) try(method string, more ...string) *envoy {
	w.Helper()
	e := w.dial(positionKey, positionUpstream)
	a := e.ask(requestMessage(method, "/", more...))
	o := a.GetModeOverride()
	if a.GetRequestHeaders() == nil || o.GetResponseBodyMode() != extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED ||
		o.GetResponseHeaderMode() != extprocfilterv3.ProcessingMode_SEND {
		w.Fatalf("want the response, got %v", a)
	}
	return e
}

// responds sends a host's response headers.
func (e *envoy) responds(host string, lines ...string) {
	e.Helper()
	m := responseMessage(lines...)
	set, _ := structpb.NewStruct(map[string]any{"upstream.address": host})
	m.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": set}
	e.send(m)
}

func (e *envoy) streams(host string) {
	e.Helper()
	e.responds(host, ":status: 200", "content-type: text/event-stream")
	if a := e.recv(); a.GetOverrideMessageTimeout() == nil {
		e.Fatalf("want patience, got %v", a)
	}
}

func (e *envoy) wantRetry(reason, status string) {
	e.Helper()
	m := e.recv()
	got := map[string]string{}
	for _, h := range m.GetResponseHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		got[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	if got[RetryHeader] != reason || got[":status"] != status {
		e.Fatalf("want another host for %s, got %v", reason, m)
	}
}

func (e *envoy) wantGood() {
	e.Helper()
	if m := e.recv(); m.GetResponseHeaders() == nil || m.GetResponseHeaders().GetResponse() != nil {
		e.Fatalf("want to go on, got %v", m)
	}
}

func TestPeek(t *testing.T) {
	inWorld(t, peek, func(w *world) {
		e := w.try("GET")
		e.streams("a")
		e.chunk(": hello\n\nretry: 1\n\n")
		e.nothing()
		e.chunk("event: err")
		e.chunk("or\ndata: no\n\ndata: more\n\n")
		e.wantRetry("first_event", "503")
		e.chunk("more") // nobody tries: nothing of it is for the client
		e.nothing()
		e.end("more")
		if b, end := e.body(); b != "" || !end {
			t.Errorf("%q, end: %v", b, end)
		}
		e.wantClosed()

		e = w.try("POST")
		e.streams("b")
		e.chunk("\ufeff: hello\n\nda")
		e.nothing()
		e.chunk("ta: yes\n\n")
		e.wantGood()
		e.wantBody("\ufeff: hello\n\ndata: yes\n\n")
		e.chunk("event: error\ndata: x\n\n")
		e.wantBody("event: error\ndata: x\n\n")
		e.send(trailersMessage())
		if m := e.recv(); m.GetResponseTrailers() == nil {
			t.Errorf("want trailers, got %v", m)
		}
		e.wantClosed()

		w.wantMetric(1, "envoy_retries_total", "p", "first_event")
		if n := w.logs.FilterMessage("stream ended").Len(); n != 0 {
			t.Error("a try was counted as a stream")
		}
		for _, s := range w.srv.Targets() {
			if s.Address == "a" && s.LastFailure != "bad_start" || s.Address == "b" && s.Successes != 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestPeekShortStreams(t *testing.T) {
	inWorld(t, peek, func(w *world) {
		e := w.try("GET")
		e.streams("a")
		e.end("data: unfinished")
		e.wantGood()
		e.wantEnd("data: unfinished")

		e = w.try("GET")
		e.streams("a")
		e.send(trailersMessage())
		e.wantGood()
		if m := e.recv(); !isNoBytes(m) {
			t.Errorf("want no bytes, got %v", m)
		}
		if m := e.recv(); m.GetResponseTrailers() == nil {
			t.Errorf("want trailers, got %v", m)
		}
		e.wantClosed()
	})
}

func TestPeekSilence(t *testing.T) {
	inWorld(t, peek, func(w *world) {
		e := w.try("GET")
		e.streams("a")
		begun := time.Now()
		e.chunk(": hello\n\n")
		e.wantRetry("silence", "503")
		if d := time.Since(begun); d != time.Minute {
			t.Errorf("after %v", d)
		}
		e.leave()
		w.wantMetric(1, "envoy_retries_total", "p", "silence")

		e = w.try("GET")
		e.streams("b")
		e.leave() // the client did
		synctest.Wait()
		elapse(time.Hour)
		w.wantMetric(1, "envoy_retries_total", "p", "silence")
	})
}

func TestPeekHeaders(t *testing.T) {
	inWorld(t, `- {name: p, health: {eject_after: 1}}`, func(w *world) {
		ask := func(more ...string) *envoy {
			e := w.dial(positionKey, positionUpstream)
			if a := e.ask(requestMessage("GET", "/", more...)); a.GetModeOverride() != nil {
				t.Fatalf("want to go on, got %v", a)
			}
			return e
		}
		e := ask()
		e.responds("a", ":status: 500", "content-type: text/plain")
		e.wantRetry("bad_status", "") // the last one's is what the client gets
		e.wantClosed()

		e = ask()
		e.responds("b", ":status: 200", "content-type: text/html")
		e.wantRetry("not_event_stream", "503")
		e.wantClosed()

		for _, status := range []string{"204", "404"} {
			e = ask()
			e.responds("c", ":status: "+status)
			e.wantGood()
			e.wantClosed()
		}
		e = ask("accept: application/json")
		e.responds("c", ":status: 200", "content-type: application/json")
		e.wantGood()
		e.wantClosed()

		w.srv.policies.Load().named("p").monitor.Report(time.Now(), health.Target{Address: "c"}, health.Success)
		e = ask()
		e.responds("a", ":status: 200", "content-type: text/event-stream")
		e.wantRetry("ejected", "503")
		e.wantClosed()
		w.wantMetric(1, "upstream_ejected", "a")

		e = ask()
		e.responds("c", ":status: 200", "content-type: text/event-stream")
		e.wantGood()
		e.wantClosed()
	})
}

// What may not be made again is not looked at.
func TestPeekLeavesAlone(t *testing.T) {
	inWorld(t, `- {name: p, match: {methods: [POST]}}
- {name: off, mode: off, match: {methods: [PUT]}, retry_when: [{event: error}]}
- {name: files}`, func(w *world) {
		for _, m := range []*extproc.ProcessingRequest{
			requestMessage("POST", "/"),
			requestMessage("PUT", "/"),
			requestMessage("DELETE", "/"),
		} {
			e := w.dial(positionKey, positionUpstream)
			if a := e.ask(m); a.GetModeOverride().GetResponseHeaderMode() != extprocfilterv3.ProcessingMode_SKIP {
				t.Errorf("want to be left alone, got %v", a)
			}
			e.wantClosed()
		}
	})
}

// What comes before the first event is not held for ever.
func TestPeekBound(t *testing.T) {
	inWorld(t, peek, func(w *world) {
		e := w.try("GET")
		e.streams("a")
		comments := strings.Repeat(": "+strings.Repeat("x", 1021)+"\n", 64)
		for range 16 {
			e.chunk(comments)
		}
		e.nothing()
		e.chunk(comments)
		e.wantGood()
		if b, _ := e.body(); len(b) != 17*len(comments) {
			t.Errorf("%d bytes, want %d", len(b), 17*len(comments))
		}
		e.chunk("event: error\ndata: x\n\n") // too late
		e.wantBody("event: error\ndata: x\n\n")
		e.leave()
	})
}

// A fault costs the one response.
func TestPeekFault(t *testing.T) {
	spoil := func(w *world, why retry) { w.srv.policies.Load().named("p").metrics.retries[why] = nil }
	inWorld(t, peek, func(w *world) {
		spoil(w, retryFirstEvent)
		e := w.try("GET")
		e.streams("a")
		e.chunk("event: error\ndata: x\n\n")
		e.wantReset()
	})
	inWorld(t, peek, func(w *world) {
		spoil(w, retrySilence)
		e := w.try("GET")
		e.streams("a")
		elapse(time.Minute + time.Second)
		e.leave()
		if n := w.logs.FilterMessageSnippet("internal fault").Len(); n != 1 {
			t.Errorf("%d complaints", n)
		}
	})
}
