package clients

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// wire stands before a server and can be cut: the server lives on, with what it
// remembers, but every connection to it breaks with a RST.
type wire struct {
	URL string

	mu    sync.Mutex
	pairs map[*[2]net.Conn]bool
}

// newWire leads to the server at url (http://HOST:PORT).
func newWire(t *testing.T, url string) *wire {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{URL: "http://" + lis.Addr().String(), pairs: map[*[2]net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := lis.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				near.Close()
				continue
			}
			pair := &[2]net.Conn{near, far}
			w.mu.Lock()
			w.pairs[pair] = true
			w.mu.Unlock()
			running.Go(func() { w.carry(pair) })
		}
	})
	t.Cleanup(func() {
		lis.Close()
		w.cut()
		running.Wait()
	})
	return w
}

// carry copies both ways until either side ends.
func (w *wire) carry(pair *[2]net.Conn) {
	near, far := pair[0], pair[1]
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			// Half of a connection that is closed is passed on as such.
			if tcp, ok := way[0].(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			done <- struct{}{}
		}()
	}
	<-done
	<-done
	near.Close()
	far.Close()
	w.mu.Lock()
	delete(w.pairs, pair)
	w.mu.Unlock()
}

// cut breaks every connection.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for pair := range w.pairs {
		for _, conn := range pair {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // RST instead of FIN
			}
			conn.Close()
		}
	}
}
