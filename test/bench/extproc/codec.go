package main

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// frame is a ProcessingRequest that is encoded already.
type frame []byte

// reply is what the client wants to know of a ProcessingResponse.
type reply struct {
	member      protowire.Number // of the oneof
	body        []byte           // of a streamed body; valid until free
	endOfStream bool

	buf mem.Buffer
}

func (r *reply) free() {
	if r.buf != nil {
		r.buf.Free()
	}
	*r = reply{}
}

// Field numbers of ProcessingResponse and of the messages within.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
const (
	replyRequestHeaders  = 1
	replyResponseHeaders = 2
	replyResponseBody    = 4
	replyImmediate       = 7 // the last member that is an answer

	bodyResponse        = 1 // BodyResponse.response
	commonBodyMutation  = 3 // CommonResponse.body_mutation
	mutationStreamed    = 3 // BodyMutation.streamed_response
	streamedBody        = 1
	streamedEndOfStream = 2
)

// codec sends frames as they are and reads replies without making structs of
// them: client and servers share the machine, so a cheap client means less noise.
type codec struct{}

var _ encoding.CodecV2 = codec{}

func (codec) Name() string { return protocodec.Name }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(frame)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(f)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*reply)
	if !ok {
		return fmt.Errorf("cannot receive a %T", v)
	}
	r.free()
	// A chunk of more than one HTTP/2 frame comes in several buffers; only then
	// this copies.
	r.buf = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return r.parse(r.buf.ReadOnlyData())
}

func (r *reply) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if v == nil || num > replyImmediate {
			return nil
		}
		r.member = num
		if num != replyResponseBody {
			return nil
		}
		return within(v, []protowire.Number{bodyResponse, commonBodyMutation, mutationStreamed}, r.streamed)
	})
}

// streamed reads a StreamedBodyResponse.
func (r *reply) streamed(b []byte) error {
	return fields(b, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case streamedBody:
			r.body = v
		case streamedEndOfStream:
			r.endOfStream = protowire.DecodeBool(n)
		}
		return nil
	})
}

// within calls f for the message at the end of a path of field numbers.
func within(b []byte, path []protowire.Number, f func([]byte) error) error {
	if len(path) == 0 {
		return f(b)
	}
	return fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		if num != path[0] || v == nil {
			return nil
		}
		return within(v, path[1:], f)
	})
}

var errMalformed = errors.New("malformed ProcessingResponse")

// fields calls f for every field of a message: v is what a length-delimited one
// holds, and not nil; n is the value of a varint.
func fields(b []byte, f func(num protowire.Number, v []byte, n uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		var v []byte
		var x uint64
		switch typ {
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			x, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if err := f(num, v, x); err != nil {
			return err
		}
	}
	return nil
}
