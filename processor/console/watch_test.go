package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/processor/live"
)

// pipes is a net.Listener and a dialler for it, in memory, so that a server and
// its clients run in a synctest bubble.
type pipes struct {
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{accept: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.accept <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// served is a console under Serve in a bubble.
type served struct {
	t      *testing.T
	client *http.Client
	stop   func()     // ends Serve's context
	ended  chan error // what Serve returned
}

func serve(t *testing.T, h http.Handler) *served {
	t.Helper()
	p := newPipes()
	tr := &http.Transport{DialContext: p.dial}
	ctx, stop := context.WithCancel(t.Context())
	s := &served{t: t, client: &http.Client{Transport: tr}, stop: stop, ended: make(chan error, 1)}
	go func() {
		s.ended <- Serve(ctx, p, h)
		close(s.ended)
	}()
	t.Cleanup(func() {
		stop()
		tr.CloseIdleConnections()
		if err := <-s.ended; err != nil { // nil, too, if the test has seen it end
			t.Error(err)
		}
	})
	return s
}

func (s *served) get(path string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://localhost"+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// watching is a client of the watch stream.
type watching struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Scanner
}

func (s *served) watch(query string) *watching {
	resp := s.get("/api/v1/streams/watch" + query)
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	return &watching{s.t, resp, in}
}

// want reads one message, or "end", and compares it with a short form such as
// "snapshot 1 2", "changes +3 -1" or "keep-alive".
func (w *watching) want(want string) {
	w.t.Helper()
	if got := w.next(); got != want {
		w.t.Errorf("got %q, want %q", got, want)
	}
}

func (w *watching) next() string {
	w.t.Helper()
	event := ""
	for w.in.Scan() {
		field, value, _ := strings.Cut(w.in.Text(), ": ")
		switch field {
		case ":":
			return "keep-alive"
		case "event":
			event = value
		case "data":
			var data struct {
				Time             time.Time
				Total            int
				Streams, Changed []live.Stream
				Gone             []string
			}
			if err := json.Unmarshal([]byte(value), &data); err != nil || data.Time.IsZero() {
				w.t.Fatalf("%v in %s", err, value)
			}
			out := []string{fmt.Sprintf("%s of %d:", event, data.Total)}
			for _, s := range data.Streams {
				out = append(out, strings.TrimLeft(s.ID, "0"))
			}
			for _, s := range data.Changed {
				out = append(out, fmt.Sprintf("+%s(%d)", strings.TrimLeft(s.ID, "0"), s.Events))
			}
			for _, id := range data.Gone {
				out = append(out, "-"+strings.TrimLeft(id, "0"))
			}
			return strings.Join(out, " ")
		}
	}
	if err := w.in.Err(); err != nil {
		return "broken: " + err.Error()
	}
	return "end"
}

// counter is a live.Source whose events can be counted up.
type counter struct {
	mu sync.Mutex
	s  live.Stream
}

func (c *counter) Snapshot() live.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s
}

func (c *counter) event() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.Events++
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := registry(3)
		o := options()
		o.Streams = streams
		s := serve(t, New(o))
		begin := time.Now()
		w := s.watch("")
		if ct := w.resp.Header.Get("Content-Type"); ct != "text/event-stream" {
			t.Errorf("content type %s", ct)
		}
		w.want("snapshot of 3: 1 2 3")

		busy := &counter{s: live.Stream{ID: live.ID(5).String()}}
		streams.Add(5, busy)
		streams.Remove(2)
		w.want("changes of 3: +5(0) -2")
		busy.event()
		w.want("changes of 3: +5(1)")
		if waited := time.Since(begin); waited != 2*time.Second {
			t.Errorf("two changes took %v", waited)
		}
		w.want("keep-alive")
		if waited := time.Since(begin); waited != 17*time.Second {
			t.Errorf("the keep-alive came after %v", waited)
		}
		streams.Remove(1)
		streams.Remove(3)
		streams.Remove(5)
		w.want("changes of 0: -1 -3 -5")

		s.stop()
		w.want("end")
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWatchFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := registry(9)
		o := options()
		o.Streams = streams
		s := serve(t, New(o))
		w := s.watch("?mode=observe&limit=3")
		w.want("snapshot of 9: 2 4 6")
		streams.Remove(1) // not followed
		streams.Remove(4)
		w.want("changes of 7: +8(0) -4")
		s.stop()
		w.want("end")
	})
}

func TestWatchersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, New(options()))
		var all []*watching
		for range maxWatchers {
			w := s.watch("")
			w.want("snapshot of 0:")
			all = append(all, w)
		}
		resp := s.get("/api/v1/streams/watch")
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("one too many: %d", resp.StatusCode)
		}
		resp.Body.Close()

		// One that leaves makes room.
		all[0].resp.Body.Close()
		synctest.Wait()
		w := s.watch("")
		w.want("snapshot of 0:")
		s.stop()
		w.want("end")
	})
}

// A client that stops reading must not keep the process's end waiting, nor its
// slot for ever.
func TestStuckWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := registry(500) // more than any buffer in between takes
		o := options()
		o.Streams = streams
		s := serve(t, New(o))
		resp := s.get("/api/v1/streams/watch")
		defer resp.Body.Close()
		synctest.Wait()

		begin := time.Now()
		s.stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		if waited := time.Since(begin); waited > shutdownTimeout {
			t.Errorf("the end took %v", waited)
		}
	})
}

func TestServeLetsAnswersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Config = func() any { // slow, as a store may be
			<-time.After(3 * time.Second)
			return "done"
		}
		s := serve(t, New(o))
		go func() {
			<-time.After(time.Second)
			s.stop()
		}()
		resp := s.get("/api/v1/config")
		if resp.StatusCode != http.StatusOK {
			t.Errorf("an answer in progress: %d", resp.StatusCode)
		}
		resp.Body.Close()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestServeSaysWhyItCannot(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := Serve(t.Context(), ln, New(options())); err == nil {
		t.Error("a closed listener is served")
	}
}
