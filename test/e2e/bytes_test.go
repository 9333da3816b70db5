package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
)

const bom = "\xef\xbb\xbf"

// shapes are streams of every kind found in the field and of every kind of
// malformed input. Each must arrive byte for byte: with no failure there is
// nothing to fix, so nothing may change.
var shapes = []struct {
	name   string
	pieces []string // chunks, as the origin writes them
}{
	{"empty", nil},
	{"numbered", []string{events(1, 3), events(4, 50)}},
	{"constant ids", []string{event("s-1", "a"), event("s-1", "b"), event("s-1", "b"), event("s-1", "c")}},
	{"restarting ids", []string{events(1, 5), events(1, 5), event("1", "new"), events(2, 3)}},
	{"falling ids", []string{event("9", "a"), event("8", "b"), event("7", "c")}},
	{"no ids", []string{event("", "a"), event("", "a"), event("", "a"), "data: [DONE]\n\n"}},
	{"equal pings", []string{strings.Repeat("event: ping\ndata: {\"type\": \"ping\"}\n\n", 5)}},
	{"dashscope", []string{
		"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"text\":\"a\"}}\n\n",
		"id:2\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"text\":\"ab\"}}\n\n",
	}},
	{"qwen", []string{
		strings.Repeat("id: message_id\r\nevent: message\r\nretry: 15000\r\ndata: tok\r\n\r\n", 4),
		"id: finish_id\r\nevent: finish\r\nretry: 15000\r\ndata: \r\n\r\n",
	}},
	{"mcp priming", []string{"id: 0_0\nretry: 500\ndata:\n\n", "event: message\nid: 0_1\ndata: {\"jsonrpc\":\"2.0\"}\n\n"}},
	{"data-less events", []string{"event: complete\n\n", "id: 7\n\n", "retry: 10\n\n", "id:\n\n", event("8", "x")}},
	{"comments", []string{":ok\n\n", ": keep-alive\n", ":\n", ": in front\nid: 1\n: inside\ndata: x\n: behind\n\n", ": last\n"}},
	{"blank lines", []string{"\n\n\n", event("1", "a"), "\n\r\n\r", "\n", event("2", "b")}},
	{"lone CR", []string{"id: 1\rdata: a\r\r", "id: 2\rdata: b\r\r", "data: tail\r"}},
	{"mixed line ends", []string{"id: 1\r\ndata: a\r\n\r\n", "id: 2\ndata: b\n\n", "id: 3\rdata: c\r\r", "data: d\n\r\n", "data: e\r\n\n\r"}},
	{"byte order mark", []string{bom + "id: 1\ndata: a\n\n", event("2", "b")}},
	{"byte order mark cut", []string{"\xef", "\xbb", "\xbf", "id: 1\ndata: a\n\n"}},
	{"two byte order marks", []string{bom + bom + "data: a\n\n", bom + "data: b\n\n"}},
	{"half a byte order mark", []string{"\xef\xbb", "data: a\n\n", event("1", "b")}},
	{"NUL id", []string{"id: a\x00b\ndata: x\n\n", event("2", "y"), "id: \x00\ndata: z\n\n"}},
	{"NUL data", []string{"data: \x00\x00\n\n", "\x00\n\n"}},
	{"invalid UTF-8", []string{"data: \xff\xfe\xc0\xaf\n\n", "id: \xf0\x9f\ndata: \xf0\x9f\n\n", "\x80\x80: x\n\n", "data: \xed\xa0\x80\n\n"}},
	{"overlong line ends", []string{"data: a\xc0\x8a\xc0\x8ab\n\n"}},
	{"other blanks", []string{"data: a\u2028b\u0085c\vd\fe\n\n", " \n\t\n\n", "\tdata: x\n\n"}},
	{"lines without colon", []string{"data\n\n", "id\ndata\n\n", "retry\nevent\n\n", "word\n\n"}},
	{"odd fields", []string{"Data: x\nDATA: y\n data: z\ndata : w\n\n", "data:::x\n\n", "id:  two blanks \ndata:\tx\n\n"}},
	{"retry of all kinds", []string{"retry: 1e3\nretry: -1\nretry: 007\nretry: 99999999999999999999\nretry:\n\n"}},
	{"error in the middle", []string{event("1", "a"), "<html><body>502 Bad Gateway</body></html>\n", "{\"error\":\"oops\"}\n\n", event("2", "b")}},
	{"unterminated line", []string{event("1", "a"), "id: 2\ndata: b"}},
	{"unterminated event", []string{event("1", "a"), "id: 2\ndata: b\n"}},
	{"unterminated field name", []string{"dat"}},
	{"ends in CR", []string{event("1", "a"), "id: 2\r\ndata: b\r\n\r"}},
	{"not an event stream at all", []string{strings.Repeat("no colon here. ", 5000)}},
	{"many lines", []string{"id: 1\n" + strings.Repeat("data: line\n", 5000) + "\n"}},
	{"long id", []string{event(strings.Repeat("i", 8000), "a"), event(strings.Repeat("j", 20000), "b")}},
	{"large event", []string{event("1", strings.Repeat("x", 60<<10)), event("2", "b")}},
	{"event above the limit", []string{event("1", "a"), "id: 2\ndata: ", strings.Repeat("x", 100<<10), strings.Repeat("y", 100<<10), "\n\n", event("3", "c")}},
	{"line above the limit, never ended", []string{event("1", "a"), "data: " + strings.Repeat("x", 300<<10)}},
}

// ways are policies for all ways that a stream can take through us, each with
// paths of its own; keys is what else they say.
func ways(keys string) string {
	var b strings.Builder
	b.WriteString("policies:\n")
	for name, way := range map[string]string{"inline": "mode: inline", "relay": "mode: hold, via: relay", "immediate": "mode: hold, via: immediate"} {
		fmt.Fprintf(&b, "- {name: %s, match: {path_prefix: /%s/}, %s%s}\n", name, name, way, keys)
	}
	return b.String()
}

// everyProtocol runs a test for each way, each protocol of the upstream and each
// of the client, on a gateway for each of the upstream's.
func everyProtocol(t *testing.T, config string, test func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, way string, protocol harness.Protocol)) {
	t.Helper()
	origin := harness.NewOrigin(t)
	for _, upstream := range []string{origin.URL, origin.H2URL()} {
		scheme, _, _ := strings.Cut(upstream, ":")
		gw := harness.Run(t, upstream, config)
		t.Run("from "+scheme, func(t *testing.T) {
			for _, way := range []string{"inline", "relay", "immediate"} {
				for _, protocol := range []harness.Protocol{harness.H1, harness.H2} {
					t.Run(way+"/"+string(protocol), func(t *testing.T) {
						t.Parallel()
						test(t, origin, gw, "/"+way, protocol)
					})
				}
			}
		})
		for policy, mode := range map[string]string{"inline": "inline", "relay": "hold", "immediate": "hold"} {
			all := gw.Metric(t, "holdfast_streams_total", "policy="+policy)
			if n := gw.Metric(t, "holdfast_streams_total", "policy="+policy, "mode="+mode); n != all || n == 0 {
				t.Errorf("%g of %g streams of the policy %s ran in mode %s", n, all, policy, mode)
			}
		}
	}
}

// TestBytesPassUnchanged, whichever way they take, and although an origin that
// knows nothing of Last-Event-ID sends everything again when it is asked whether
// that was all.
func TestBytesPassUnchanged(t *testing.T) {
	t.Parallel()
	everyProtocol(t, "limits: {event_bytes: 64KiB}\n"+ways(""), func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, way string, protocol harness.Protocol) {
		for _, shape := range shapes {
			t.Run(shape.name, func(t *testing.T) {
				path := origin.Body(way, shape.pieces...)
				s := gw.Open(t, path, harness.Request{Protocol: protocol})
				s.WantOpen(t)
				s.WantBody(t, strings.Join(shape.pieces, ""))
			})
		}
	})
}

// TestEveryCutPasses cuts a stream of all line ends at every byte. The client
// has the first event before the rest is sent, so the cut is a real one: the
// processor has seen the bytes before it and nothing behind.
func TestEveryCutPasses(t *testing.T) {
	t.Parallel()
	const first = "data: first\n\n"
	const text = "id: 1\r\ndata: \xe2\x82\xac\r\n\r\n: note\r\n\r\nid: 2\rdata: b\r\rdata: c\n\n"
	everyProtocol(t, ways(""), func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, way string, protocol harness.Protocol) {
		for cut := range len(text) + 1 {
			path := origin.Path(way)
			s := gw.Open(t, path, harness.Request{Protocol: protocol})
			x := origin.Accept(t, path)
			x.Stream()
			x.Send(first + text[:cut])
			s.Want(t, first)
			x.Send(text[cut:])
			x.Finish(s)
			got, err := s.All(t)
			if err != nil || got != first+text {
				t.Errorf("cut at byte %d: the client got %q and %v, want %q", cut, got, err, first+text)
			}
		}
	})
}

// TestUnfinishedEventIsHeldBack: the client could not dispatch it before its
// blank line anyway, and a splice point must never lie inside an event.
func TestUnfinishedEventIsHeldBack(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	path := origin.Path("")
	s := gw.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(event("1", "a") + "id: 2\ndata: half")
	s.Want(t, event("1", "a"))
	if rest := s.Pending(); rest != "" {
		t.Errorf("the client got a piece of an event: %q", rest)
	}
	x.Send(" of it\n\n")
	s.Want(t, "id: 2\ndata: half of it\n\n")

	// A comment in front of an event is complete in itself: an origin's
	// keep-alive must not wait.
	x.Send(": still here\nid: 3\nda")
	s.Want(t, ": still here\n")
	x.Send("ta: c\n\n")
	s.Want(t, "id: 3\ndata: c\n\n")
	x.Finish(s)
	s.WantEnd(t)
}

// TestCutReachesTheClientAsCut: an origin that breaks off must not look like
// one that is done. Where the stream is held, it has to refuse to go on, too.
func TestCutReachesTheClientAsCut(t *testing.T) {
	t.Parallel()
	everyProtocol(t, ways(""), func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, way string, protocol harness.Protocol) {
		for name, cut := range map[string]func(*harness.Exchange){"abort": (*harness.Exchange).Abort, "reset": (*harness.Exchange).Reset} {
			t.Run(name, func(t *testing.T) {
				path := origin.Path(way)
				s := gw.Open(t, path, harness.Request{Protocol: protocol})
				x := origin.Accept(t, path)
				x.Stream()
				x.Send(events(1, 2) + "id: 3\ndata: ha")
				s.Want(t, events(1, 2))
				cut(x)
				if way != "/inline" {
					x = resumed(t, origin, path, "2")
					x.Answer(http.StatusUnauthorized)
					x.End()
				}
				if rest := s.WantAbort(t); strings.Contains(rest, "\n\n") {
					t.Errorf("before the abort the client got %q, which the origin never sent", rest)
				}
			})
		}
	})
}

// TestTrailersPass, also those that come together with an event that never ends:
// nothing of it can be forwarded before they are seen. Who sends no trailers the
// second time does not take back the first ones.
func TestTrailersPass(t *testing.T) {
	t.Parallel()
	everyProtocol(t, ways(""), func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, way string, protocol harness.Protocol) {
		for name, body := range map[string]string{"events": events(1, 3), "unfinished event": "data: ha", "both": events(1, 3) + "data: ha"} {
			t.Run(name, func(t *testing.T) {
				path := origin.Handle(way, func(x *harness.Exchange) {
					x.Stream()
					x.Send(body)
					if x.Request.Header.Get("last-event-id") == "" {
						x.Trailer("x-sum", "7")
					}
				})
				s := gw.Open(t, path, harness.Request{Protocol: protocol})
				s.WantBody(t, body)
				if got := s.Response(t).Trailer.Get("x-sum"); got != "7" {
					t.Errorf("the trailer x-sum is %q, want 7", got)
				}
			})
		}
	})
}

func TestStatusHeadersAndTrailersPass(t *testing.T) {
	t.Parallel()
	everyProtocol(t, ways(""), func(t *testing.T, origin *harness.Origin, gw *harness.Gateway, way string, protocol harness.Protocol) {
		path := origin.Handle(way, func(x *harness.Exchange) {
			x.Answer(http.StatusOK, "content-type", "Text/Event-Stream; charset=utf-8", "mcp-session-id", "s", "set-cookie", "a=1", "x-many", "a", "x-many", "b", "trailer", "x-sum")
			x.Send(events(1, 3))
			x.Trailer("x-sum", "7")
		})
		s := gw.Open(t, path, harness.Request{Protocol: protocol, Header: []string{"accept", "text/event-stream", "te", "trailers"}})
		resp := s.Response(t)
		for name, want := range map[string]string{"content-type": "Text/Event-Stream; charset=utf-8", "mcp-session-id": "s"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if got := strings.Join(resp.Header.Values("x-many"), ", "); got != "a, b" {
			t.Errorf("x-many: %q", got)
		}
		if got := resp.Header.Values("set-cookie"); len(got) != 1 || got[0] != "a=1" {
			t.Errorf("set-cookie: %q", got)
		}
		s.WantBody(t, events(1, 3))
		if got := resp.Trailer.Get("x-sum"); got != "7" {
			t.Errorf("the trailer x-sum is %q, want 7", got)
		}
	})
}

// TestCookiesPass: they are the one field of which several cannot be made into one.
func TestCookiesPass(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, ways(""))
	for _, way := range []string{"/inline", "/relay", "/immediate"} {
		for _, contentType := range []string{"text/event-stream", "application/json"} {
			path := origin.Handle(way, func(x *harness.Exchange) {
				x.Answer(http.StatusOK, "content-type", contentType, "set-cookie", "a=1", "set-cookie", "b=2")
				x.Send(events(1, 3))
			})
			s := gw.Get(t, path)
			if got := s.Response(t).Header.Values("set-cookie"); len(got) != 2 {
				t.Errorf("%s, %s: set-cookie: %q", way, contentType, got)
			}
			s.WantBody(t, events(1, 3))
		}
	}
}

func TestOtherStatusPasses(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	for _, status := range []int{http.StatusNoContent, http.StatusFound, http.StatusNotFound, http.StatusServiceUnavailable} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			path := origin.Handle("", func(x *harness.Exchange) { x.Answer(status, "location", "/elsewhere", "retry-after", "7") })
			s := gw.Get(t, path)
			if got := s.Response(t).StatusCode; got != status {
				t.Errorf("status %d, want %d", got, status)
			}
			s.WantEnd(t)
		})
	}
}

// TestPostPasses: a POST that answers with an event stream, as LLM APIs do.
func TestPostPasses(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	path := origin.Path("")
	s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: `{"stream":true}`, Header: []string{"content-type", "application/json"}})
	x := origin.Accept(t, path)
	if got := x.ReadBody(t); got != `{"stream":true}` {
		t.Errorf("the origin got the body %q", got)
	}
	x.Stream()
	x.Send(event("", "a"))
	s.Want(t, event("", "a"))
	x.Send("data: [DONE]\n\n")
	x.Finish(s)
	s.Want(t, "data: [DONE]\n\n")
	s.WantEnd(t)
}
