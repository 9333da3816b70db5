package processor

import (
	"net/http"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/health"
	"holdfast/processor/pass"
	"holdfast/processor/upstream"
)

// marked returns what a filter in a listener makes of a request: the policy that
// it is marked with, and whether the route is chosen anew.
func (w *world) marked(metadata []string, method string, more ...string) (mark string, again bool) {
	w.Helper()
	e := w.dial(metadata...)
	c := e.ask(requestMessage(method, "/", more...)).GetRequestHeaders().GetResponse()
	e.leave()
	for _, h := range c.GetHeaderMutation().GetSetHeaders() {
		if h.GetHeader().GetKey() == upstream.PeekHeader {
			mark = string(h.GetHeader().GetRawValue())
		}
	}
	return mark, c.GetClearRouteCache()
}

func TestMarks(t *testing.T) {
	inWorld(t, `
- {name: llm, match: {methods: [POST, PUT]}, retry_when: [{event: error}]}
- {name: watched, mode: observe, match: {methods: [PATCH]}, retry_when: [{event: error}]}
- {name: off, mode: off, match: {headers: {x-off: "1"}}}
- {name: p}`, func(w *world) {
		can := []string{peeksKey, "1"}
		for _, c := range []struct {
			metadata []string
			method   string
			more     []string
			want     string
		}{
			{can, "GET", nil, "p"},
			{can, "POST", nil, "llm"},
			{can, "PUT", nil, ""},    // nobody said that it may be made again
			{can, "DELETE", nil, ""}, // nor that this may
			{can, "PATCH", nil, ""},
			{can, "GET", []string{"x-off: 1"}, ""},
			{nil, "GET", nil, ""}, // it would lead nowhere
			// What a client says of it does not count.
			{can, "DELETE", []string{upstream.PeekHeader + ": p"}, ""},
			{can, "POST", []string{upstream.PeekHeader + ": p", pass.TicketHeader + ": x"}, "llm"},
		} {
			mark, again := w.marked(c.metadata, c.method, c.more...)
			if forged := len(c.more) > 0 && c.method != "GET"; mark != c.want || again != (c.want != "" || forged) {
				t.Errorf("%s %v: marked %q, route chosen anew: %v; want %q", c.method, c.more, mark, again, c.want)
			}
		}
	})
}

// A fetch carries the mark, and so do the fetches that continue its stream.
func TestFetchesAreMarked(t *testing.T) {
	marks := make(chan string, 10)
	serve := func(w http.ResponseWriter, r *http.Request) {
		marks <- r.Header.Get(upstream.PeekHeader)
		if r.Header.Get("Last-Event-Id") == "2" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		beginEvents(w)
		say(w, "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n")
	}
	inHolding(t, `- {name: p, mode: hold, heartbeat: 0s}`, serve, func(h *holding) {
		h.open("/", upstream.PeekHeader+": p").wantEnd("id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n")
		for range 2 {
			if m := <-marks; m != "p" {
				t.Errorf("marked %q", m)
			}
		}
	})
}

// tryNumber begins the n-th of three tries.
func (w *world) tryNumber(n float64, policy string) *envoy {
	w.Helper()
	e := w.dial(positionKey, positionUpstream, triesKey, "3")
	m := requestMessage("GET", "/rewritten", upstream.PeekHeader+": "+policy)
	set, _ := structpb.NewStruct(map[string]any{"upstream.address": "a", "xds.cluster_name": "c", "upstream.request_attempt_count": n})
	m.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": set}
	e.send(m)
	return e
}

// Nobody is asked after the last try, so that one is not looked at.
func TestLastTry(t *testing.T) {
	inWorld(t, `
- {name: elsewhere, match: {hosts: [public.test], path_prefix: /public}, retry_when: [{event: error}]}
- {name: off, mode: off}`, func(w *world) {
		for n, looks := range map[float64]bool{1: true, 2: true, 3: false, 4: false} {
			e := w.tryNumber(n, "elsewhere")
			if got := e.recv().GetModeOverride().GetResponseBodyMode() != 0; got != looks {
				t.Errorf("try %v is looked at: %v", n, got)
			}
			e.leave()
		}
		// The mark names the policy, whatever became of the request on its way.
		for _, policy := range []string{"off", "unknown"} {
			e := w.tryNumber(1, policy)
			if a := e.recv(); a.GetModeOverride().GetResponseBodyMode() != 0 {
				t.Errorf("policy %s: %v", policy, a)
			}
			e.wantClosed()
		}
	})
}

// A host that never answers is given up by Envoy; all that is seen of it is an end.
func TestNoAnswerInTime(t *testing.T) {
	inWorld(t, `- {name: p, health: {connect_timeout: 5s}}`, func(w *world) {
		for range 2 {
			e := w.tryNumber(1, "p")
			e.recv()
			e.leave() // at once: the client did
		}
		w.wantMetric(0, "envoy_retries_total", "p", "silence")
		e := w.tryNumber(1, "p")
		e.recv()
		elapse(6e9)
		e.leave()
		w.wantMetric(1, "envoy_retries_total", "p", "silence")
		s := w.srv.Targets()
		if len(s) != 1 || s[0].Cluster != "c" || s[0].Address != "a" || s[0].LastFailure != health.Timeout.String() {
			t.Errorf("%+v", s)
		}
	})
}
