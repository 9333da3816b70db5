package processor

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

const direct = `- {name: p, mode: hold, via: immediate, heartbeat: 0}`

// requestBody is a part of a request's body.
func requestBody(b string, end bool) *extproc.ProcessingRequest {
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestBody{
		RequestBody: &extproc.HttpBody{Body: []byte(b), EndOfStream: end},
	}}
}

// hold sends a request's headers and sees that Envoy is told to be patient.
func (e *envoy) hold(method, path string, more ...string) {
	e.Helper()
	m := requestMessage(method, path, more...)
	m.GetRequestHeaders().EndOfStream = method == http.MethodGet
	if a := e.ask(m); a.GetOverrideMessageTimeout().AsDuration() != time.Hour || a.GetResponse() != nil {
		e.Fatalf("want patience, got %v", a)
	}
}

// wantHeaders is the beginning of an immediate response.
func (e *envoy) wantHeaders(status string) map[string]string {
	e.Helper()
	m := e.recv()
	list := m.GetStreamedImmediateResponse().GetHeadersResponse().GetHeaders().GetHeaders()
	got := map[string]string{}
	for _, h := range list {
		got[h.GetKey()] = string(h.GetRawValue())
	}
	if got[":status"] != status {
		e.Fatalf("want status %s, got %v", status, m)
	}
	return got
}

// wantImmediate reads a response's body until it has this, or its end.
func (e *envoy) wantImmediate(want string, end bool) *extproc.ProcessingResponse {
	e.Helper()
	var all strings.Builder
	for {
		m := e.recv()
		b := m.GetStreamedImmediateResponse().GetBodyResponse()
		all.Write(b.GetBody())
		done := b.GetEndOfStream() || m.GetStreamedImmediateResponse().GetTrailersResponse() != nil
		if !strings.HasPrefix(want, all.String()) || done != end && (done || all.String() == want) {
			if !end || done {
				e.Fatalf("got %q (end: %v), want %q (end: %v)", all.String(), done, want, end)
			}
		}
		if done || !end && all.String() == want {
			return m
		}
	}
}

func TestImmediate(t *testing.T) {
	inHolding(t, direct, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("the origin got %v", r.Header)
		}
		if r.Header.Get("Last-Event-Id") != "" {
			w.WriteHeader(http.StatusNoContent) // it was the end
			return
		}
		elapse(time.Minute) // the first bytes may be late
		w.Header().Set("X-Origin", "1")
		beginEvents(w)
		say(w, "id: 1\ndata: a\n\nid: 2\nda")
		say(w, "ta: b\n\n")
	}, func(h *holding) {
		e := h.dial()
		e.hold("GET", "/events")
		if got := e.wantHeaders("200"); got["x-origin"] != "1" || got["content-type"] != "text/event-stream" {
			t.Errorf("headers %v", got)
		}
		m := e.wantImmediate("id: 1\ndata: a\n\nid: 2\ndata: b\n\n", true)
		if meta, _ := m.GetDynamicMetadata().AsMap()[namespace].(map[string]any); meta["outcome"] != "complete" || meta["mode"] != "hold" {
			t.Errorf("metadata %v", meta)
		}
		e.wantClosed()
		h.wantOutcome("complete")
		if n := h.dialer.Stats().Live; n != 0 {
			t.Errorf("%d fetches are open", n)
		}
	})
}

func TestImmediateTrailersAndCut(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, via: immediate, resume: none}`, func(w http.ResponseWriter, r *http.Request) {
		beginEvents(w)
		say(w, "data: a\n\n")
		if r.URL.Path == "/cut" {
			reset()
		}
		w.Header().Set(http.TrailerPrefix+"X-Sum", "7")
	}, func(h *holding) {
		e := h.dial()
		e.hold("GET", "/")
		e.wantHeaders("200")
		trailers := e.wantImmediate("data: a\n\n", true).GetStreamedImmediateResponse().GetTrailersResponse()
		if hs := trailers.GetHeaders(); len(hs) != 1 || hs[0].GetKey() != "x-sum" {
			t.Errorf("trailers %v", trailers)
		}
		e.wantClosed()
		h.wantOutcome("complete")

		e = h.dial()
		e.hold("GET", "/cut")
		e.wantHeaders("200")
		e.wantImmediate("data: a\n\n", false)
		e.wantReset()
		h.wantOutcome("cut")
	})
}

func TestImmediateNotModified(t *testing.T) {
	inHolding(t, direct, notModified, func(h *holding) {
		e := h.dial()
		e.hold("GET", "/")
		if got := e.wantHeaders("304"); got["content-length"] != "1234" {
			t.Errorf("headers %v", got)
		}
		e.wantImmediate("", true)
		e.wantClosed()
	})
}

func TestImmediateAsItIs(t *testing.T) {
	inHolding(t, direct, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cut" {
			w.Header().Set("Content-Length", "9")
			say(w, "12")
			reset()
		}
		http.Error(w, "no", http.StatusServiceUnavailable)
	}, func(h *holding) {
		e := h.dial()
		e.hold("GET", "/")
		if got := e.wantHeaders("503"); got["content-length"] != "3" {
			t.Errorf("headers %v", got)
		}
		e.wantImmediate("no\n", true)
		e.wantClosed()
		h.wantMetric(1, "bypassed_total", "not_event_stream")

		e = h.dial()
		e.hold("GET", "/cut")
		e.wantHeaders("200")
		e.wantImmediate("12", false)
		e.wantReset()
	})
}

func TestImmediateClientLeaves(t *testing.T) {
	gone := make(chan struct{})
	inHolding(t, direct, func(w http.ResponseWriter, r *http.Request) {
		beginEvents(w)
		say(w, "data: a\n\n")
		<-r.Context().Done()
		close(gone)
	}, func(h *holding) {
		e := h.dial()
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.wantImmediate("data: a\n\n", false)
		elapse(time.Second)
		e.leave()
		<-gone
		h.wantOutcome("client_gone")
		h.wantNoComplaint()
	})
}

func (h *holding) wantNoComplaint() {
	h.Helper()
	for _, l := range h.logs.All() {
		if l.Level > 0 {
			h.Errorf("%v: %s", l.Level, l.Message)
		}
	}
}

// uploads opens the way for a request's body.
func (e *envoy) uploads(path string, more ...string) {
	e.Helper()
	e.hold("POST", path, more...)
	o := e.recv()
	if m := o.GetModeOverride(); o.GetResponse() != nil ||
		m.GetRequestBodyMode() != extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED ||
		m.GetRequestTrailerMode() != extprocfilterv3.ProcessingMode_SEND {
		e.Fatalf("want the body, got %v", o)
	}
}

func TestImmediatePost(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		beginEvents(w)
		say(w, "data: %s %s\n\n", r.Method, b)
	}
	inHolding(t, direct, echo, func(h *holding) {
		e := h.dial()
		e.uploads("/")
		e.send(requestBody("ab", false))
		elapse(time.Minute) // slow, and Envoy is patient
		e.send(requestBody("c", true))
		e.wantHeaders("200")
		e.wantImmediate("data: POST abc\n\n", true)
		e.wantClosed()

		e = h.dial()
		e.uploads("/")
		e.send(requestBody("abc", false))
		e.send(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestTrailers{RequestTrailers: &extproc.HttpTrailers{}}})
		e.wantHeaders("200")
		e.wantImmediate("data: POST abc\n\n", true)
		e.wantClosed()
	})
}

// What is too large to be kept goes to Envoy, and so does what was taken in.
func TestImmediateLargePost(t *testing.T) {
	inHolding(t, direct, nil, func(h *holding) {
		p := *h.srv.policies.Load().policies.All()[0]
		limit := p.Limits.RequestBytes

		e := h.dial()
		e.hold("POST", "/", fmt.Sprint("content-length: ", limit+1)) // needs no look at it
		if a := e.recv(); a.GetRequestHeaders() == nil || a.GetModeOverride() != nil {
			t.Fatalf("want to go on, got %v", a)
		}
		if a := e.ask(responseMessage(":status: 200", "content-type: text/event-stream")); a.GetResponseHeaders() == nil {
			t.Fatalf("got %v", a)
		}
		e.leave()
		h.wantOutcome("client_gone")

		e = h.dial()
		e.uploads("/")
		part := strings.Repeat("x", limit/2+1)
		e.send(requestBody(part, false))
		e.send(requestBody(part, false))
		if a := e.recv(); a.GetRequestHeaders() == nil {
			t.Fatalf("want to go on, got %v", a)
		}
		got := 0
		body := func() (end bool) {
			b := e.recv().GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
			got += len(b.GetBody())
			return b.GetEndOfStream()
		}
		for got < 2*len(part) {
			if body() {
				t.Fatal("ended too early")
			}
		}
		// The upload and the response may overlap.
		if a := e.ask(responseMessage(":status: 200", "content-type: text/event-stream")); a.GetModeOverride() == nil {
			t.Fatalf("got %v", a)
		}
		e.send(requestBody("end", true))
		if !body() || got != 2*len(part)+3 {
			t.Errorf("%d bytes came back", got)
		}
		e.end("data: 1\n\n")
		e.wantEnd("data: 1\n\n")
		h.wantOutcome("complete")

		// No event stream: nothing more to see, but for the body.
		e = h.dial()
		e.uploads("/")
		e.send(requestBody(strings.Repeat("x", limit+1), false))
		if a := e.recv(); a.GetRequestHeaders() == nil {
			t.Fatalf("want to go on, got %v", a)
		}
		for got = 0; got < limit+1; {
			body()
		}
		if a := e.ask(responseMessage(":status: 200", "content-type: text/plain")); a.GetResponseHeaders() == nil {
			t.Fatalf("got %v", a)
		}
		e.send(requestBody("y", true))
		body()
		e.wantClosed()
	})
}

// Where the way back is lost, Envoy makes the request.
func TestImmediateWithoutWay(t *testing.T) {
	inHolding(t, direct, nil, func(h *holding) {
		_ = h.loop.Close()
		e := h.dial()
		e.uploads("/")
		e.send(requestBody("abc", true))
		if a := e.recv(); a.GetRequestHeaders() == nil {
			t.Fatalf("want to go on, got %v", a)
		}
		b := e.recv().GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		if string(b.GetBody()) != "abc" || !b.GetEndOfStream() {
			t.Errorf("body %v", b)
		}
		e.ask(responseMessage(":status: 200", "content-type: text/event-stream"))
		e.end("data: 1\n\n")
		e.wantEnd("data: 1\n\n")
		h.stream("GET", "/").leave() // at once inline, for a while
		if n := h.logs.FilterMessageSnippet("could not be fetched").Len(); n != 1 {
			t.Errorf("%d complaints", n)
		}
	})
}

// A POST that may have been processed is not made again.
func TestImmediateUnansweredPost(t *testing.T) {
	inHolding(t, direct, func(http.ResponseWriter, *http.Request) { reset() }, func(h *holding) {
		e := h.dial()
		e.uploads("/")
		e.send(requestBody("abc", true))
		e.wantHeaders("502")
		e.wantClosed()
	})
}

func TestImmediatePace(t *testing.T) {
	const size = 1 << 20
	inHolding(t, `- {name: p, mode: hold, via: immediate, heartbeat: 0}`, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			beginEvents(w)
		}
		event := "data: " + strings.Repeat("x", 1016) + "\n\n"
		for range 5 * size / len(event) {
			io.WriteString(w, event)
		}
	}, func(h *holding) {
		for _, path := range []string{"/events", "/file"} {
			e := h.dial()
			e.hold("GET", path)
			e.wantHeaders("200")
			begun, got := time.Now(), 0
			for {
				b := e.recv().GetStreamedImmediateResponse().GetBodyResponse()
				got += len(b.GetBody())
				// One second's worth at once, then as configured.
				if most := size + int(float64(size)*time.Since(begun).Seconds()) + 1; got > most {
					t.Fatalf("%d bytes after %v", got, time.Since(begun))
				}
				if b.GetEndOfStream() {
					break
				}
			}
			if d := time.Since(begun); got != 5*size || d < 3900*time.Millisecond || d > 4100*time.Millisecond {
				t.Errorf("%d bytes in %v", got, d)
			}
			e.wantClosed()
		}
	})
}

func TestPace(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	p := newPace(100, 50)
	for i, tt := range []struct {
		at   float64
		n    int
		want time.Duration
	}{
		{0, 50, 0}, {0, 10, 100 * time.Millisecond}, {0.1, 0, 0}, {10, 50, 0}, {10, 100, time.Second}, {20, 60, 100 * time.Millisecond},
	} {
		if got := p.take(at(tt.at), tt.n); got != tt.want {
			t.Errorf("%d: %v, want %v", i, got, tt.want)
		}
	}
	p = newPace(0, 0)
	if got := p.take(at(0), 1<<30); got != 0 {
		t.Errorf("without a rate: %v", got)
	}
	p = newPace(100, 0)
	if got := p.take(at(0), 10); got != 100*time.Millisecond {
		t.Errorf("without a burst: %v", got)
	}
}
