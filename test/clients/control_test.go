package clients

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"holdfast/test/harness"
)

// control is how a server tells the test what to do, and a client what it has
// seen, whatever languages they are written in: by POSTs, beside the gateway.
type control struct {
	URL string

	wire *wire // set before anybody may ask to cut it

	mu     sync.Mutex
	seen   map[string]chan struct{} // closed when a client has seen it
	called map[string]int           // how often a tool ran
}

func newControl(t *testing.T) *control {
	t.Helper()
	c := &control{seen: map[string]chan struct{}{}, called: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /seen/{what}", func(_ http.ResponseWriter, r *http.Request) { c.saw(r.PathValue("what")) })
	mux.HandleFunc("POST /cut/{after}", func(_ http.ResponseWriter, r *http.Request) { c.cut(r.PathValue("after"), r.Context().Done()) })
	mux.HandleFunc("POST /called/{tool}", func(_ http.ResponseWriter, r *http.Request) { c.count(r.PathValue("tool")) })
	c.URL = serve(t, mux)
	return c
}

// serve serves until the test ends.
func serve(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: harness.Patience}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(lis)
	}()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return fmt.Sprintf("http://%s", lis.Addr())
}

func (c *control) sight(what string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[what] == nil {
		c.seen[what] = make(chan struct{})
	}
	return c.seen[what]
}

// saw notes that a client has seen something, once.
func (c *control) saw(what string) {
	ch := c.sight(what)
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-ch:
	default:
		close(ch)
	}
}

// await waits until a client has seen something.
func (c *control) await(what string, or <-chan struct{}) {
	select {
	case <-c.sight(what):
	case <-or:
	}
}

// cut cuts the wire when a client has seen something.
func (c *control) cut(after string, or <-chan struct{}) {
	c.await(after, or)
	c.wire.cut()
}

func (c *control) count(tool string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called[tool]++
}

func (c *control) calls(tool string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.called[tool]
}
