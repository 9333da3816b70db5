package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// eitherWay runs a test for each way to hold.
func eitherWay(t *testing.T, policy string, test func(t *testing.T, origin *harness.Origin, gw *harness.Gateway)) {
	t.Helper()
	for _, via := range []string{"relay", "immediate"} {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			origin := harness.NewOrigin(t)
			gw := harness.Run(t, origin.URL, "policies: [{name: default, mode: hold, via: "+via+", heartbeat: 0s, detach: 0s, "+
				"backoff: {base: 20ms, max: 200ms, retries: 50}"+policy+"}]")
			test(t, origin, gw)
		})
	}
}

// TestMCPPostIsResumedByGet: an answer to an MCP client's POST goes on by a GET behind
// the event that was sent last, with the session's headers and the client's token.
func TestMCPPostIsResumedByGet(t *testing.T) {
	t.Parallel()
	eitherWay(t, "", func(t *testing.T, origin *harness.Origin, gw *harness.Gateway) {
		post := func(revision string) (string, *harness.Stream, *harness.Exchange) {
			t.Helper()
			path := origin.Path("/mcp")
			s := gw.Open(t, path, harness.Request{
				Method: http.MethodPost, Body: `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`,
				Header: []string{
					"accept", "application/json, text/event-stream", "content-type", "application/json",
					"mcp-protocol-version", revision, "mcp-session-id", "s", "authorization", "Bearer t",
				},
			})
			x := origin.Accept(t, path)
			if got := x.ReadBody(t); !strings.Contains(got, "tools/call") {
				t.Errorf("the origin got %q", got)
			}
			x.Stream()
			x.Send("id: 1\nretry: 10\ndata:\n\n") // primes
			x.Send("id: 2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n")
			s.WantUntil(t, "progress\"}\n\n")
			return path, s, x
		}
		t.Run("resumed", func(t *testing.T) {
			path, s, x := post("2025-06-18")
			x.Abort()
			x = resumed(t, origin, path, "2")
			h := x.Request.Header
			if x.Request.Method != http.MethodGet || h.Get("mcp-session-id") != "s" || h.Get("authorization") != "Bearer t" ||
				h.Get("mcp-protocol-version") != "2025-06-18" || x.Request.ContentLength > 0 {
				t.Errorf("resumed by %s with %v", x.Request.Method, h)
			}
			x.Stream()
			last := "id: 3\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"
			x.Send(last)
			s.Want(t, last)
			x.End()
			s.WantEnd(t) // the answer is the end, and nothing is asked
			if n := len(origin.Requests(path)); n != 2 {
				t.Errorf("the origin saw %d requests, want 2", n)
			}
		})
		t.Run("the server offers no GET", func(t *testing.T) {
			path, s, x := post("2025-06-18")
			x.Abort()
			x = resumed(t, origin, path, "2")
			x.Answer(http.StatusMethodNotAllowed)
			x.End()
			s.WantAbort(t)
			if n := len(origin.Requests(path)); n != 2 {
				t.Errorf("the origin saw %d requests, want 2", n)
			}
		})
		t.Run("a revision without resumption", func(t *testing.T) {
			path, s, x := post("2026-07-28")
			x.Abort()
			s.WantAbort(t)
			if n := len(origin.Requests(path)); n != 1 {
				t.Errorf("the origin saw %d requests, want 1", n)
			}
		})
	})
}

// TestOpenAIResponseIsResumed: by the response's id and the number of the last event.
func TestOpenAIResponseIsResumed(t *testing.T) {
	t.Parallel()
	eitherWay(t, "", func(t *testing.T, origin *harness.Origin, gw *harness.Gateway) {
		numbered := func(kind string, n int, more string) string {
			return fmt.Sprintf("event: %s\ndata: {\"type\":%q,\"sequence_number\":%d%s}\n\n", kind, kind, n, more)
		}
		created := numbered("response.created", 0, `,"response":{"id":"resp_1","background":true}`)
		one, two := numbered("response.output_text.delta", 1, `,"delta":"a"`), numbered("response.output_text.delta", 2, `,"delta":"b"`)
		done := numbered("response.completed", 3, `,"response":{"id":"resp_1"}`)

		query, broken := make(chan string, 10), make(chan struct{})
		origin.Replace("/v1/responses", func(x *harness.Exchange) {
			x.Stream()
			x.Send(created + one)
			x.Wait(broken)
			x.Abort()
		})
		origin.Replace("/v1/responses/resp_1", func(x *harness.Exchange) {
			query <- x.Request.Method + " " + x.Request.URL.RawQuery
			x.Stream()
			x.Send(two + done)
		})
		s := gw.Open(t, "/v1/responses", harness.Request{Method: http.MethodPost, Body: `{"stream":true,"background":true}`})
		s.Want(t, created+one)
		close(broken)
		s.Want(t, two+done)
		s.WantEnd(t)
		if got := <-query; got != "GET stream=true&starting_after=1" && got != "GET starting_after=1&stream=true" {
			t.Errorf("resumed by %s", got)
		}
	})
}

// TestEndsOfNamedProtocols: an end without the protocol's last event is none. Where
// nothing can be resumed the client is told so, and after that event nobody is asked.
func TestEndsOfNamedProtocols(t *testing.T) {
	t.Parallel()
	chunk := "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
	eitherWay(t, ", complete_when: [openai-chat]", func(t *testing.T, origin *harness.Origin, gw *harness.Gateway) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			path := origin.Path("")
			s := gw.Open(t, path, harness.Request{Method: method})
			x := origin.Accept(t, path)
			x.Stream()
			x.Send(chunk)
			s.Want(t, chunk)
			x.End()
			s.WantAbort(t)

			path = origin.Path("")
			s = gw.Open(t, path, harness.Request{Method: method})
			x = origin.Accept(t, path)
			x.Stream()
			x.Send(chunk + "data: [DONE]\n\n")
			x.End()
			s.WantBody(t, chunk+"data: [DONE]\n\n")
			if n := len(origin.Requests(path)); n != 1 {
				t.Errorf("the origin saw %d requests, want 1", n)
			}
		}
		gw.WantMetric(t, 2, "holdfast_streams_total", "mode=hold", "outcome=cut")
		gw.WantMetric(t, 2, "holdfast_streams_total", "mode=hold", "outcome=complete")
	})
}

// TestSilenceIsToldWhereNothingCanBeResumed: a stream without ids is not ended for being
// silent. The operator is told, and it goes on.
func TestSilenceIsToldWhereNothingCanBeResumed(t *testing.T) {
	t.Parallel()
	eitherWay(t, ", health: {idle_timeout: 200ms, check_interval: 50ms}", func(t *testing.T, origin *harness.Origin, gw *harness.Gateway) {
		path := origin.Path("")
		s, x := holding(t, origin, gw, path, event("", "a"), harness.H1)
		gw.WantLog(t, map[string]string{"msg": "the upstream is silent, and the stream cannot be resumed"})
		x.Send(event("", "b"))
		s.Want(t, event("", "b"))
		x.End()
		s.WantEnd(t)
		if n := len(origin.Requests(path)); n != 1 {
			t.Errorf("the origin saw %d requests, want 1", n)
		}
	})
}
