package upstream

import (
	"net/http"
	"time"
)

// mcp resumes a stream of the Model Context Protocol's Streamable HTTP transport.
// Which rules hold depends on the revision that the request names.
//
// Up to 2025-11-25 a stream that breaks off goes on existing, and is resumed the
// same way whether it began with POST or GET:
//
//	"If the client wishes to resume after a disconnection [...], it SHOULD issue
//	an HTTP GET to the MCP endpoint, and include the Last-Event-ID header to
//	indicate the last event ID it received. [...] This mechanism applies
//	regardless of how the original stream was initiated (via POST or GET).
//	Resumption is always via HTTP GET with Last-Event-ID."
//	https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery
//
// Its ids name one stream within the session, so only a cursor from this very
// stream may be used. A server that wants to be resumed primes its clients with
// an id on an event without data, and may close the connection after a `retry`
// field; both reach the owner of the stream as an id and a retry time.
//
// From 2026-07-28 on the same bytes mean something else: "Resumable SSE streams
// via Last-Event-ID are not supported", GET is gone, and "closing the SSE
// response stream MUST be treated by the server as cancellation of that request".
// https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
// There nothing is ever asked again. The same goes for a revision that is not
// known to be one of the former.
type mcp struct {
	first   Request
	session string // assigned by the first response
	later   bool   // the first response has been judged
	over    bool   // a refusal that is final, or the answer that the stream is there for
}

const (
	mcpSession  = "Mcp-Session-Id"
	mcpRevision = "Mcp-Protocol-Version"

	// mcpLastResumable is the last revision with resumption. Revisions are dates
	// and compare as text.
	mcpLastResumable = "2025-11-25"
)

func (s *mcp) Name() string  { return MCP.String() }
func (s *mcp) Watches() bool { return !s.over && s.first.Method == http.MethodPost && s.single() }

// Observe looks for the answer to the request that began the stream, behind which
// there is nothing to ask for:
//
//	"After the JSON-RPC response has been sent, the server SHOULD terminate the SSE
//	stream."
//	https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
//
// Servers that are asked all the same keep the new stream open and never use it.
func (s *mcp) Observe(e Event) {
	if !s.Watches() {
		return
	}
	id, answer := false, false
	for name := range members(e.Data) {
		switch string(name) {
		case "id":
			id = true
		case "result", "error":
			answer = true
		}
	}
	s.over = id && answer
}

// single reports whether the POST brought one request, and not a batch of them,
// which is answered several times. Only revision 2025-03-26 has batches. It does
// not name itself, and its initialization, which comes before there is a session,
// is never in one.
func (s *mcp) single() bool {
	return s.first.Header[mcpRevision] != nil || s.first.Header[mcpSession] == nil
}

func (s *mcp) Request(cursor string) (Request, bool) {
	if s.over || !s.resumable() || !ValidCursor(cursor) {
		return Request{}, false
	}
	r := continuation(&s.first)
	// "The client MUST include an Accept header, listing text/event-stream as a
	// supported content type." A POST lists JSON as well, which is no
	// continuation.
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Last-Event-Id", cursor)
	// "If an MCP-Session-Id is returned by the server during initialization,
	// clients [...] MUST include it in the MCP-Session-Id header on all of their
	// subsequent HTTP requests." For the stream that answers the initialization
	// itself, that is us.
	if s.session != "" && r.Header.Get(mcpSession) == "" {
		r.Header.Set(mcpSession, s.session)
	}
	return r, true
}

// resumable reports whether the method and the revision allow resumption.
func (s *mcp) resumable() bool {
	switch s.first.Method {
	case http.MethodGet, http.MethodPost:
	default:
		return false
	}
	switch named := s.first.Header[mcpRevision]; len(named) {
	case 0:
		// "if the server does not receive an MCP-Protocol-Version header, and has
		// no other way to identify the version [...] the server SHOULD assume
		// protocol version 2025-03-26." And from 2026-07-28 on, "Every POST
		// request to the MCP endpoint MUST include" it.
		return true
	case 1:
		return isDate(named[0]) && named[0] <= mcpLastResumable
	}
	return false
}

// isDate reports whether s has the form of a revision, YYYY-MM-DD.
func isDate(s string) bool {
	if len(s) != len("2025-11-25") {
		return false
	}
	for i := range len(s) {
		if digit := s[i] >= '0' && s[i] <= '9'; digit == (i == 4 || i == 7) || !digit && s[i] != '-' {
			return false
		}
	}
	return true
}

func (s *mcp) Judge(now time.Time, status int, header http.Header) Verdict {
	first := !s.later
	if first {
		s.session, s.later = header.Get(mcpSession), true
	}
	v := judge(now, status, header)
	switch {
	case v.Action != Never:
		return v
	case status == http.StatusConflict && !first:
		// Servers allow one connection for each stream. One that has not noticed the
		// end of the last, of which we know in a millisecond, answers so; the usual
		// pauses and limits bound how long it may take.
		return Verdict{Action: Retry, Reason: "the server still holds the connection that broke"}
	}
	s.over = true
	switch status {
	case http.StatusNotFound:
		// "The server MAY terminate the session at any time, after which it MUST
		// respond to requests containing that session ID with HTTP 404 Not Found."
		v.Reason = "the MCP session is gone"
	case http.StatusMethodNotAllowed:
		// "or else return HTTP 405 Method Not Allowed, indicating that the server
		// does not offer an SSE stream at this endpoint."
		v.Reason = "the MCP server offers no stream by GET"
	}
	return v
}
