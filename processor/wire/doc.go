// Package wire is the ext_proc protocol as it goes over the network: a gRPC
// codec that knows two messages by heart and leaves all others to protobuf.
//
// The two are the ones that every event costs: a ProcessingRequest with a chunk
// of the response body, and the ProcessingResponse that answers it in
// FULL_DUPLEX_STREAMED mode. As protobuf structs they take fourteen allocations
// and a copy of the chunk in each direction; by hand the chunk stays where the
// transport put it, and goes back out from there.
//
// The protocol:
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
//
// # Ownership
//
// A received chunk belongs to the transport's buffer. [Request] holds a
// reference to it until [Request.Free]. A [Response] may send bytes of that
// buffer: what goes out then holds its own reference, until it was written to
// the connection. Bytes from anywhere else are copied while they are encoded, so
// their owner may reuse them as soon as SendMsg returns.
package wire
