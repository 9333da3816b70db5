package processor

import (
	"fmt"
	"testing"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"holdfast/processor/wire"
)

const inline = `- {name: p, heartbeat: 0s}`

// What no policy wants costs one message, with which our part is over.
func TestSkip(t *testing.T) {
	for reason, policies := range map[string]string{
		"no_policy": `- {name: p, match: {path_prefix: /other}}`,
		"off":       `- {name: p, mode: "off"}`,
		"rollout":   `- {name: p, rollout: 0}`,
	} {
		t.Run(reason, func(t *testing.T) {
			inWorld(t, policies, func(w *world) {
				e := w.dial()
				a := e.ask(requestMessage("GET", "/events"))
				if a.GetRequestHeaders() == nil || a.GetModeOverride().GetResponseHeaderMode() != extprocfilterv3.ProcessingMode_SKIP {
					t.Errorf("answered with %v", a)
				}
				e.wantClosed()
				w.wantMetric(1, "bypassed_total", reason)
			})
		})
	}
}

// What turns out to be no event stream costs two messages, and none of its body
// comes here.
func TestBypass(t *testing.T) {
	for name, c := range map[string]struct {
		reason   string
		method   string
		ended    bool
		response []string
	}{
		"JSON":               {reason: "not_event_stream", response: []string{":status: 200", "content-type: application/json"}},
		"download":           {reason: "not_event_stream", response: []string{":status: 200", "content-type: application/octet-stream", "content-length: 10485760"}},
		"no type":            {reason: "not_event_stream", response: []string{":status: 200"}},
		"looks like it":      {reason: "not_event_stream", response: []string{":status: 200", "content-type: text/event-streams"}},
		"error":              {reason: "status", response: []string{":status: 500", "content-type: text/event-stream"}},
		"no content":         {reason: "status", response: []string{":status: 204", "content-type: text/event-stream"}},
		"gzip":               {reason: "encoded", response: []string{":status: 200", "content-type: text/event-stream", "content-encoding: gzip"}},
		"two codings":        {reason: "encoded", response: []string{":status: 200", "content-type: text/event-stream", "content-encoding: identity, br"}},
		"ended with headers": {reason: "no_body", ended: true, response: []string{":status: 200", "content-type: text/event-stream"}},
		"HEAD":               {reason: "no_body", method: "HEAD", response: []string{":status: 200", "content-type: text/event-stream"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, inline, func(w *world) {
				if c.method == "" {
					c.method = "GET"
				}
				e := w.dial()
				e.ask(requestMessage(c.method, "/events"))
				m := responseMessage(c.response...)
				m.GetResponseHeaders().EndOfStream = c.ended
				if a := e.ask(m); a.GetResponseHeaders() == nil || a.GetModeOverride() != nil {
					t.Errorf("answered with %v", a)
				}
				e.wantClosed()
				w.wantMetric(1, "bypassed_total", c.reason)
				w.wantMetric(0, "sessions")
			})
		})
	}
}

func fields(lines ...string) headers {
	var h headers
	for _, hv := range headerList(lines...).GetHeaders().GetHeaders() {
		h = append(h, wire.Field{Name: []byte(hv.GetKey()), Value: hv.GetRawValue()})
	}
	return h
}

func TestEventStreamTypes(t *testing.T) {
	for _, response := range [][]string{
		{":status: 200", "content-type: text/event-stream"},
		{":status: 200", "content-type: Text/Event-Stream; charset=utf-8"},
		{":status: 200", "content-type:  text/event-stream ;x=y", "content-encoding: identity"},
	} {
		if got := judge(fields(response...), false, false); got != bypassNone {
			t.Errorf("%q: %v", response, got)
		}
	}
}

// Only inline, and only for clients that ask for events by name, is the request
// changed, and then only in what codings it accepts.
func TestRequestMutation(t *testing.T) {
	for name, c := range map[string]struct {
		mode   string
		accept string
		want   bool
	}{
		"inline":                {"inline", "text/event-stream", true},
		"inline, MCP":           {"inline", "application/json, Text/Event-Stream;q=0.9", true},
		"inline, anything":      {"inline", "*/*", false},
		"observe":               {"observe", "text/event-stream", false},
		"inline, nothing asked": {"inline", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, fmt.Sprintf(`- {name: p, mode: %q}`, c.mode), func(w *world) {
				e := w.dial()
				defer e.leave()
				h := headerList(":method: GET", ":path: /", ":authority: x", "last-event-id: 7", "accept: "+c.accept, "accept-encoding: gzip")
				a := e.ask(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestHeaders{RequestHeaders: h}})
				set := a.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders()
				if !c.want {
					if len(set) > 0 {
						t.Errorf("request changed: %v", set)
					}
					return
				}
				if len(set) != 1 || set[0].GetHeader().GetKey() != "accept-encoding" || string(set[0].GetHeader().GetRawValue()) != "identity" {
					t.Errorf("request changed by %v", set)
				}
			})
		})
	}
}

// Whatever Envoy's configuration makes it send, it gets an answer that lets it
// go on.
func TestUnexpectedMessages(t *testing.T) {
	t.Run("response first", func(t *testing.T) {
		inWorld(t, inline, func(w *world) {
			e := w.dial()
			if a := e.ask(responseMessage(":status: 200", "content-type: text/event-stream")); a.GetResponseHeaders() == nil || a.GetModeOverride() != nil {
				t.Errorf("answered with %v", a)
			}
			e.wantClosed()
			w.wantMetric(1, "bypassed_total", "no_request_headers")
		})
	})
	t.Run("bodies and trailers before headers", func(t *testing.T) {
		inWorld(t, inline, func(w *world) {
			e := w.dial()
			e.ask(requestMessage("POST", "/"))
			if a := e.ask(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestBody{RequestBody: &extproc.HttpBody{Body: []byte("x")}}}); a.GetRequestBody() == nil {
				t.Errorf("answered with %v", a)
			}
			if a := e.ask(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestTrailers{}}); a.GetRequestTrailers() == nil {
				t.Errorf("answered with %v", a)
			}
			if a := e.ask(bodyMessage("x", false)); a.GetResponseBody() == nil || a.GetResponseBody().GetResponse() != nil {
				t.Errorf("answered with %v", a)
			}
			e.send(&extproc.ProcessingRequest{})
			e.nothing()
			e.leave()
		})
	})
	t.Run("request message within the stream", func(t *testing.T) {
		inWorld(t, inline, func(w *world) {
			e := w.stream("POST", "/")
			if a := e.ask(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestTrailers{}}); a.GetRequestTrailers() == nil {
				t.Errorf("answered with %v", a)
			}
			if a := e.ask(requestMessage("POST", "/")); a.GetRequestHeaders() == nil {
				t.Errorf("answered with %v", a)
			}
			if a := e.ask(responseMessage(":status: 200")); a.GetResponseHeaders() == nil {
				t.Errorf("answered with %v", a)
			}
			e.end("data: 1\n\n")
			e.wantEnd("data: 1\n\n")
		})
	})
	t.Run("observability mode", func(t *testing.T) {
		inWorld(t, inline, func(w *world) {
			e := w.dial()
			m := requestMessage("GET", "/")
			m.ObservabilityMode = true
			e.send(m)
			e.wantClosed()
		})
	})
	t.Run("statically duplex", func(t *testing.T) {
		inWorld(t, inline, func(w *world) {
			e := w.dial()
			m := requestMessage("GET", "/")
			m.ProtocolConfig.ResponseBodyMode = extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED
			if a := e.ask(m); a.GetModeOverride() != nil {
				t.Errorf("answered with %v", a)
			}
			e.ask(responseMessage(":status: 200", "content-type: text/event-stream"))
			e.chunk("data: half")
			e.wantBody("data: half")
			e.send(trailersMessage())
			if a := e.recv(); a.GetResponseTrailers() == nil {
				t.Errorf("answered with %v", a)
			}
			e.leave()
			w.wantMetric(1, "bypassed_total", "static_mode")
			if w.logs.FilterMessageSnippet("processing_mode").Len() != 1 {
				t.Error("the operator is not told")
			}
		})
	})
	t.Run("not a message", func(t *testing.T) {
		inWorld(t, inline, func(w *world) {
			e := w.stream("GET", "/")
			if err := e.g.SendMsg(&extproc.HttpBody{Body: []byte{0xff}}); err != nil { // field 1 is none of ProcessingRequest's
				t.Fatal(err)
			}
			e.nothing()
			e.leave()
		})
	})
}
