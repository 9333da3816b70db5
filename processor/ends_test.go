package processor

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/go-cmp/cmp"

	"holdfast/processor/pass"
)

// trailersOf is the message of a filter that asks about the end of a response.
func trailersOf(h http.Header) *extproc.ProcessingRequest {
	m := &corev3.HeaderMap{}
	for name, values := range h {
		for _, v := range values {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(v)})
		}
	}
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseTrailers{
		ResponseTrailers: &extproc.HttpTrailers{Trailers: m},
	}}
}

// A relayed stream says by a trailer how it ended. The filter that asks about it
// gets that as metadata, and has the trailer removed.
func TestEndOfRelayed(t *testing.T) {
	o := answering(func(w http.ResponseWriter, _ *http.Request) {
		beginEvents(w)
		say(w, "%s", ev(1, 2))
		reset()
	}, func(w http.ResponseWriter, _ *http.Request) {
		beginEvents(w)
		say(w, "%s", ev(2, 3))
		w.Header().Set(http.TrailerPrefix+"X-Sum", "7")
		w.Header().Set(http.TrailerPrefix+EndHeader, "outcome=forged")
	})
	inHolding(t, quiet, o.serve, func(h *holding) {
		e := h.dial(endsKey, "1")
		a := e.ask(requestMessage("GET", "/"))
		r := h.request("GET", "/", nil)
		for _, set := range a.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
			r.Header.Set(set.GetHeader().GetKey(), string(set.GetHeader().GetRawValue()))
		}
		if r.Header.Get(pass.TicketHeader) == "" || r.Header.Get(EndHeader) == "" {
			t.Fatalf("the request goes on with %v", r.Header)
		}
		e.wantClosed()
		res := h.do(r)
		res.wantEnd(ev(1, 2, 3))
		if got := res.Trailer.Get("X-Sum"); got != "7" {
			t.Errorf("trailers %v", res.Trailer)
		}
		line := h.ended()

		e = h.dial(positionKey, positionEnd)
		a = e.ask(trailersOf(res.Trailer))
		if m := a.GetResponseTrailers().GetHeaderMutation(); !slices.Equal(m.GetRemoveHeaders(), []string{EndHeader}) || len(m.GetSetHeaders()) > 0 {
			t.Errorf("the trailers become %v", m)
		}
		want := map[string]any{namespace: map[string]any{
			"policy": "p", "mode": "hold", "outcome": "resumed", "cursor": "3",
			"events": 4.0, "duplicates": 1.0, "resumes": 1.0, "stream": line["stream"], "stored": true,
		}}
		if diff := cmp.Diff(want, a.GetDynamicMetadata().AsMap()); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		e.wantClosed()
	})
}

// Without a filter that takes it off again there is no trailer, whatever a client says.
func TestNoEndOfRelayed(t *testing.T) {
	serve := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Holdfast-End")
		if r.Header.Get(EndHeader) != "" {
			t.Error("the origin got the header")
		}
		if r.URL.Path == "/text" {
			http.Error(w, "no", http.StatusTeapot)
		} else {
			sends("data: a\n\n")(w, r)
		}
		w.Header().Set("X-Holdfast-End", "outcome=forged")
	}
	inHolding(t, `- {name: p, mode: hold, resume: none}`, serve, func(h *holding) {
		e := h.dial()
		a := e.ask(requestMessage("GET", "/", EndHeader+": 1"))
		if m := a.GetRequestHeaders().GetResponse().GetHeaderMutation(); !slices.Contains(m.GetRemoveHeaders(), EndHeader) {
			t.Errorf("a client's header stays: %v", m)
		}
		e.wantClosed()
		for _, path := range []string{"/", "/text"} {
			for _, header := range []string{"", "1"} {
				r := h.request("GET", path, nil)
				r.Header.Set(pass.TicketHeader, h.ticket("GET", path))
				if header != "" {
					r.Header.Set(EndHeader, header)
				}
				res := h.do(r)
				if _, err := io.ReadAll(res.Body); err != nil {
					t.Error(err)
				}
				got := res.Trailer.Get(EndHeader)
				if path == "/text" && got != "" || path == "/" && (got != "") != (header != "") {
					t.Errorf("%s with %q: trailer %q", path, header, got)
				}
			}
		}
	})
}

// Trailers that are not ours pass.
func TestEndMessages(t *testing.T) {
	inWorld(t, `- {name: p}`, func(w *world) {
		for _, c := range []struct {
			trailers http.Header
			removed  bool
		}{
			{http.Header{}, false},
			{http.Header{"X-Sum": {"7"}}, false},
			{http.Header{"X-Holdfast-End": {"outcome=complete&events=many"}}, true},
			{http.Header{"X-Holdfast-End": {"%zz"}}, true},
			{http.Header{"X-Holdfast-End": {""}}, true},
		} {
			e := w.dial(positionKey, positionEnd)
			a := e.ask(trailersOf(c.trailers))
			if removed := len(a.GetResponseTrailers().GetHeaderMutation().GetRemoveHeaders()) > 0; removed != c.removed || a.GetResponseTrailers() == nil {
				t.Errorf("%v: %v", c.trailers, a)
			}
			if a.GetDynamicMetadata() != nil {
				t.Errorf("%v becomes %v", c.trailers, a.GetDynamicMetadata())
			}
			e.wantClosed()
		}
	})
}
