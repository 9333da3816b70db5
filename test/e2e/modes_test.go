package e2e

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
)

const modesConfig = `
policies:
- {name: observe, match: {path_prefix: /observe/}, mode: observe}
- {name: "off", match: {path_prefix: /off/}, mode: "off"}
- {name: nobody, match: {path_prefix: /nobody/}, rollout: 0}
- {name: api, match: {path_prefix: /api/, methods: [GET], headers: {x-stream: "1"}}}
`

func TestObserveForwardsBytesAsTheyCome(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, modesConfig)
	c := conversation{t: t, gw: gw, origin: origin, path: origin.Path("/observe"), header: []string{"mcp-session-id", "o"}}

	x, s := c.connect("")
	x.Send(events(1, 2) + "id: 3\ndata: ha")
	s.Want(t, events(1, 2)+"id: 3\ndata: ha")
	x.Send("lf\n\n")
	s.Want(t, "lf\n\n")
	x.Finish(s)
	s.WantEnd(t)

	// It watches, and keeps its hands off: even an overlap is passed on.
	c.turn("2", events(1, 4), events(1, 4))
	gw.WantMetric(t, 7, "holdfast_events_total", "policy=observe")
	gw.WantMetric(t, 2, "holdfast_streams_total", "policy=observe", "mode=observe", "outcome=complete")
	gw.WantMetric(t, 0, "holdfast_duplicates_dropped_total")
}

// TestRequestsNoPolicyWants: whatever a policy does not match, or matches with
// mode off or outside its rollout, is left alone.
func TestRequestsNoPolicyWants(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, modesConfig)
	for _, tc := range []struct {
		name, prefix string
		request      harness.Request
	}{
		{"mode off", "/off", harness.Request{}},
		{"rollout 0", "/nobody", harness.Request{}},
		{"other path", "/elsewhere", harness.Request{}},
		{"other method", "/api", harness.Request{Method: http.MethodPost, Header: []string{"x-stream", "1"}}},
		{"other header", "/api", harness.Request{Header: []string{"x-stream", "2"}}},
		{"no header", "/api", harness.Request{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := origin.Path(tc.prefix)
			tc.request.Header = append(tc.request.Header, "accept-encoding", "gzip, br")
			s := gw.Open(t, path, tc.request)
			x := origin.Accept(t, path)
			if got := x.Request.Header.Get("accept-encoding"); got != "gzip, br" {
				t.Errorf("the origin saw accept-encoding %q", got)
			}
			x.Stream()
			// An unfinished event comes through at once only if nobody parses it.
			x.Send("data: ha")
			s.Want(t, "data: ha")
			x.Finish(s)
			s.WantEnd(t)
		})
	}
	t.Run("matched after all", func(t *testing.T) {
		t.Parallel()
		path := origin.Path("/api")
		s := gw.Get(t, path, "x-stream", "1")
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(event("1", "a"))
		s.Want(t, event("1", "a"))
		x.Finish(s)
		s.WantEnd(t)
		gw.WantMetric(t, 1, "holdfast_streams_total", "policy=api")
	})
}

// TestOtherAnswersAreBypassed: a download and a JSON answer on a route with a
// policy are not event streams, and none of their bytes are for us.
func TestOtherAnswersAreBypassed(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")

	random := rand.NewChaCha8([32]byte{1})
	download := make([]byte, 10<<20)
	_, _ = random.Read(download)
	for _, tc := range []struct {
		name, contentType, body string
	}{
		{"download", "application/octet-stream", string(download)},
		{"json", "application/json", `{"data": "id: 1\n\n"}`},
		{"looks like events", "text/plain", events(1, 3)},
		{"no content type", "", events(1, 3)},
		{"nearly the right content type", "text/event-stream-not", events(1, 3)},
	} {
		for _, protocol := range []harness.Protocol{harness.H1, harness.H2} {
			t.Run(tc.name+"/"+string(protocol), func(t *testing.T) {
				before := gw.Metric(t, "holdfast_bypassed_total")
				path := origin.Handle("", func(x *harness.Exchange) {
					if tc.contentType == "" {
						x.Answer(http.StatusOK)
					} else {
						x.Answer(http.StatusOK, "content-type", tc.contentType)
					}
					x.Send(tc.body)
				})
				s := gw.Open(t, path, harness.Request{Protocol: protocol})
				s.WantBody(t, tc.body)
				gw.WantMetric(t, before+1, "holdfast_bypassed_total")
			})
		}
	}
	gw.WantMetric(t, 0, "holdfast_events_total")
}

// TestCompressedStreamPassesUntouched: an encoded body cannot be parsed, and
// decoding it would change it.
func TestCompressedStreamPassesUntouched(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")

	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write([]byte(events(1, 100)))
	_ = zw.Close()
	path := origin.Handle("", func(x *harness.Exchange) {
		x.Stream("content-encoding", "gzip")
		half := packed.Len() / 2
		x.Send(packed.String()[:half])
		x.Send(packed.String()[half:])
	})
	s := gw.Get(t, path)
	s.WantOpen(t)
	if got := s.Response(t).Header.Get("content-encoding"); got != "gzip" {
		t.Errorf("content-encoding %q", got)
	}
	s.WantBody(t, packed.String())
	gw.WantMetric(t, 1, "holdfast_bypassed_total")

	// "identity" is a word for no encoding.
	path = origin.Handle("", func(x *harness.Exchange) {
		if x.Request.Header.Get("last-event-id") != "" {
			x.Answer(http.StatusNoContent)
			return
		}
		x.Stream("content-encoding", "identity")
		x.Send(events(1, 3))
	})
	gw.Get(t, path).WantBody(t, events(1, 3))
	gw.WantMetric(t, 3, "holdfast_events_total")
}

// TestOnlyEventStreamsAreAskedForInTheClear: whoever asks for an event stream
// gets one that can be read on the way; nobody else's encodings are touched.
func TestOnlyEventStreamsAreAskedForInTheClear(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	for _, tc := range []struct{ accept, want string }{
		{"text/event-stream", "identity"},
		{"application/json, text/event-stream", "identity"},
		{"Text/Event-Stream;q=0.9, */*;q=0.1", "identity"},
		{"text/html", "gzip, br"},
		{"application/json", "gzip, br"},
		{"text/event-stream-not", "gzip, br"},
	} {
		t.Run(tc.accept, func(t *testing.T) {
			t.Parallel()
			path := origin.Body("", events(1, 2))
			gw.Get(t, path, "accept", tc.accept, "accept-encoding", "gzip, br").WantBody(t, events(1, 2))
			if got := strings.Join(origin.Requests(path)[0].Header.Values("accept-encoding"), "; "); got != tc.want {
				t.Errorf("the origin saw accept-encoding %q, want %q", got, tc.want)
			}
		})
	}
}

// TestHead: an answer without a body has no event to wait for.
func TestHead(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	for _, protocol := range []harness.Protocol{harness.H1, harness.H2} {
		path := origin.Handle("", func(x *harness.Exchange) { x.Stream() })
		s := gw.Open(t, path, harness.Request{Method: http.MethodHead, Protocol: protocol})
		s.WantOpen(t)
		s.WantEnd(t)
	}
}
