// Package processor is Envoy's external processor: the ext_proc gRPC service
// that stands beside every request and decides how much of it it wants.
//
//	Envoy ──gRPC──▶ Server ─▶ Policies.Match ─▶ exchange ─▶ stream
//	                                             headers     body
//
// An exchange is the header part of one request. Most end there: no policy wants
// the request, or the answer is no event stream, and then none of the body's
// bytes come here. What is left becomes a [stream], the driver of one
// splice.Machine: it turns Envoy's messages, timers and drains into Inputs, and
// carries out the Ready that each Step returns.
//
// # Hold
//
// A response that Envoy relays dies with its upstream, and nothing a processor
// does can stop that. So where a policy holds, the response is ours: the request
// goes to our relay listener with a ticket, or the answer to its headers is the
// response itself. What it consists of is fetched, back through Envoy: an [origin]
// makes one attempt after the other, as the machine asks for them.
//
//	Envoy ◀── relayed │ immediate │ inlined ◀── stream ◀── origin ◀── attempts ◀── Envoy's loopback listener
//	              sink                       gate, machine                 upstream.Dialer
//
// The body of an attempt is read by the handler's goroutine, and each chunk goes
// to the client before the next is read: so a slow client slows its origin down.
//
// # Ownership
//
// A stream belongs to whoever holds its gate. There are a few that may: the
// handler's goroutine, which waits for Envoy's messages or an origin's bytes
// without the gate; the stream's timer; a drain; and, while a second attempt is
// being made or an inline stream goes on with what is fetched, the goroutine that
// does it. So an idle stream costs one goroutine, the one that gRPC or net/http
// gives it anyway. See docs/adr/0003-stream-ownership-by-gate.md.
//
// # What can go wrong
//
// Nothing that happens here may make a request fare worse than without a
// processor. A store that fails costs the memory of the stream, not the stream;
// a panic in the core turns the stream into a plain copy of Envoy's bytes, its
// unfinished event included; anything unexpected from Envoy is answered such
// that Envoy goes on.
package processor
