package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Request is a request to be fetched, as it was received.
type Request struct {
	Method    string // CONNECT cannot be fetched
	Path      string // ":path": sent byte for byte, begins with "/" or is "*"
	Authority string // ":authority"

	// Header is the header as received; hop-by-hop fields, pseudo-headers and our
	// own are left out on the way. It is not changed, and has to stay unchanged
	// until the Response is closed.
	Header http.Header

	// Content is a body that is at hand. Body is one that streams and can be sent
	// once. It is closed in every case, perhaps more than once, perhaps a moment
	// after Fetch or Response.Close has returned; closing it has to end a Read.
	// At most one of the two may be set.
	Content []byte
	Body    io.ReadCloser
	// Length of Body in bytes; zero or less: unknown.
	Length int64
	// Trailer holds the names of Body's trailers from the start and their values
	// when Body has ended.
	Trailer http.Header

	// AnswerWithin bounds the time from the call of Fetch to the response's
	// header, sending the body included. Zero: no bound.
	AnswerWithin time.Duration

	// Policy is the name of the policy that chose the request. It is bound into
	// the pass, and sent in PeekHeader.
	Policy string
	// Peek marks the request with PeekHeader: its tries are to be seen by the filter
	// before each host, where Envoy's configuration has one.
	Peek bool
}

var errTwoBodies = errors.New("both Content and Body are set: set one")

// check says what keeps the request from being sent.
func (r *Request) check() error {
	switch {
	case r.Method == "" || r.Method == http.MethodConnect:
		return fmt.Errorf("method %q cannot be fetched", r.Method)
	case r.Path != "*" && !strings.HasPrefix(r.Path, "/"):
		return fmt.Errorf("path %q does not begin with a slash", short(r.Path))
	case r.Authority == "":
		return errors.New("no authority")
	case r.Content != nil && r.Body != nil:
		return errTwoBodies
	}
	for _, s := range [...]string{r.Path, r.Authority} {
		for i := range len(s) {
			if c := s[i]; c <= ' ' || c == 0x7f {
				return fmt.Errorf("%q contains a control character or a blank", short(s))
			}
		}
	}
	for i := range len(r.Authority) {
		if r.Authority[i] > 0x7f {
			return fmt.Errorf("authority %q is not ASCII", short(r.Authority))
		}
	}
	return nil
}

// short cuts what a client sent down to what a log line can bear.
func short(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// upload is a request on its way. One is made for each try.
type upload struct {
	// sent says that the header has left: from then on the other side may have
	// acted on the request.
	sent    atomic.Bool
	body    io.ReadCloser
	trailer http.Header
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.body.Read(p)
	if errors.Is(err, io.EOF) {
		err = checkTrailer(u.trailer)
	}
	return n, err
}

// Close is the transport's, and it closes the body of a request that did not get
// away too. The next try needs it, so it is left open until the header is out;
// after the last try it is Fetch that closes it.
func (u *upload) Close() error {
	if !u.sent.Load() {
		return nil
	}
	return u.body.Close()
}

// start makes the transport's form of a request. header is what to send.
func (r *Request) start(ctx context.Context, header http.Header) (*http.Request, *upload) {
	u := &upload{trailer: r.Trailer}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { u.sent.Store(true) }})
	hr := (&http.Request{
		Method: r.Method,
		URL:    target(r.Authority, r.Path),
		Host:   r.Authority,
		Header: header,
		Proto:  "HTTP/2.0", ProtoMajor: 2,
		Trailer: r.Trailer,
	}).WithContext(ctx)
	switch {
	case r.Body != nil && r.Body != http.NoBody:
		u.body, hr.Body, hr.ContentLength = r.Body, u, max(r.Length, 0)
		if hr.ContentLength == 0 {
			hr.ContentLength = -1
		}
	case len(r.Content) != 0:
		u.body = io.NopCloser(bytes.NewReader(r.Content))
		hr.Body, hr.ContentLength = u, int64(len(r.Content))
	}
	return hr, u
}

// target returns a URL from which the transport makes exactly this path, with
// whatever escapes, empty segments and odd queries there are. That is what the
// opaque form is for. If it begins with two slashes it is taken for the rest of
// an absolute URL, of which the transport strips scheme and authority again, so
// there they have to be.
func target(authority, path string) *url.URL {
	u := &url.URL{Scheme: "http", Host: authority, Opaque: path}
	if strings.HasPrefix(path, "//") {
		u.Opaque = "//" + authority + path
	}
	return u
}
