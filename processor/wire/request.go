package wire

import (
	"fmt"
	"sync"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of ProcessingRequest's oneof, and of the HttpBody in it.
const (
	requestHeaders      = 2
	responseHeaders     = 3
	requestResponseBody = 5

	requestFirst = requestHeaders
	requestLast  = 7 // response_trailers

	bodyBody        = 1
	bodyEndOfStream = 2
)

// Request is one received message: a chunk of the response body if IsBody is
// set, or else Headers, or else Message. Reuse one Request for a whole stream:
// Free it when its message has been dealt with.
type Request struct {
	IsBody      bool
	EndOfStream bool   // of a body
	Body        []byte // valid until Free

	Headers *Headers                   // valid until Free
	Message *extproc.ProcessingRequest // nil for bodies and headers

	buf mem.Buffer // what Body and Headers lie in
}

// Free gives the message's buffer back. Freeing twice does nothing.
func (r *Request) Free() {
	if r.buf != nil {
		r.buf.Free()
	}
	if r.Headers != nil && r.Headers.home != nil {
		r.Headers.reset(false, nil)
		r.Headers.home.Put(r.Headers)
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
	known, err := r.parse(buf.ReadOnlyData(), &c.headers)
	r.buf = buf
	if err == nil && known {
		return nil
	}
	r.Free()
	if err != nil {
		return err
	}
	return c.unmarshalOther(data, r)
}

// unmarshalOther is the way of every message that is out of the ordinary.
func (c *Codec) unmarshalOther(data mem.BufferSlice, r *Request) error {
	m := new(extproc.ProcessingRequest)
	if err := c.proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch v := m.GetRequest().(type) {
	case *extproc.ProcessingRequest_ResponseBody:
		r.IsBody, r.Body, r.EndOfStream = true, v.ResponseBody.GetBody(), v.ResponseBody.GetEndOfStream()
	case *extproc.ProcessingRequest_RequestHeaders:
		r.Headers = &Headers{message: data.Materialize()}
		r.Headers.fromMessage(m, v.RequestHeaders)
	case *extproc.ProcessingRequest_ResponseHeaders:
		r.Headers = &Headers{Response: true, message: data.Materialize()}
		r.Headers.fromMessage(m, v.ResponseHeaders)
	default:
		r.Message = m
	}
	return nil
}

// parse reads a message whose only member of the oneof is response_body or one
// of the headers, and says false for any other. What else there may be beside a
// chunk (attributes, metadata, what future versions add) carries nothing that
// its answer depends on, so it is skipped, whatever the order of the fields.
func (r *Request) parse(b []byte, pool *sync.Pool) (known bool, err error) {
	whole := b
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false, malformed(n)
		}
		b = b[n:]
		switch {
		case num == requestResponseBody && typ == protowire.BytesType && r.Headers == nil:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false, malformed(n)
			}
			// The field may occur several times. "Embedded message fields merge":
			// parsing all of them into one Request does exactly that.
			// https://protobuf.dev/programming-guides/encoding/#last-one-wins
			if err := r.parseBody(v); err != nil {
				return false, err
			}
			r.IsBody, b = true, b[n:]
			continue
		case (num == requestHeaders || num == responseHeaders) && typ == protowire.BytesType && r.Headers == nil && !r.IsBody:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false, malformed(n)
			}
			if r.Headers, _ = pool.Get().(*Headers); r.Headers == nil {
				r.Headers = &Headers{home: pool}
			}
			r.Headers.reset(num == responseHeaders, whole)
			if err := r.Headers.parse(v); err != nil {
				return false, err
			}
			b = b[n:]
			continue
		case num >= requestFirst && num <= requestLast:
			// A second member of the oneof, or one of a wrong type: protobuf has
			// its own rules for these.
			return false, nil
		}
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return false, malformed(n)
		}
		b = b[n:]
	}
	if r.Headers != nil {
		return true, r.Headers.parseBeside()
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
