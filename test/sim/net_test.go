package sim

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// wire is a listener in memory. Its connections have no buffers: what is written
// was read.
type wire struct {
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

var _ net.Listener = (*wire)(nil)

func newWire() *wire {
	return &wire{accept: make(chan net.Conn), done: make(chan struct{})}
}

var errRefused = errors.New("connection refused")

func (l *wire) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.accept <- there:
		return here, nil
	case <-l.done:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *wire) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *wire) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *wire) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "memory"} }

// h2c is HTTP/2 with prior knowledge, as Envoy speaks it on all of these hops.
func h2c() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

// transport is Envoy's side of a cluster.
func transport(dial func(context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		Protocols: h2c(), DisableCompression: true,
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
}
