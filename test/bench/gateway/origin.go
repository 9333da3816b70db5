package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// origin serves event streams, one to each path. What is sent on a stream, and
// when, is for its feed's owner to say; the origin itself only sends the first
// event of each response, at once.
type origin struct {
	address string
	server  *http.Server
	pad     string // of a usual event
	epoch   time.Time
	over    chan struct{} // closed at the end of everything

	mu    sync.Mutex
	feeds map[string]chan *feed // by path, for whoever waits for one
}

// feed is the origin's end of a response. It belongs to whoever takes it.
type feed struct {
	o    *origin
	conn *net.TCPConn
	w    http.ResponseWriter
	rc   *http.ResponseController
	last int // id of the last event sent
	buf  []byte

	once sync.Once
	done chan struct{} // closed by the owner: the handler returns
}

// connKey finds a request's connection in its context.
type connKey struct{}

// padding makes a usual event some 120 bytes long.
const padding = 80

func newOrigin() (*origin, error) {
	o := &origin{pad: strings.Repeat("x", padding), epoch: time.Now(), feeds: map[string]chan *feed{}, over: make(chan struct{})}
	lis, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o.address = lis.Addr().String()
	o.server = &http.Server{
		Handler: o, ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	go func() { _ = o.server.Serve(lis) }()
	return o, nil
}

func (o *origin) close() {
	close(o.over)
	_ = o.server.Close()
}

// waiting returns where the feeds of a path arrive.
func (o *origin) waiting(path string) chan *feed {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.feeds[path]
	if c == nil {
		c = make(chan *feed, 4)
		o.feeds[path] = c
	}
	return c
}

// feed waits for the next request for a path.
func (o *origin) feed(ctx context.Context, path string) (*feed, error) {
	select {
	case f := <-o.waiting(path):
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ServeHTTP implements http.Handler. A response goes on behind the client's
// Last-Event-ID, with an event at once.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(*net.TCPConn)
	f := &feed{o: o, conn: conn, w: w, rc: http.NewResponseController(w), done: make(chan struct{})}
	if id := r.Header.Get("Last-Event-Id"); id != "" {
		var err error
		if f.last, err = strconv.Atoi(id); err != nil {
			http.Error(w, "not one of my ids", http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if f.send() != nil {
		return
	}
	select {
	case o.waiting(r.URL.Path) <- f:
		select {
		case <-f.done: // and not earlier: its owner may be writing, even if the other end is gone
		case <-o.over:
		}
	case <-r.Context().Done():
	}
}

// send sends the next event, which tells when that was.
func (f *feed) send() error { return f.sendPadded(f.o.pad) }

func (f *feed) sendPadded(pad string) error {
	f.last++
	f.buf = fmt.Appendf(f.buf[:0], "id: %d\ndata: %d %s\n\n", f.last, time.Since(f.o.epoch), pad)
	if _, err := f.w.Write(f.buf); err != nil {
		return err
	}
	return f.rc.Flush()
}

// end ends the response in order, unless it has ended. Its owner has to call it.
func (f *feed) end() { f.once.Do(func() { close(f.done) }) }

// kill breaks the connection off: with a reset, or as if all had been said.
func (f *feed) kill(reset bool) error {
	conn, _, err := f.rc.Hijack()
	if err != nil {
		return err
	}
	defer f.end()
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		if err := tcp.SetLinger(0); err != nil {
			return err
		}
	}
	return conn.Close()
}

// flood sends events without a pause until the other end is gone, or the bytes
// are used up.
func (f *feed) flood(ctx context.Context, pad string, bytes int) error {
	for sent := 0; sent < bytes; sent += len(f.buf) {
		if err := f.sendPadded(pad); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
	}
	return nil
}

var errGone = errors.New("the stream has ended early")
