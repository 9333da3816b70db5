// Package upstream fetches what the processor needs from upstreams, and knows
// how a stream that broke off can be continued.
//
// # Fetching
//
// A [Dialer] never talks to an upstream itself. It sends each request back
// through Envoy, to a listener on loopback, so that Envoy's clusters, TLS,
// retries, load balancing and outlier detection apply to it as to any other. It
// speaks HTTP/2 with prior knowledge, for over HTTP/1.1 Envoy reports an
// upstream's reset only after its delayed_close_timeout, one second late.
//
// The request goes on as it was received: the same method, the path byte for
// byte, authority, headers and body, and with them trace context and request id.
// What belongs to one hop stays behind, and identity encoding is asked for. The
// response streams; nothing is followed, decompressed, cached or retried, except
// that a request of which no byte has left is put on another connection. How a
// fetch failed is told by a [Cause], and by the error's type whether it was us
// ([LocalError]) or the other side ([PeerError]).
//
// # Resuming
//
// A [Strategy] watches one stream and says which request would continue it:
// [LastEventID], [MCP], [OpenAIResponses], [None], or [Auto], which chooses among
// them by what the request and the stream show. A further strategy is one more
// file with one more type. None of them does any I/O.
package upstream
