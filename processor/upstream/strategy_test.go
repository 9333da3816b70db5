package upstream

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// header makes a header of "Name: value" lines.
func header(lines ...string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	return h
}

func get(path string, lines ...string) Request {
	return Request{Method: "GET", Path: path, Authority: "example.com", Header: header(lines...), Policy: "default"}
}

func post(path string, lines ...string) Request {
	r := get(path, append(lines, "Content-Type: application/json", "Content-Length: 17")...)
	r.Method, r.Content = "POST", []byte(`{"jsonrpc":"2.0"}`)
	return r
}

var stream = header("Content-Type: text/event-stream")

func wantRequest(t *testing.T, s Strategy, cursor string, want Request) {
	t.Helper()
	got, ok := s.Request(cursor)
	if !ok {
		t.Fatalf("%s: no request after %q", s.Name(), cursor)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: %s", s.Name(), diff)
	}
}

func wantNone(t *testing.T, s Strategy, cursor string) {
	t.Helper()
	if got, ok := s.Request(cursor); ok {
		t.Errorf("%s: after %.40q it asks %s %s %v", s.Name(), cursor, got.Method, got.Path, got.Header)
	}
}

func wantVerdict(t *testing.T, s Strategy, status int, h http.Header, want Action) Verdict {
	t.Helper()
	v := s.Judge(now, status, h)
	if v.Action != want || (v.Reason == "") != (v.Action == Continue && !v.Gap) {
		t.Errorf("%s: %d is %+v, want %v", s.Name(), status, v, want)
	}
	return v
}

// observe tells the strategy of events, written as "type data" or "data".
func observe(s Strategy, events ...string) {
	for _, e := range events {
		s.Observe(event(e))
	}
}

func event(e string) Event {
	kind, data, ok := strings.Cut(e, " {")
	if !ok {
		return Event{Data: []byte(e)}
	}
	return Event{Type: []byte(kind), Data: []byte("{" + data)}
}

func TestCursors(t *testing.T) {
	for id, want := range map[string]bool{
		"":       false,
		"1":      true,
		"é 世界 😀": true, // UTF-8 bytes go out as they are
		`[{"topic":"eqiad.change","partition":0,"timestamp":1532031066001},{"offset":-1}]`: true,
		"urn:uuid:1c56a7d4-d6b2-4f6a-8ae7-8e4f4a5f2f11":                                    true,
		"a b":                            true,
		" a":                             false,
		"a ":                             false,
		"\ta":                            false,
		"a\tb":                           false,
		"a\nb":                           false,
		"a\rb":                           false,
		"a\x00b":                         false,
		"a\x7fb":                         false,
		strings.Repeat("x", MaxCursor):   true,
		strings.Repeat("x", MaxCursor+1): false,
	} {
		if got := ValidCursor(id); got != want {
			t.Errorf("%.40q: %v", id, got)
		}
		s := NewStrategy(LastEventID, get("/feed"))
		if r, ok := s.Request(id); ok != want || ok && r.Header.Get("Last-Event-ID") != id {
			t.Errorf("%.40q: request %v", id, r.Header)
		}
	}
}

func TestLastEventID(t *testing.T) {
	first := get("/feed//a%2Fb?x=%zz&x", "Accept: text/event-stream", "Authorization: Bearer t", "Cookie: session=1",
		"Traceparent: 00-1-2-01", "X-Request-Id: r1", "Last-Event-ID: 3", "If-None-Match: w", "Range: bytes=5-",
		"Cache-Control: no-store")
	s := NewStrategy(LastEventID, first)
	if s.Watches() {
		t.Error("needs no events")
	}
	wantNone(t, s, "")
	wantVerdict(t, s, 200, stream, Continue)
	wantRequest(t, s, "9", get("/feed//a%2Fb?x=%zz&x", "Accept: text/event-stream", "Authorization: Bearer t",
		"Cookie: session=1", "Traceparent: 00-1-2-01", "X-Request-Id: r1", "Cache-Control: no-store", "Last-Event-ID: 9"))
	if first.Header.Get("Last-Event-ID") != "3" {
		t.Error("the first request was changed")
	}
	// Failures that pass leave it usable, a refusal does not.
	wantVerdict(t, s, 500, nil, Retry)
	wantVerdict(t, s, 503, header("Retry-After: 1"), Wait)
	if _, ok := s.Request("9"); !ok {
		t.Error("gave up after a passing failure")
	}
	wantVerdict(t, s, 401, nil, Never)
	wantNone(t, s, "9")

	for _, method := range []string{"POST", "HEAD", "PUT", "DELETE"} {
		r := first
		r.Method = method
		wantNone(t, NewStrategy(LastEventID, r), "9")
	}
}

func TestMercureTellsOfGaps(t *testing.T) {
	for at, gap := range map[string]bool{"": false, "urn:uuid:1": false, "urn:uuid:2": true, "earliest": true} {
		s := NewStrategy(LastEventID, get("/.well-known/mercure?topic=a"))
		h := stream.Clone()
		if at != "" {
			h.Set("Mercure-Last-Event-ID", at)
		}
		if v := wantVerdict(t, s, 200, h, Continue); v.Gap {
			t.Errorf("%q on the first response is a gap", at)
		}
		s.Request("urn:uuid:1")
		if v := wantVerdict(t, s, 200, h, Continue); v.Gap != gap {
			t.Errorf("%q: gap %v", at, v.Gap)
		}
	}
}

// TestMCPRevisions: each row is a stream of that revision which broke off after
// an event with an id.
func TestMCPRevisions(t *testing.T) {
	const session, accept = "Mcp-Session-Id: s1", "Accept: application/json, text/event-stream"
	for _, tt := range []struct {
		revision string
		resumes  bool
	}{
		{"", true}, // servers assume 2025-03-26
		{"2024-11-05", true},
		{"2025-03-26", true},
		{"2025-06-18", true},
		{"2025-11-25", true},
		{"2025-11-26", false}, // unknown, and later
		{"2026-07-28", false},
		{"2027-01-01", false},
		{"DRAFT-2026-v1", false},
		{"2025-11-2", false},
		{"2025-11-250", false},
		{"20251125xx", false},
		{"2025/11/25", false},
		{" 2025-06-18", false},
		{"1.0", false},
	} {
		for _, method := range []string{"GET", "POST"} {
			for _, resume := range []Resume{MCP, Auto} {
				t.Run(fmt.Sprint(tt.revision, method, resume), func(t *testing.T) {
					lines := []string{session, accept, "Authorization: Bearer t"}
					if tt.revision != "" {
						lines = append(lines, "MCP-Protocol-Version: "+tt.revision)
					}
					first := get("/mcp?tenant=a", lines...)
					if method == "POST" {
						first = post("/mcp?tenant=a", lines...)
					}
					s := NewStrategy(resume, first)
					if s.Name() != "mcp" {
						t.Fatalf("chose %s", s.Name())
					}
					wantVerdict(t, s, 200, stream, Continue)
					wantNone(t, s, "") // nothing was primed
					if !tt.resumes {
						wantNone(t, s, "1_0")
						return
					}
					want := get("/mcp?tenant=a", append(lines, "Last-Event-ID: 1_0")...)
					want.Header.Set("Accept", "text/event-stream")
					wantRequest(t, s, "1_0", want)
				})
			}
		}
	}
	t.Run("two revisions", func(t *testing.T) {
		wantNone(t, NewStrategy(MCP, post("/mcp", "Mcp-Protocol-Version: 2025-06-18", "Mcp-Protocol-Version: 2026-07-28")), "1")
	})
	t.Run("other methods", func(t *testing.T) {
		r := get("/mcp", session)
		r.Method = "DELETE"
		wantNone(t, NewStrategy(MCP, r), "1")
	})
}

// TestMCPInitialization: the session begins with the very stream that breaks off.
func TestMCPInitialization(t *testing.T) {
	for _, resume := range []Resume{MCP, Auto} {
		s := NewStrategy(resume, post("/mcp", "Accept: application/json, text/event-stream"))
		h := stream.Clone()
		h.Set("Mcp-Session-Id", "1868a90c")
		wantVerdict(t, s, 200, h, Continue)
		if s.Name() != "mcp" {
			t.Fatalf("chose %s", s.Name())
		}
		wantRequest(t, s, "0_0", get("/mcp", "Accept: text/event-stream", "Mcp-Session-Id: 1868a90c", "Last-Event-ID: 0_0"))
		// A session of a later response is not the stream's.
		h.Set("Mcp-Session-Id", "another")
		wantVerdict(t, s, 200, h, Continue)
		wantRequest(t, s, "0_1", get("/mcp", "Accept: text/event-stream", "Mcp-Session-Id: 1868a90c", "Last-Event-ID: 0_1"))
	}
}

func TestMCPRefusals(t *testing.T) {
	for status, reason := range map[int]string{
		404: "the MCP session is gone",
		405: "the MCP server offers no stream by GET",
		400: "the server does not accept the request",
		401: "the client's credentials are not accepted any more",
	} {
		s := NewStrategy(MCP, post("/mcp", "Mcp-Session-Id: s1"))
		wantVerdict(t, s, 200, stream, Continue)
		if v := wantVerdict(t, s, status, nil, Never); v.Reason != reason {
			t.Errorf("%d: %s", status, v.Reason)
		}
		wantNone(t, s, "1") // never again
	}
	s := NewStrategy(MCP, post("/mcp", "Mcp-Session-Id: s1"))
	wantVerdict(t, s, 200, header("Content-Type: application/json"), Never)
	wantNone(t, s, "1")

	// The last connection may not be gone yet for the server.
	s = NewStrategy(MCP, get("/mcp", "Mcp-Session-Id: s1"))
	wantVerdict(t, s, 200, stream, Continue)
	wantVerdict(t, s, 409, nil, Retry)
	if _, ok := s.Request("1"); !ok {
		t.Error("after a conflict it does not ask again")
	}
}

// TestMCPAnswered: behind the answer that a POST's stream is for there is nothing
// to ask for, and servers keep such a request open for good.
func TestMCPAnswered(t *testing.T) {
	const progress, asks = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"result":1}}`, `{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage"}`
	for _, tt := range []struct {
		name     string
		first    Request
		events   []string
		answered bool
	}{
		{"a result", post("/mcp", "Mcp-Session-Id: s1", "Mcp-Protocol-Version: 2025-06-18"), []string{progress, asks, `{"jsonrpc":"2.0","id":1,"result":{}}`}, true},
		{"an error", post("/mcp", "Mcp-Session-Id: s1", "Mcp-Protocol-Version: 2025-11-25"), []string{`{"jsonrpc":"2.0","id":1,"error":{"code":1}}`}, true},
		{"none yet", post("/mcp", "Mcp-Session-Id: s1", "Mcp-Protocol-Version: 2025-06-18"), []string{progress, asks, "", "no JSON"}, false},
		{"initialization", post("/mcp"), []string{`{"jsonrpc":"2.0","id":1,"result":{}}`}, true},
		{"perhaps a batch", post("/mcp", "Mcp-Session-Id: s1"), []string{`{"jsonrpc":"2.0","id":1,"result":{}}`}, false},
		{"notifications", get("/mcp", "Mcp-Session-Id: s1", "Mcp-Protocol-Version: 2025-06-18"), []string{`{"jsonrpc":"2.0","id":1,"result":{}}`}, false},
	} {
		for _, resume := range []Resume{MCP, Auto} {
			t.Run(fmt.Sprint(tt.name, resume), func(t *testing.T) {
				s := NewStrategy(resume, tt.first)
				h := stream.Clone()
				h.Set("Mcp-Session-Id", "s1")
				wantVerdict(t, s, 200, h, Continue)
				for _, data := range tt.events {
					s.Observe(Event{Data: []byte(data)})
				}
				if _, ok := s.Request("1"); ok == tt.answered {
					t.Errorf("asks for more: %t", ok)
				}
			})
		}
	}
}

const (
	created = `response.created {"type":"response.created","response":{"id":"resp_1","object":"response","background":true,"output":[]},"sequence_number":0}`
	delta   = `response.output_text.delta {"type":"response.output_text.delta","delta":"a \"sequence_number\":99, b","item_id":"m","sequence_number":%d,"obfuscation":"x{"}`
)

func TestOpenAIResponses(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/responses": "/v1/responses/resp_1?stream=true&starting_after=7",
		"/responses":    "/responses/resp_1?stream=true&starting_after=7",
		"/openai/v1/responses?api-version=preview":   "/openai/v1/responses/resp_1?api-version=preview&stream=true&starting_after=7",
		"/proxy/team%20a/v1/responses?a=%2F&&b&a=":   "/proxy/team%20a/v1/responses/resp_1?a=%2F&b&a=&stream=true&starting_after=7",
		"/v1/responses?stream=false&starting_after=": "/v1/responses/resp_1?stream=true&starting_after=7",
	} {
		for _, resume := range []Resume{OpenAIResponses, Auto} {
			s := NewStrategy(resume, post(path, "Authorization: Bearer sk", "Accept: */*", "Idempotency-Key: k", "OpenAI-Project: p"))
			wantVerdict(t, s, 200, stream, Continue)
			if !s.Watches() {
				t.Fatal("has to see the events")
			}
			wantNone(t, s, "")
			observe(s, created, fmt.Sprintf(delta, 1), fmt.Sprintf(delta, 7))
			if s.Name() != "openai-responses" {
				t.Errorf("%s: chose %s", path, s.Name())
			}
			wantRequest(t, s, "", get(want, "Authorization: Bearer sk", "Accept: text/event-stream", "OpenAI-Project: p"))
			wantVerdict(t, s, 404, nil, Never) // its ten minutes are over
			wantNone(t, s, "")
		}
	}
	t.Run("begun by GET", func(t *testing.T) {
		s := NewStrategy(Auto, get("/v1/responses/resp_1?include=a&stream=true&starting_after=3&include_obfuscation=false"))
		observe(s, fmt.Sprintf(delta, 4), fmt.Sprintf(delta, 5))
		wantNone(t, s, "") // which response it is has not been seen
		s = NewStrategy(Auto, get("/v1/responses/resp_1?include=a&stream=true&include_obfuscation=false"))
		observe(s, created, fmt.Sprintf(delta, 1))
		wantRequest(t, s, "", get("/v1/responses/resp_1?include=a&include_obfuscation=false&stream=true&starting_after=1", "Accept: text/event-stream"))
	})
}

func TestOpenAIResponsesThatCannotBeResumed(t *testing.T) {
	for name, tt := range map[string]struct {
		first  Request
		events []string
	}{
		"no event yet":     {post("/v1/responses"), nil},
		"no number":        {post("/v1/responses"), []string{`response.created {"response":{"id":"resp_1"}}`}},
		"no id":            {post("/v1/responses"), []string{fmt.Sprintf(delta, 3)}},
		"not background":   {post("/v1/responses"), []string{strings.Replace(created, "true", "false", 1)}},
		"complete":         {post("/v1/responses"), []string{created, `response.completed {"type":"response.completed","sequence_number":9}`}},
		"failed":           {post("/v1/responses"), []string{created, `response.failed {"sequence_number":9}`}},
		"incomplete":       {post("/v1/responses"), []string{created, `response.incomplete {"sequence_number":9}`}},
		"error":            {post("/v1/responses"), []string{created, `error {"type":"error","sequence_number":9}`}},
		"numbers go back":  {post("/v1/responses"), []string{created, fmt.Sprintf(delta, 5), fmt.Sprintf(delta, 5)}},
		"chat completions": {post("/v1/chat/completions"), []string{created, fmt.Sprintf(delta, 5)}},
		"id with a slash":  {post("/v1/responses"), []string{strings.Replace(created, "resp_1", "a/../b", 1)}},
		"id with a query":  {post("/v1/responses"), []string{strings.Replace(created, "resp_1", "a?b", 1)}},
		"id of dots":       {post("/v1/responses"), []string{strings.Replace(created, "resp_1", "..", 1)}},
		"id of nothing":    {post("/v1/responses"), []string{strings.Replace(created, "resp_1", "", 1)}},
		"id with escapes":  {post("/v1/responses"), []string{strings.Replace(created, "resp_1", `resp\u005f1`, 1)}},
		"not streamed":     {get("/v1/responses/resp_1"), []string{created}},
		"another method":   {Request{Method: "DELETE", Path: "/v1/responses/resp_1?stream=true"}, []string{created}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewStrategy(OpenAIResponses, tt.first)
			observe(s, tt.events...)
			wantNone(t, s, "")
			wantNone(t, s, "5")
		})
	}
}

func TestOpenAIPlaces(t *testing.T) {
	s := NewStrategy(Auto, post("/v1/responses"))
	place := func(e string) Place { return s.(Sequencer).Place(event(e)) }
	if got := place(fmt.Sprintf(delta, 0)); got != Unplaced {
		t.Errorf("before any event: %v", got)
	}
	observe(s, created, fmt.Sprintf(delta, 4))
	for e, want := range map[string]Place{
		fmt.Sprintf(delta, 5):               Next,
		fmt.Sprintf(delta, 4):               Repeated,
		created:                             Repeated,
		fmt.Sprintf(delta, 6):               Beyond,
		"ping {}":                           Unplaced,
		"[DONE]":                            Unplaced,
		`error {"sequence_number":"x"}`:     Unplaced,
		`error {"sequence_number":-1}`:      Unplaced,
		`error {"sequence_number":5.5}`:     Unplaced,
		`a {"b":{"sequence_number":5}}`:     Unplaced,
		`a {"b":[{"sequence_number":5},1]}`: Unplaced,
	} {
		if got := place(e); got != want {
			t.Errorf("%s: %v, want %v", e, got, want)
		}
	}
	if got := NewStrategy(Auto, get("/feed")).(Sequencer).Place(event(created)); got != Unplaced {
		t.Errorf("a feed: %v", got)
	}
}

func TestAutoChooses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		first   Request
		answer  http.Header
		events  []string
		want    string
		watches bool
	}{
		{name: "feed", first: get("/feed"), want: "last-event-id"},
		{name: "post", first: post("/v1/chat/completions"), want: "none"},
		{name: "head", first: Request{Method: "HEAD", Path: "/feed"}, want: "none"},
		{name: "mcp session", first: get("/feed", "Mcp-Session-Id: 1"), want: "mcp"},
		{name: "mcp revision", first: post("/x", "MCP-Protocol-Version: 2026-07-28"), want: "mcp"},
		{name: "mcp begins", first: post("/x"), answer: header("Mcp-Session-Id: 1"), want: "mcp"},
		{name: "mcp beside responses", first: post("/v1/responses", "Mcp-Session-Id: 1"), events: []string{created}, want: "mcp"},
		{name: "responses, unproven", first: post("/v1/responses"), want: "none", watches: true},
		{name: "responses", first: post("/v1/responses"), events: []string{created}, want: "openai-responses", watches: true},
		{name: "responses, complete", first: post("/v1/responses"), events: []string{created, `response.completed {}`}, want: "openai-responses"},
		{name: "responses in name only", first: get("/v1/responses/a?stream=true"), events: []string{`{"n":1}`}, want: "last-event-id", watches: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewStrategy(Auto, tt.first)
			s.Judge(now, 200, tt.answer)
			observe(s, tt.events...)
			if s.Name() != tt.want || s.Watches() != tt.watches {
				t.Errorf("chose %s, watches %v", s.Name(), s.Watches())
			}
		})
	}
	// A refusal of the first request is no refusal of a continuation, but one of
	// a continuation is.
	s := NewStrategy(Auto, get("/feed"))
	s.Judge(now, 200, stream)
	wantRequest(t, s, "1", get("/feed", "Last-Event-ID: 1"))
	wantVerdict(t, s, 410, nil, Never)
	wantNone(t, s, "1")
	for _, method := range []string{"POST", "PATCH"} {
		r := post("/feed")
		r.Method = method
		wantNone(t, NewStrategy(Auto, r), "1")
	}
}

func TestNoneNeverResumes(t *testing.T) {
	s := NewStrategy(None, get("/feed"))
	observe(s, created)
	wantVerdict(t, s, 200, stream, Continue)
	wantNone(t, s, "1")
	if s.Name() != "none" || s.Watches() {
		t.Error("none is watching")
	}
}

func TestNamesOfResumes(t *testing.T) {
	for r := Auto; r <= None; r++ {
		if got, ok := ParseResume(r.String()); !ok || got != r {
			t.Errorf("%v is %v", r, got)
		}
	}
	for _, name := range []string{"", "unknown", "MCP"} {
		if _, ok := ParseResume(name); ok {
			t.Errorf("%q is a name", name)
		}
	}
	for want, got := range map[string]fmt.Stringer{
		"unknown": Resume(99), "continue": Continue, "stop": Stop, "wait": Wait, "retry": Retry, "never": Never,
		"reset before the response": NoAnswer, "clean end": CleanEnd,
	} {
		if got.String() != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	if Action(9).String() != "unknown" || Cause(99).String() != "unknown" {
		t.Error("an unknown value has a name")
	}
}

func TestVerdicts(t *testing.T) {
	with := func(lines ...string) http.Header { return header(append(lines, "Content-Type: text/event-stream")...) }
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		want   Verdict
	}{
		{"stream", 200, stream, Verdict{Action: Continue}},
		{"charset", 200, header("Content-Type: Text/Event-Stream ; charset=utf-8"), Verdict{Action: Continue}},
		{"identity", 200, with("Content-Encoding: identity"), Verdict{Action: Continue}},
		{"gzip", 200, with("Content-Encoding: gzip"), Verdict{Action: Never}},
		{"identity and more", 200, with("Content-Encoding: identity, br"), Verdict{Action: Never}},
		{"json", 200, header("Content-Type: application/json"), Verdict{Action: Never}},
		{"nearly", 200, header("Content-Type: text/event-streams"), Verdict{Action: Never}},
		{"no type", 200, nil, Verdict{Action: Never}},
		{"created", 201, stream, Verdict{Action: Never}},
		{"accepted", 202, nil, Verdict{Action: Never}},
		{"no content", 204, nil, Verdict{Action: Stop}},
		{"partial", 206, stream, Verdict{Action: Never}},
		{"moved", 301, header("Location: /x"), Verdict{Action: Never}},
		{"not modified", 304, nil, Verdict{Action: Never}},
		{"bad request", 400, nil, Verdict{Action: Never}},
		{"unauthorized", 401, nil, Verdict{Action: Never}},
		{"forbidden", 403, nil, Verdict{Action: Never}},
		{"not found", 404, nil, Verdict{Action: Never}},
		{"method", 405, nil, Verdict{Action: Never}},
		{"not acceptable", 406, nil, Verdict{Action: Never}},
		{"request timeout", 408, nil, Verdict{Action: Retry}},
		{"conflict", 409, nil, Verdict{Action: Never}},
		{"gone", 410, nil, Verdict{Action: Never}},
		{"precondition", 412, nil, Verdict{Action: Never}},
		{"too early", 425, nil, Verdict{Action: Retry}},
		{"too many", 429, nil, Verdict{Action: Retry}},
		{"server error", 500, nil, Verdict{Action: Retry}},
		{"bad gateway", 502, header("Content-Type: text/event-stream"), Verdict{Action: Retry}},
		{"unavailable", 503, nil, Verdict{Action: Retry}},
		{"gateway timeout", 504, header("Retry-After: 7"), Verdict{Action: Retry}},
		{"seconds", 503, header("Retry-After: 7"), Verdict{Action: Wait, Wait: 7 * time.Second}},
		{"no seconds", 429, header("Retry-After: 0"), Verdict{Action: Wait}},
		{"many seconds", 429, header("Retry-After: 99999999999999999999"), Verdict{Action: Wait, Wait: MaxRetryAfter}},
		{"a week", 429, header("Retry-After: 604800"), Verdict{Action: Wait, Wait: MaxRetryAfter}},
		{"date", 503, header("Retry-After: Tue, 24 Nov 2026 12:01:30 GMT"), Verdict{Action: Wait, Wait: 90 * time.Second}},
		{"past date", 503, header("Retry-After: Tue, 24 Nov 2026 11:00:00 GMT"), Verdict{Action: Wait}},
		{"far date", 503, header("Retry-After: Tue, 24 Nov 2099 11:00:00 GMT"), Verdict{Action: Wait, Wait: MaxRetryAfter}},
		{"old form of date", 503, header("Retry-After: Tuesday, 24-Nov-26 12:00:05 GMT"), Verdict{Action: Wait, Wait: 5 * time.Second}},
		{"server's own clock", 503, header("Retry-After: Mon, 23 Nov 2026 10:00:20 GMT", "Date: Mon, 23 Nov 2026 10:00:00 GMT"), Verdict{Action: Wait, Wait: 20 * time.Second}},
		{"neither", 503, header("Retry-After: soon"), Verdict{Action: Retry}},
		{"negative", 503, header("Retry-After: -5"), Verdict{Action: Retry}},
		{"fraction", 503, header("Retry-After: 1.5"), Verdict{Action: Retry}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := judge(now, tt.status, tt.header)
			if (v.Reason == "") != (v.Action == Continue) {
				t.Errorf("reason %q", v.Reason)
			}
			v.Reason = ""
			if v != tt.want {
				t.Errorf("%+v, want %+v", v, tt.want)
			}
		})
	}
}

// FuzzMembers: on a valid object it finds what encoding/json finds, on anything
// else it comes to an end.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, ` { "a" : [ { "b" : "}" } , 2 ] , "c" : "\"" , "d":null }`, `{"a"`, `{"a":`, `{"a":"`, `[1]`,
		`{"a":}`, `{"a":1,}`, `{"a\\":{"b":"\\\""},"sequence_number": -5.5e3 }`, "", `{"a":1 2}`, strings.Repeat(`{"a":[`, 100),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got []string
		for name, value := range members(text) {
			got = append(got, string(name), string(value))
		}
		if !json.Valid(text) {
			return
		}
		var want []string
		dec := json.NewDecoder(strings.NewReader(string(text)))
		if open, _ := dec.Token(); open == json.Delim('{') {
			for dec.More() {
				at := dec.InputOffset()
				if _, err := dec.Token(); err != nil {
					t.Fatal(err)
				}
				name := strings.Trim(string(text[at:dec.InputOffset()]), ", \t\r\n")
				var value json.RawMessage
				if err := dec.Decode(&value); err != nil {
					t.Fatal(err)
				}
				want = append(want, name[1:len(name)-1], string(value))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	})
}

func TestObservingIsCheap(t *testing.T) {
	s := NewStrategy(OpenAIResponses, post("/v1/responses"))
	observe(s, created)
	e := Event{Type: []byte("response.output_text.delta"), Data: []byte(fmt.Sprintf(strings.SplitN(delta, " ", 2)[1], 1))}
	if got := testing.AllocsPerRun(100, func() {
		s.Observe(e)
		s.(*openAI).last = 0
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
