package splice

import (
	"encoding/json"
	"slices"
)

// Detector returns the events that a protocol known by name ends its streams
// with; false if there is none of that name. See [Detectors].
//
// An error that a protocol reports as its last word ends a stream too: the client
// has been told, and nothing follows that could be waited for.
func Detector(name string) ([]Completion, bool) {
	i := slices.IndexFunc(detectors(), func(d detector) bool { return d.name == name })
	if i < 0 {
		return nil, false
	}
	return detectors()[i].ends, true
}

// Detectors returns the names that [Detector] knows.
func Detectors() []string {
	var names []string
	for _, d := range detectors() {
		names = append(names, d.name)
	}
	return names
}

type detector struct {
	name string
	ends []Completion
}

func detectors() []detector {
	return []detector{
		// "[...] data-only server-sent events as they become available, with the stream
		// terminated by a data: [DONE] message."
		// https://platform.openai.com/docs/api-reference/chat/create
		{"openai-chat", []Completion{dataIs("[DONE]")}},
		// One of the three carries the finished response; error stands in their place.
		// https://platform.openai.com/docs/api-reference/responses-streaming
		{"openai-responses", typesAre("response.completed", "response.incomplete", "response.failed", "error")},
		// The event flow ends with message_stop; errors come within the stream, as events
		// of that type, such as overloaded_error.
		// https://platform.claude.com/docs/en/build-with-claude/streaming
		{"anthropic", typesAre("message_stop", "error")},
		// "After the JSON-RPC response has been sent, the server SHOULD terminate the
		// SSE stream."
		// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
		{"jsonrpc", []Completion{{Response: true}}},
	}
}

func dataIs(s string) Completion { return Completion{Data: &s} }

// typesAre recognises events by their type, in the event field or in the data: the
// protocols have it in both, and there are servers that leave the field out. An
// event that is too large to be looked into has it in the field alone.
func typesAre(types ...string) []Completion {
	var cs []Completion
	for _, t := range types {
		cs = append(cs, Completion{Event: &t}, Completion{JSON: map[string]any{"type": t}})
	}
	return cs
}

// isResponse reports whether data is a JSON-RPC response, or a batch of nothing
// else. Whether it answers the very request that the stream is the answer to is not
// known here: the request's body is not. But a server sends no other.
//
//	"The server MUST NOT send a JSON-RPC response on the stream unless resuming a
//	stream associated with a previous client request" (of one begun by GET)
//	https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server
//
//	"result: This member is REQUIRED on success. [...] error: This member is
//	REQUIRED on error. [...] id: This member is REQUIRED."
//	https://www.jsonrpc.org/specification#response_object
func isResponse(data []byte) bool {
	var batch []json.RawMessage
	if json.Unmarshal(data, &batch) != nil {
		return isOneResponse(data)
	}
	for _, one := range batch {
		if !isOneResponse(one) {
			return false
		}
	}
	return len(batch) > 0
}

func isOneResponse(data []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return false
	}
	has := func(name string) bool { _, ok := members[name]; return ok }
	return has("id") && !has("method") && (has("result") || has("error"))
}
