package wire

import (
	"fmt"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of ProcessingRequest's oneof, and of the HttpBody in it.
const (
	requestFirst        = 2 // request_headers
	requestResponseBody = 5
	requestLast         = 7 // response_trailers

	bodyBody        = 1
	bodyEndOfStream = 2
)

// Request is one received message. It is a chunk of the response body if IsBody
// is set, else Message has it. Reuse one Request for a whole stream: Free it
// when its message has been dealt with.
type Request struct {
	IsBody      bool
	EndOfStream bool
	Body        []byte // valid until Free

	Message *extproc.ProcessingRequest // nil for a body

	buf mem.Buffer // what Body lies in
}

// Free gives the message's buffer back. Freeing twice does nothing.
func (r *Request) Free() {
	if r.buf != nil {
		r.buf.Free()
	}
	*r = Request{}
}

func (c *Codec) unmarshalRequest(data mem.BufferSlice, r *Request) error {
	r.Free()
	var buf mem.Buffer
	if len(data) == 1 {
		buf = data[0]
		buf.Ref()
	} else {
		// A message that spans several HTTP/2 frames (16 KiB each) comes in
		// pieces. A chunk in one piece is worth one copy: the scanner behind
		// finds line ends at memory speed only within one slice.
		buf = data.MaterializeToBuffer(c.pool)
	}
	hot, err := r.parse(buf.ReadOnlyData())
	if err != nil {
		buf.Free()
		*r = Request{}
		return err
	}
	if hot {
		r.buf = buf
		return nil
	}
	buf.Free()
	return c.unmarshalOther(data, r)
}

// unmarshalOther is the way of everything but a plain body chunk.
func (c *Codec) unmarshalOther(data mem.BufferSlice, r *Request) error {
	*r = Request{}
	m := new(extproc.ProcessingRequest)
	if err := c.proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if b := m.GetResponseBody(); b != nil {
		r.IsBody, r.Body, r.EndOfStream = true, b.GetBody(), b.GetEndOfStream()
		return nil
	}
	r.Message = m
	return nil
}

// parse reads a message whose only member of the oneof is response_body, and
// says false for any other. Fields beside the oneof (attributes, metadata,
// observability_mode, what future versions add) carry nothing that a chunk's
// answer depends on, so they are skipped, whatever their order.
//
// The field may occur several times. "Embedded message fields merge": parsing
// all of them into the same Request does exactly that.
// https://protobuf.dev/programming-guides/encoding/#last-one-wins
func (r *Request) parse(b []byte) (hot bool, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false, malformed(n)
		}
		b = b[n:]
		if num == requestResponseBody && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false, malformed(n)
			}
			if err := r.parseBody(v); err != nil {
				return false, err
			}
			r.IsBody, b = true, b[n:]
			continue
		}
		if num >= requestFirst && num <= requestLast {
			// Another member of the oneof, or one of a wrong type, which
			// protobuf has its own rules for.
			return false, nil
		}
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return false, malformed(n)
		}
		b = b[n:]
	}
	return r.IsBody, nil
}

func (r *Request) parseBody(b []byte) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(n)
		}
		b = b[n:]
		switch {
		case num == bodyBody && typ == protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return malformed(n)
			}
			r.Body, b = v, b[n:]
		case num == bodyEndOfStream && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return malformed(n)
			}
			r.EndOfStream, b = protowire.DecodeBool(v), b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return malformed(n)
			}
			b = b[n:]
		}
	}
	return nil
}

func malformed(code int) error {
	return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(code))
}
