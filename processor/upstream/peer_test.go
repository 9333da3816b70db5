package upstream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// The other side, in two kinds: listener stands for Envoy's loopback listener
// with an origin behind it, peer speaks HTTP/2 frame by frame and so can end a
// stream in ways that net/http's server cannot.

// listener serves h2c on a socket.
type listener struct {
	net.Listener
	url   string
	made  atomic.Int32 // connections accepted
	mu    sync.Mutex
	conns []net.Conn
}

// listen opens a socket: "tcp" or "unix".
func listen(t testing.TB, network string) *listener {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ln := &listener{Listener: l, url: "http://" + l.Addr().String()}
	if network == "unix" {
		ln.url = "unix:" + address
	}
	t.Cleanup(func() { l.Close(); ln.cut() })
	return ln
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.made.Add(1)
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// cut closes all connections as they are.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

// serve runs an h2c server with the handler and returns a Dialer to it.
func serve(t testing.TB, network string, o Options, h http.HandlerFunc, configure ...func(*http.Server)) (*Dialer, *listener, *http.Server) {
	t.Helper()
	l := listen(t, network)
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: &h2c, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100}, MaxHeaderBytes: 1 << 20}
	for _, c := range configure {
		c(srv)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	return dialer(t, o, l.url), l, srv
}

func dialer(t testing.TB, o Options, url string) *Dialer {
	t.Helper()
	o.URL = url
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func fetch(t testing.TB, d *Dialer, r Request) *Response {
	t.Helper()
	res, err := d.Fetch(deadline(t), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Close() })
	return res
}

// deadline bounds a test that hangs.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func feedRequest() Request {
	return Request{Method: "GET", Path: "/feed", Authority: "example.com", Header: header("Accept: text/event-stream")}
}

// wantCause checks how a fetch failed, and by whom.
func wantCause(t testing.TB, err error, want Cause) *PeerError {
	t.Helper()
	if CauseOf(err) != want {
		t.Fatalf("%v: cause %v, want %v", err, CauseOf(err), want)
	}
	local, peer := new(LocalError), new(PeerError)
	byUs := want == TimedOut || want == Cancelled || want == Malformed || want == Looped
	if errors.As(err, &local) != byUs || errors.As(err, &peer) == byUs {
		t.Fatalf("%T: whose fault it was is not right", err)
	}
	return peer
}

// send writes a piece of a body at once.
func send(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
}

// Frame types and flags of https://www.rfc-editor.org/rfc/rfc9113#section-6
const (
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	frameGoAway   = 7

	flagAck        = 1
	flagEndStream  = 1
	flagEndHeaders = 4
)

// status200 is ":status: 200" in HPACK: entry 8 of the static table.
const status200 = "\x88"

// peer is one connection whose other end writes what the test says.
type peer struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader

	hpack *hpack.Decoder
}

// script lets play talk to a Dialer over one connection after the other; the
// last one is used for all that follow.
func script(t testing.TB, o Options, play ...func(*peer)) *Dialer {
	t.Helper()
	l := listen(t, "tcp")
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				p := &peer{t: t, c: c, r: bufio.NewReader(c)}
				if p.greet() {
					play[min(n, len(play)-1)](p)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); l.cut(); wg.Wait() })
	return dialer(t, o, l.url)
}

// greet takes the client's preface and sends our settings.
func (p *peer) greet() bool {
	preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if _, err := io.ReadFull(p.r, preface); err != nil {
		return false
	}
	p.write(frameSettings, 0, 0, "")
	return true
}

func (p *peer) write(kind, flags byte, stream uint32, payload string) {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	b = binary.BigEndian.AppendUint32(b, stream)
	_, _ = p.c.Write(append(b, payload...))
}

// fields reads up to the next request and returns its stream and header, of
// which it has to be the first on the connection that is looked at.
func (p *peer) fields() (stream uint32, fields map[string]string) {
	stream, block := p.next(frameHeaders)
	if p.hpack == nil {
		p.hpack = hpack.NewDecoder(4096, nil)
	}
	all, err := p.hpack.DecodeFull(block)
	if err != nil {
		p.t.Error(err)
	}
	fields = make(map[string]string, len(all))
	for _, f := range all {
		fields[f.Name] = f.Value
	}
	return stream, fields
}

// request reads up to the next request's header and returns its stream; 0 at the
// connection's end.
func (p *peer) request() uint32 {
	stream, _ := p.next(frameHeaders)
	return stream
}

// next reads up to the next frame of a kind, and keeps the connection going.
func (p *peer) next(kind byte) (stream uint32, payload []byte) {
	for {
		var head [9]byte
		if _, err := io.ReadFull(p.r, head[:]); err != nil {
			return 0, nil
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(p.r, payload); err != nil {
			return 0, nil
		}
		if head[3] == frameSettings && head[4]&flagAck == 0 {
			p.write(frameSettings, flagAck, 0, "")
		}
		if head[3] == kind {
			return binary.BigEndian.Uint32(head[5:]), payload
		}
	}
}

func (p *peer) reset(stream, code uint32) {
	p.write(frameReset, 0, stream, string(binary.BigEndian.AppendUint32(nil, code)))
}

func (p *peer) goAway(last, code uint32) {
	b := binary.BigEndian.AppendUint32(nil, last)
	p.write(frameGoAway, 0, 0, string(binary.BigEndian.AppendUint32(b, code)))
}

// answer sends a response with a body; end says whether it is complete.
func (p *peer) answer(stream uint32, body string, end bool) {
	p.write(frameHeaders, flagEndHeaders, stream, status200)
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	p.write(frameData, flags, stream, body)
}

// linger waits until the client closes the connection.
func (p *peer) linger() { p.next(255) }
