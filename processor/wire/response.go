package wire

import (
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers on the way from ProcessingResponse down to a streamed body:
// response_body { response { body_mutation { streamed_response { … } } } }, or
// streamed_immediate_response { body_response { … } }.
const (
	responseResponseBody     = 4
	bodyResponseResponse     = 1
	commonBodyMutation       = 3
	mutationStreamedResponse = 3
	streamedBody             = 1
	streamedEndOfStream      = 2

	responseImmediate = 11
	immediateBody     = 2
)

// copyBelow is the size up to which copying a body beside its header is cheaper
// than sending it as a buffer of its own, which takes one more object and, as
// grpc-go gathers both into one write buffer anyway, saves nothing.
const copyBelow = 1024

// maxHead is the largest encoding of everything but the body: five tags of one
// byte with lengths of at most ten, and end_of_stream.
const maxHead = 5*(1+10) + 2

// Response is one message to send: Message if it is set, else a part of the
// response's body, in full-duplex mode's form or that of an immediate response.
type Response struct {
	Body        []byte // borrowed until SendMsg returns
	EndOfStream bool
	Immediate   bool // the response is ours from its beginning

	// From is the request that Body may lie in. Such bytes are sent from where
	// they are.
	From *Request

	Message *extproc.ProcessingResponse
}

// marshalBody writes the nested messages from the outside in, so every length has
// to be known first.
func (c *Codec) marshalBody(r *Response) mem.BufferSlice {
	n := 0
	if len(r.Body) > 0 {
		n = 1 + protowire.SizeBytes(len(r.Body))
	}
	if r.EndOfStream {
		n += 2
	}
	inline := len(r.Body) <= copyBelow
	size := maxHead
	if inline {
		size += len(r.Body)
	}
	h := make([]byte, 0, size)
	if r.Immediate {
		h = appendMessage(h, responseImmediate, 1+protowire.SizeBytes(n))
		h = appendMessage(h, immediateBody, n)
	} else {
		mutation := 1 + protowire.SizeBytes(n)
		common := 1 + protowire.SizeBytes(mutation)
		h = appendMessage(h, responseResponseBody, 1+protowire.SizeBytes(common))
		h = appendMessage(h, bodyResponseResponse, common)
		h = appendMessage(h, commonBodyMutation, mutation)
		h = appendMessage(h, mutationStreamedResponse, n)
	}
	// "Parsers must be able to parse fields in any order": with the body last, it
	// need not be moved to make room for what follows it.
	// https://protobuf.dev/programming-guides/encoding/#order
	if r.EndOfStream {
		h = protowire.AppendTag(h, streamedEndOfStream, protowire.VarintType)
		h = protowire.AppendVarint(h, 1)
	}
	if len(r.Body) == 0 {
		return mem.BufferSlice{mem.SliceBuffer(h)}
	}
	h = appendMessage(h, streamedBody, len(r.Body))
	if inline {
		return mem.BufferSlice{mem.SliceBuffer(append(h, r.Body...))}
	}
	return mem.BufferSlice{mem.SliceBuffer(h), c.share(r)}
}

func appendMessage(b []byte, num protowire.Number, size int) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

// share returns the body as a buffer of its own: a view of the received one if
// the body lies in there, else a copy.
func (c *Codec) share(r *Response) mem.Buffer {
	if r.From != nil && r.From.buf != nil {
		if off, ok := offset(r.From.buf.ReadOnlyData(), r.Body); ok {
			return r.From.buf.Slice(off, off+len(r.Body))
		}
	}
	return mem.Copy(r.Body, c.pool)
}

// offset finds part within whole by its address. A slice that was cut from
// another keeps the end of its capacity unless someone capped it, so the
// difference of capacities is the only candidate; the address then proves it.
func offset(whole, part []byte) (int, bool) {
	off := cap(whole) - cap(part)
	if off < 0 || off+len(part) > len(whole) || &whole[off] != &part[0] {
		return 0, false
	}
	return off, true
}
