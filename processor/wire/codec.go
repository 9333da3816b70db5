package wire

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec is an encoding.CodecV2 for a whole gRPC server: [Request],
// [Response], [Encoded] and [AbortError] are its own, every other message (health checks, for example) goes
// through protobuf.
type Codec struct {
	pool  mem.BufferPool
	proto encoding.CodecV2

	// headers has *Headers to use again. A request's are garbage within
	// microseconds, at a size that would make up most of what a new stream leaves.
	headers sync.Pool
}

var _ encoding.CodecV2 = (*Codec)(nil)

// NewCodec returns a Codec that takes large buffers from pool; nil means
// grpc-go's default pool.
func NewCodec(pool mem.BufferPool) *Codec {
	if pool == nil {
		pool = mem.DefaultBufferPool()
	}
	return &Codec{pool: pool, proto: encoding.GetCodecV2(protocodec.Name)}
}

// Name is that of the protobuf codec, for it is the same format on the wire.
func (*Codec) Name() string { return protocodec.Name }

// Marshal encodes v.
func (c *Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Response:
		if m.Message != nil {
			return c.proto.Marshal(m.Message)
		}
		return c.marshalBody(m), nil
	case Encoded:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	case *AbortError:
		return nil, m
	case *Request:
		return nil, fmt.Errorf("wire: a %T is only ever received", v)
	}
	return c.proto.Marshal(v)
}

// Unmarshal decodes data into v. It says an error for a message that is not
// well-formed.
func (c *Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *Request:
		return c.unmarshalRequest(data, m)
	case *Response, Encoded, *AbortError:
		return fmt.Errorf("wire: a %T is only ever sent", v)
	}
	return c.proto.Unmarshal(data, v)
}

// Encoded is a message that is encoded already. It is sent from where it is, and
// must never be written to again.
type Encoded []byte

// AbortError is a message that cannot be sent: trying to ends the stream with an
// error status, whoever else is reading from it at that moment.
//
// A handler ends its stream by returning; but a handler that waits in RecvMsg
// cannot return, and grpc-go has no other way to close a stream from a second
// goroutine. What it does have is the rule that a message which fails to encode
// makes SendMsg close the stream with the failure, and cancel its context.
type AbortError struct{ Reason string }

// Error makes it the very error that its encoding fails with.
func (a *AbortError) Error() string { return a.Reason }

// ErrMalformed is what Unmarshal wraps when a message breaks the wire format.
var ErrMalformed = errors.New("wire: malformed ProcessingRequest")
