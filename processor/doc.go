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
// # Ownership
//
// A stream belongs to whoever holds its gate. There are three that may: the
// handler's goroutine, which waits for Envoy's messages without the gate; the
// stream's timer; and a drain. So an idle stream costs one goroutine, the one
// that gRPC gives it anyway. See docs/adr/0003-stream-ownership-by-gate.md.
//
// # What can go wrong
//
// Nothing that happens here may make a request fare worse than without a
// processor. A store that fails costs the memory of the stream, not the stream;
// a panic in the core turns the stream into a plain copy of Envoy's bytes, its
// unfinished event included; anything unexpected from Envoy is answered such
// that Envoy goes on.
package processor
