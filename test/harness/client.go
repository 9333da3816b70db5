package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Protocol is what a client speaks.
type Protocol string

// Protocols of clients.
const (
	H1 Protocol = "http/1.1"
	H2 Protocol = "h2c" // HTTP/2 with prior knowledge
)

// NewClient returns an HTTP client that speaks one protocol, decodes nothing
// and shares no connection with any other.
func NewClient(tb testing.TB, protocol Protocol) *http.Client {
	tb.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(protocol == H1)
	protocols.SetUnencryptedHTTP2(protocol == H2)
	transport := &http.Transport{
		Protocols: &protocols,
		// What Envoy sends is what the test wants to see.
		DisableCompression: true,
	}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Stream is one response as the client sees it, collected in the background.
type Stream struct {
	cancel context.CancelFunc
	opened chan struct{} // closed when the headers are here or never will be
	ended  chan struct{} // closed at the end of the body
	resp   *http.Response
	err    error // of the request, before opened

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever body grows
	body    []byte
	read    int   // how much of body the test has taken
	end     error // how the body ended: io.EOF is clean
}

// Open sends a request and returns at once. The stream is closed when the test
// ends.
func Open(tb testing.TB, client *http.Client, req *http.Request) *Stream {
	tb.Helper()
	ctx, cancel := context.WithCancel(req.Context())
	s := &Stream{
		cancel:  cancel,
		opened:  make(chan struct{}),
		ended:   make(chan struct{}),
		changed: make(chan struct{}),
	}
	go func() {
		defer close(s.ended)
		s.resp, s.err = client.Do(req.WithContext(ctx))
		close(s.opened)
		if s.err != nil {
			s.end = s.err
			return
		}
		defer s.resp.Body.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := s.resp.Body.Read(buf)
			s.mu.Lock()
			s.body = append(s.body, buf[:n]...)
			s.end = err
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	tb.Cleanup(s.Close)
	return s
}

// Close leaves, as a client that hangs up does, and waits until all is over.
func (s *Stream) Close() {
	s.cancel()
	<-s.ended
}

// Response waits for the status and headers.
func (s *Stream) Response(tb testing.TB) *http.Response {
	tb.Helper()
	select {
	case <-s.opened:
	case <-time.After(Patience):
		tb.Fatalf("no response within %v", Patience)
	}
	if s.err != nil {
		tb.Fatalf("request failed: %v", s.err)
	}
	return s.resp
}

// WantOpen waits for 200 and an event stream.
func (s *Stream) WantOpen(tb testing.TB) {
	tb.Helper()
	resp := s.Response(tb)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("content-type"), "text/event-stream") {
		tb.Fatalf("got %s with content type %q, want an event stream", resp.Status, resp.Header.Get("content-type"))
	}
}

// Want waits until the next bytes are here, and compares.
func (s *Stream) Want(tb testing.TB, want string) {
	tb.Helper()
	got := s.take(tb, func(rest []byte) int {
		if len(rest) < len(want) {
			return -1
		}
		return len(want)
	})
	if got != want {
		tb.Fatalf("the client got\n%q\nwant\n%q", clip(got), clip(want))
	}
}

// WantLine waits for the next line, LF included, and returns it.
func (s *Stream) WantLine(tb testing.TB) string {
	tb.Helper()
	return s.WantUntil(tb, "\n")
}

// WantUntil takes everything up to and including marker and returns it.
func (s *Stream) WantUntil(tb testing.TB, marker string) string {
	tb.Helper()
	return s.take(tb, func(rest []byte) int {
		i := bytes.Index(rest, []byte(marker))
		if i < 0 {
			return -1
		}
		return i + len(marker)
	})
}

// take waits until size, given what the test has not taken yet, is not
// negative, and takes that much. At the end of the body it takes the rest.
func (s *Stream) take(tb testing.TB, size func(rest []byte) int) string {
	tb.Helper()
	deadline := time.After(Patience)
	for {
		s.mu.Lock()
		rest, changed := s.body[s.read:], s.changed
		n := size(rest)
		if n >= 0 {
			s.read += n
			got := string(rest[:n])
			s.mu.Unlock()
			return got
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.ended:
			s.mu.Lock()
			rest, end := s.body[s.read:], s.end
			s.mu.Unlock()
			if size(rest) < 0 {
				tb.Fatalf("the stream ended (%v) with only this not taken:\n%q", end, clip(string(rest)))
			}
		case <-deadline:
			tb.Fatalf("waited %v; the client has only\n%q", Patience, clip(string(rest)))
		}
	}
}

// Pending is what arrived and was not taken.
func (s *Stream) Pending() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.body[s.read:])
}

// Ended says whether the body has ended, in whatever way.
func (s *Stream) Ended() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// WantEnd waits for a clean end with no more bytes before it.
func (s *Stream) WantEnd(tb testing.TB) {
	tb.Helper()
	s.wait(tb)
	if rest := s.Pending(); rest != "" {
		tb.Fatalf("before the end the client got\n%q\nmore than expected", clip(rest))
	}
	if !errors.Is(s.end, io.EOF) {
		tb.Fatalf("the stream ended with %v, want a clean end", s.end)
	}
}

// WantAbort waits for an aborted transfer. What arrived before it may be taken
// first; it returns the rest.
func (s *Stream) WantAbort(tb testing.TB) string {
	tb.Helper()
	s.wait(tb)
	if s.end == nil || errors.Is(s.end, io.EOF) {
		tb.Fatalf("the stream ended cleanly, want an aborted transfer; the client got\n%q", clip(s.Pending()))
	}
	return s.Pending()
}

// All waits for the end and returns all bytes; err is nil after a clean end.
func (s *Stream) All(tb testing.TB) (body string, err error) {
	tb.Helper()
	s.wait(tb)
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.end, io.EOF) {
		return string(s.body), nil
	}
	return string(s.body), s.end
}

func (s *Stream) wait(tb testing.TB) {
	tb.Helper()
	select {
	case <-s.ended:
	case <-time.After(Patience):
		tb.Fatalf("the stream is still open after %v; the client has\n%q", Patience, clip(s.Pending()))
	}
}

// WantBody waits for a clean end and compares all bytes.
func (s *Stream) WantBody(tb testing.TB, want string) {
	tb.Helper()
	got, err := s.All(tb)
	if err != nil {
		tb.Fatalf("the stream ended with %v after\n%q", err, clip(got))
	}
	if got != want {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		tb.Fatalf("the client got %d bytes, want %d; they differ from byte %d on:\ngot  %q\nwant %q",
			len(got), len(want), at, clip(got[at:]), clip(want[at:]))
	}
}

func clip(s string) string {
	if len(s) > 600 {
		return s[:400] + "…" + s[len(s)-150:]
	}
	return s
}
