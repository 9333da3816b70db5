package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/test/quietport"
)

// Origin is an upstream that does what a test tells it, on HTTP/1.1 and on
// HTTP/2 without TLS, on one port.
type Origin struct {
	URL string // http://127.0.0.1:PORT

	address string
	last    atomic.Uint64 // number of the newest path

	mu     sync.Mutex
	server *http.Server  // nil while the origin is down
	served chan struct{} // closed when server has ended
	paths  map[string]*resource
}

// resource is what lives at one path: either a handler or a queue of exchanges
// that the test drives itself.
type resource struct {
	handle func(*Exchange)
	queue  chan *Exchange

	mu       sync.Mutex
	requests []*http.Request
}

// NewOrigin starts an origin that stops when the test ends.
func NewOrigin(tb testing.TB) *Origin {
	tb.Helper()
	ln, err := quietport.Listen(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	address := ln.Addr().String()
	o := &Origin{URL: "http://" + address, address: address, paths: map[string]*resource{}}
	o.serve(ln)
	tb.Cleanup(o.Down)
	return o
}

func (o *Origin) serve(ln net.Listener) {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: o, Protocols: &protocols, ErrorLog: nil, ReadHeaderTimeout: Patience}
	served := make(chan struct{})
	o.mu.Lock()
	o.server, o.served = server, served
	o.mu.Unlock()
	go func() {
		defer close(served)
		_ = server.Serve(ln)
	}()
}

// Down ends the origin as a crash would: all connections break, new ones are
// refused.
func (o *Origin) Down() {
	o.mu.Lock()
	server, served := o.server, o.served
	o.server = nil
	o.mu.Unlock()
	if server != nil {
		_ = server.Close()
		<-served
	}
}

// Up starts it again at the same address.
func (o *Origin) Up(tb testing.TB) {
	tb.Helper()
	ln, err := net.Listen("tcp", o.address)
	if err != nil {
		tb.Fatal(err)
	}
	o.serve(ln)
}

// H2URL is the same origin, named so that Holdfast speaks HTTP/2 to it.
func (o *Origin) H2URL() string { return strings.Replace(o.URL, "http:", "h2c:", 1) }

// Path makes a fresh path below prefix ("" or "/name") whose exchanges the test
// accepts and drives itself.
func (o *Origin) Path(prefix string) string {
	return o.add(prefix, &resource{queue: make(chan *Exchange, 64)})
}

// Handle makes a fresh path that answers every request by handle.
func (o *Origin) Handle(prefix string, handle func(*Exchange)) string {
	return o.add(prefix, &resource{handle: handle})
}

// Body makes a fresh path that answers with an event stream of exactly these
// bytes, each piece flushed on its own, and a clean end.
func (o *Origin) Body(prefix string, pieces ...string) string {
	return o.Handle(prefix, func(x *Exchange) {
		x.Stream()
		for _, piece := range pieces {
			x.Send(piece)
		}
		x.End()
	})
}

func (o *Origin) add(prefix string, r *resource) string {
	path := fmt.Sprintf("%s/%d", prefix, o.last.Add(1))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths[path] = r
	return path
}

func (o *Origin) resource(path string) *resource {
	path, _, _ = strings.Cut(path, "?")
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.paths[path]
}

// Requests are the requests that a path has seen, oldest first.
func (o *Origin) Requests(path string) []*http.Request {
	r := o.resource(path)
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*http.Request(nil), r.requests...)
}

// Accept waits for the next request at a path made by Path.
func (o *Origin) Accept(tb testing.TB, path string) *Exchange {
	tb.Helper()
	select {
	case x := <-o.resource(path).queue:
		tb.Cleanup(x.End)
		return x
	case <-time.After(Patience):
		tb.Fatalf("the origin saw no request for %s within %v", path, Patience)
		return nil
	}
}

// Accepts is where the exchanges of a path made by Path come, for a test that does
// not know at which of several origins they will.
func (o *Origin) Accepts(path string) <-chan *Exchange { return o.resource(path).queue }

// Replace makes a path answer every request by handle from now on.
func (o *Origin) Replace(path string, handle func(*Exchange)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths[path] = &resource{handle: handle}
}

// ServeHTTP implements [http.Handler].
func (o *Origin) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r := o.resource(req.URL.EscapedPath())
	if r == nil {
		http.NotFound(w, req)
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, req)
	r.mu.Unlock()

	x := &Exchange{Request: req, w: w, done: make(chan struct{}), next: r.queue}
	if r.handle != nil {
		r.handle(x)
		x.End()
	} else {
		r.queue <- x
	}
	select {
	case <-x.done:
	case <-req.Context().Done():
		// The test may still be writing; it will see errors, not us.
		x.ownership.Lock()
		x.gone = true
		x.ownership.Unlock()
		return
	}
	if x.abort {
		// net/http's way to end a response so that the peer sees it broken: a
		// connection without its last chunk, or RST_STREAM.
		panic(http.ErrAbortHandler)
	}
}

// Exchange is one request as the origin sees it, and the means to answer it. A
// single goroutine uses it. After the client has gone, writes do nothing.
type Exchange struct {
	Request *http.Request

	w    http.ResponseWriter
	once sync.Once
	done chan struct{}
	next chan *Exchange // at the same path

	// The handler's goroutine must not return while the test writes, nor may the
	// test write after it has returned.
	ownership sync.Mutex
	gone      bool
	abort     bool
}

// Gone is closed when the other side has left.
func (x *Exchange) Gone() <-chan struct{} { return x.Request.Context().Done() }

// WantGone waits until the other side has left.
func (x *Exchange) WantGone(tb testing.TB) {
	tb.Helper()
	select {
	case <-x.Gone():
	case <-time.After(Patience):
		tb.Fatal("the origin's request is still open")
	}
}

func (x *Exchange) write(f func(http.ResponseWriter)) {
	x.ownership.Lock()
	defer x.ownership.Unlock()
	select {
	case <-x.done:
		return
	default:
	}
	if !x.gone {
		f(x.w)
	}
}

// Answer sends status and headers, given as name, value pairs, at once.
func (x *Exchange) Answer(status int, pairs ...string) {
	x.write(func(w http.ResponseWriter) {
		for i := 0; i+1 < len(pairs); i += 2 {
			w.Header().Add(pairs[i], pairs[i+1])
		}
		w.WriteHeader(status)
		_ = http.NewResponseController(w).Flush()
	})
}

// Stream answers 200 with an event stream's headers, and more if given.
func (x *Exchange) Stream(pairs ...string) {
	x.Answer(http.StatusOK, append([]string{"content-type", "text/event-stream", "cache-control", "no-store"}, pairs...)...)
}

// Send sends bytes as one chunk.
func (x *Exchange) Send(bytes string) {
	x.write(func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, bytes)
		_ = http.NewResponseController(w).Flush()
	})
}

// Trailer sets a trailer, sent by End.
func (x *Exchange) Trailer(name, value string) {
	x.write(func(w http.ResponseWriter) { w.Header().Set(http.TrailerPrefix+name, value) })
}

// End ends the response cleanly.
func (x *Exchange) End() { x.once.Do(func() { close(x.done) }) }

// Finish ends the response cleanly, and with it the stream: whoever asks whether
// that was all, before the client has seen the end, is answered that it was (204).
func (x *Exchange) Finish(s *Stream) {
	x.End()
	patience := time.After(Patience)
	for {
		select {
		case asked := <-x.next:
			asked.Answer(http.StatusNoContent)
			asked.End()
		case <-s.ended:
			return
		case <-patience:
			return // as whoever waits for the client's end will say
		}
	}
}

// Abort ends the response so that the other side sees it broken off: FIN
// without the last chunk on HTTP/1.1, RST_STREAM on HTTP/2.
func (x *Exchange) Abort() {
	x.once.Do(func() {
		x.abort = true
		close(x.done)
	})
}

// Reset breaks the TCP connection with a RST. Only HTTP/1.1 can do this; on
// HTTP/2 it is Abort.
func (x *Exchange) Reset() {
	x.write(func(w http.ResponseWriter) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			// Linger 0 discards what was not sent and sends RST instead of FIN.
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	})
	x.Abort()
}

// ReadBody reads the request's body to its end.
func (x *Exchange) ReadBody(tb testing.TB) string {
	tb.Helper()
	body, err := io.ReadAll(x.Request.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(body)
}

// Wait waits until ch is closed or the other side has left, for handlers.
func (x *Exchange) Wait(ch <-chan struct{}) {
	select {
	case <-ch:
	case <-x.Gone():
	}
}

// Context ends when the other side has left.
func (x *Exchange) Context() context.Context { return x.Request.Context() }
