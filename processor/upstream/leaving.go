package upstream

import "net/http"

// LeavingCancels reports whether a request is one of the Model Context Protocol's,
// and whether a client that leaves before the end of the answer has cancelled it.
// From revision 2026-07-28 on, "closing the SSE response stream MUST be treated by
// the server as cancellation of that request":
// https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
func LeavingCancels(first *Request) (isMCP, cancels bool) {
	if first.Header[mcpSession] == nil && first.Header[mcpRevision] == nil {
		return false, false
	}
	s := mcp{first: *first}
	if first.Method != http.MethodGet && first.Method != http.MethodPost {
		return true, true
	}
	return true, !s.resumable()
}
