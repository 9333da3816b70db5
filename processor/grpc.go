package processor

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"

	"holdfast/processor/wire"
)

const (
	// maxMessage bounds one message from Envoy. A chunk is as large as Envoy's
	// buffers allow (per_connection_buffer_limit_bytes, 1 MiB unless raised).
	maxMessage = 16 << 20

	// Envoy holds this much for a stream that is not read, which is what a
	// client that stopped reading leads to; without a bound of our own, grpc-go
	// would let each stream grow to 16 MiB as its estimate of the link rises.
	streamWindow     = 256 << 10
	connectionWindow = 4 << 20
)

// ServerOptions are how a grpc.Server that a Server is registered with must be
// made. They hold for every service on it; other services than ext_proc speak
// protobuf as ever.
func ServerOptions() []grpc.ServerOption {
	pool := new(wire.Pool)
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.NewCodec(pool)),
		experimental.BufferPool(pool),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
	}
}
