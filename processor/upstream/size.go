package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// A header that is larger than Envoy's HTTP/2 codec takes costs not its request but the
// connection to the loopback listener, with every stream on it. nghttp2 bears 64 KiB in
// one field, and eight CONTINUATION frames, which with the first frame are 144 KiB:
// https://github.com/nghttp2/nghttp2/blob/v1.66.0/lib/nghttp2_hd.h (NGHTTP2_HD_MAX_NV),
// https://nghttp2.org/documentation/nghttp2_option_set_max_continuations.html.
const (
	maxField  = 60 << 10
	maxHeader = 128 << 10

	// fieldOverhead is what HPACK may add to a field's name and value.
	fieldOverhead = 16
	// margin is for what Envoy and we add to a request on its way.
	margin = 8 << 10
)

// HeaderSize adds up how large a header is, pseudo-headers included.
type HeaderSize struct{ total, largest int }

// Add counts a field by the lengths of its name and its value.
func (s *HeaderSize) Add(name, value int) {
	s.total += name + value + fieldOverhead
	s.largest = max(s.largest, name+value)
}

// Fits reports whether a request with this header, as a client has sent it, can be
// fetched.
func (s *HeaderSize) Fits() bool { return s.within(margin) }

func (s *HeaderSize) within(margin int) bool {
	return s.largest <= maxField-margin && s.total <= maxHeader-margin
}

func sizeOf(h http.Header) (s HeaderSize) {
	for name, values := range h {
		for _, v := range values {
			s.Add(len(name), len(v))
		}
	}
	return s
}

// checkSize says whether the header would cost the connection.
func (r *Request) checkSize(header http.Header) error {
	s := sizeOf(header)
	s.Add(len(":path"), len(r.Path))
	s.Add(len(":authority"), len(r.Authority))
	if !s.within(0) {
		return fmt.Errorf("its header is too large for a fetch: %d bytes, %d in one field; the bounds are %d and %d",
			s.total, s.largest, maxHeader, maxField)
	}
	return nil
}

var errLargeTrailer = errors.New("the request's trailer is too large for a fetch")

// checkTrailer is for the end of a body, when the trailer is there. What it returns in
// place of the end costs the request.
func checkTrailer(trailer http.Header) error {
	if s := sizeOf(trailer); !s.within(0) {
		return errLargeTrailer
	}
	return io.EOF
}
