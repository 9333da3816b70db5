package splice

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestDetectors: what known protocols end with, as their servers write it.
func TestDetectors(t *testing.T) {
	large := strings.Repeat("x", 300)
	tests := []struct {
		detector, name, events string
		want                   bool
	}{
		{"openai-chat", "end", "data: {\"id\":\"c\",\"choices\":[]}\n\ndata: [DONE]\n\n", true},
		{"openai-chat", "finished, but not ended", "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n", false},
		{"openai-chat", "error", "data: {\"error\":{\"message\":\"overloaded\"}}\n\n", false},
		{"openai-responses", "completed", "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":9}\n\n", true},
		{"openai-responses", "completed, too large to look into", "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":\"" + large + "\"}\n\n", true},
		{"openai-responses", "incomplete, without the field", "data: {\"type\":\"response.incomplete\"}\n\n", true},
		{"openai-responses", "failed", "event: response.failed\ndata: {\"type\":\"response.failed\"}\n\n", true},
		{"openai-responses", "error", "event: error\ndata: {\"type\":\"error\",\"code\":\"x\"}\n\n", true},
		{"openai-responses", "an item is done", "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"text\":\"response.completed\"}\n\n", false},
		{"anthropic", "end", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true},
		{"anthropic", "error", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n", true},
		{"anthropic", "ping", "event: ping\ndata: {\"type\":\"ping\"}\n\n", false},
		{"anthropic", "last delta", "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", false},
		{"jsonrpc", "result", "event: message\nid: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n", true},
		{"jsonrpc", "result null", "data: {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":null}\n\n", true},
		{"jsonrpc", "error", "data: {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700}}\n\n", true},
		{"jsonrpc", "result, too large to look into", "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"" + large + "\"}\n\n", true},
		{"jsonrpc", "batch", "data: [{\"id\":1,\"result\":1},{\"id\":2,\"error\":{}}]\n\n", true},
		{"jsonrpc", "batch with more than responses", "data: [{\"id\":1,\"result\":1},{\"method\":\"x\"}]\n\n", false},
		{"jsonrpc", "empty batch", "data: []\n\n", false},
		{"jsonrpc", "request of the server", "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sampling/createMessage\",\"params\":{\"result\":1}}\n\n", false},
		{"jsonrpc", "notification", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"id\":1,\"result\":2}}\n\n", false},
		{"jsonrpc", "priming", "id: 0\nretry: 500\ndata:\n\n", false},
		{"jsonrpc", "not JSON", "data: \"id\" result\n\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.detector+"/"+tt.name, func(t *testing.T) {
			ends, ok := Detector(tt.detector)
			if !ok {
				t.Fatal("not known")
			}
			p := Policy{Complete: ends, EventBytes: 200}
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			r := newRun(t, p, Start{})
			r.chunk(tt.events)
			r.end()
			if got := r.closed.Outcome == Complete; got != tt.want {
				t.Errorf("complete: %t, want %t", got, tt.want)
			}
		})
	}
	for _, name := range Detectors() {
		if _, ok := Detector(name); !ok {
			t.Errorf("%s is named and not known", name)
		}
	}
	if _, ok := Detector("none"); ok {
		t.Error("a detector that nobody wrote")
	}
}

func TestCompletion(t *testing.T) {
	str := func(s string) *string { return &s }
	status := func(v any) Completion { return Completion{JSON: map[string]any{"response.status": v}} }
	tests := []struct {
		name   string
		c      Completion
		events string
		want   bool
	}{
		{"data", Completion{Data: str("[DONE]")}, "data: [DONE]\n\n", true},
		{"data without a space", Completion{Data: str("[DONE]")}, "data:[DONE]\r\n\r\n", true},
		{"data within other data", Completion{Data: str("[DONE]")}, "data: x[DONE]\n\n", false},
		{"data in another field", Completion{Data: str("[DONE]")}, "event: [DONE]\ndata: x\n\n", false},
		{"data in a comment", Completion{Data: str("[DONE]")}, ": [DONE]\ndata: x\n\n", false},
		{"data and more data", Completion{Data: str("[DONE]")}, "data: [DONE]\ndata: x\n\n", false},
		{"lines of data", Completion{Data: str("a\nb")}, "data: a\n: c\ndata: b\n\n", true},
		{"empty data", Completion{Data: str("")}, "data\n\n", true},
		{"no data at all", Completion{Data: str("")}, "event: x\n\n", false},
		{"type", Completion{Event: str("message_stop")}, "event: message_stop\ndata: {}\n\n", true},
		{"type without data dispatches nothing", Completion{Event: str("message_stop")}, "event: message_stop\n\n", false},
		{"default type", Completion{Event: str("message")}, "data: x\n\n", true},
		{"default type, other", Completion{Event: str("message")}, "event: y\ndata: x\n\n", false},
		{"type and data, one of them", Completion{Event: str("e"), Data: str("x")}, "event: e\ndata: y\n\nevent: f\ndata: x\n\n", false},
		{"type and data, both", Completion{Event: str("e"), Data: str("x")}, "event: e\ndata: x\n\n", true},
		{"json", status("completed"), `data: {"response":{"status":"completed"}}` + "\n\n", true},
		{"json in lines", status("completed"), "data: {\"response\":\ndata: {\"status\" : \"completed\"}}\n\n", true},
		{"json, escaped", status("completed"), `data: {"response":{"st\u0061tus":"c\u006Fmpleted"}}` + "\n\n", true},
		{"json, other value", status("completed"), `data: {"response":{"status":"failed","x":"completed"}}` + "\n\n", false},
		{"json, other place", status("completed"), `data: {"status":"completed"}` + "\n\n", false},
		{"json, not an object there", status("completed"), `data: {"response":"completed"}` + "\n\n", false},
		{"json, not an object", status("completed"), `data: ["status","completed"]` + "\n\n", false},
		{"json, broken", status("completed"), `data: {"response":{"status":"completed"}` + "\n\n", false},
		{"json, object as value", status("completed"), `data: {"response":{"status":{"completed":1}}}` + "\n\n", false},
		{"json number", status(1), `data: {"response":{"status":1.0}}` + "\n\n", true},
		{"json large number", status(uint64(1 << 40)), `data: {"response":{"status":1099511627776}}` + "\n\n", true},
		{"json number, other", status(1.5), `data: {"response":{"status":15}}` + "\n\n", false},
		{"json bool", status(true), `data: {"response":{"status":true}}` + "\n\n", true},
		{"json bool as text", status(true), `data: {"response":{"status":"true"}}` + "\n\n", false},
		{"json null", status(nil), `data: {"response":{"status":null}}` + "\n\n", true},
		{"json null, missing", status(nil), `data: {"response":{}}` + "\n\n", false},
		{"json, slash escaped", status("a/b"), `data: {"response":{"status":"a\/b"}}` + "\n\n", true},
		{"json, not ascii", status("fertig ✓"), `data: {"response":{"status":"fertig \u2713"}}` + "\n\n", true},
		{"json, two paths", Completion{JSON: map[string]any{"a": 1, "b": "x"}}, `data: {"a":1,"b":"x"}` + "\n\n", true},
		{"json, one of two paths", Completion{JSON: map[string]any{"a": 1, "b": "x"}}, `data: {"a":1,"b":"y"}` + "\n\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, Policy{Complete: []Completion{tt.c}}, Start{})
			r.chunk(tt.events)
			r.end().wantGot(tt.events)
			if tt.want {
				r.wantClose(Complete, false)
			} else {
				r.wantClose(Cut, true)
			}
		})
	}
}

func TestCompletionAnyOf(t *testing.T) {
	a, b := "a", "b"
	p := Policy{Complete: []Completion{{Data: &a}, {Data: &b}}}
	for data, want := range map[string]Close{"a": {Complete, false}, "b": {Complete, false}, "c": {Cut, true}} {
		r := newRun(t, p, Start{})
		r.chunk(event("", data) + event("", "x"))
		r.end().wantClose(want.Outcome, want.Abort)
	}
}

// The client that has everything comes back, and gets nothing but the end.
func TestCompletionInOverlap(t *testing.T) {
	done := "[DONE]"
	r := newRun(t, Policy{Complete: []Completion{{Data: &done}}}, Start{})
	r.chunk(event("1", "x") + event("2", done))
	b := r.back("2")
	b.chunk(event("1", "x") + event("2", done))
	b.end().wantGot("")
	b.wantClose(Complete, false)
}

// The quick look must never refuse what a full look accepts.
func TestCompletionQuickLook(t *testing.T) {
	text := rapid.StringOf(rapid.SampledFrom([]rune("ab/\"\\ é\u007f\u2028c")))
	rapid.Check(t, func(rt *rapid.T) {
		value, name := text.Draw(rt, "value"), "n"+strings.ReplaceAll(text.Draw(rt, "name"), ".", "")
		data, err := json.Marshal(map[string]any{name: value, "other": text.Draw(rt, "other")})
		if err != nil {
			rt.Fatalf("%v", err)
		}
		if rapid.Bool().Draw(rt, "escape") {
			data = []byte(strings.ReplaceAll(string(data), "a", `\u0061`))
		}
		r := newRun(rt, Policy{Complete: []Completion{{JSON: map[string]any{name: value}}}}, Start{})
		r.chunk(event("", string(data)))
		r.end().wantClose(Complete, false)
	})
}

func TestValidate(t *testing.T) {
	x := "x"
	tests := []struct {
		name string
		p    Policy
		want string // part of the error; "" for none
	}{
		{"zero", Policy{}, ""},
		{"largest window", Policy{Window: MaxWindow}, ""},
		{"window", Policy{Window: MaxWindow + 1}, "1 to 32767"},
		{"negative window", Policy{Window: -1}, "1 to 32767"},
		{"event bytes", Policy{EventBytes: -1}, "event bytes"},
		{"heartbeat", Policy{Heartbeat: -1}, "heartbeat"},
		{"dedup", Policy{Dedup: 9}, "dedup"},
		{"empty marker", Policy{Complete: []Completion{{Data: &x}, {}}}, "marker 2"},
		{"object as value", Policy{Complete: []Completion{{JSON: map[string]any{"a": map[string]any{}}}}}, "string, number, true, false or null"},
		{"empty step", Policy{Complete: []Completion{{JSON: map[string]any{"a..b": 1}}}}, "a..b"},
		{"empty path", Policy{Complete: []Completion{{JSON: map[string]any{"": 1}}}}, "empty"},
		{"not a number", Policy{Complete: []Completion{{JSON: map[string]any{"a": math.NaN()}}}}, "number"},
	}
	for _, tt := range tests {
		err := tt.p.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		// Whatever it is, a Machine makes do with it.
		r := newRun(t, tt.p, Start{})
		r.chunk(event("1", "x") + event("2", "y"))
		r.end().wantGot(event("1", "x") + event("2", "y"))
	}
}
