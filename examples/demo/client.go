package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tmaxmax/go-sse"
)

// tally is what a client has seen so far.
type tally struct {
	events      int // different ones
	repeated    int // events it had already
	newest      int // highest number seen
	disorder    bool
	connections int           // requests made
	errors      int           // of these, refused or broken off
	first       int           // events that the first connection brought
	silence     time.Duration // longest time between two new events
}

// lost are events that it should have by now, and has not.
func (t tally) lost() int { return t.newest - t.events }

// subscription is a client that reads the feed until it is told to leave. It is
// an ordinary one: when its connection fails it reconnects, after the time it was
// told, and says what it saw last. It is more patient than the standard demands,
// by which an EventSource that is answered 503 never tries again.
type subscription struct {
	failed   chan struct{} // closed when it ended otherwise than by leaving
	err      error         // why, after failed
	finished chan struct{}

	mu    sync.Mutex
	seen  map[int]bool
	t     tally
	last  time.Time // when the newest event came
	until int       // the event after which to leave; 0: not told yet
}

func subscribe(ctx context.Context, url string, o options) *subscription {
	s := &subscription{
		failed:   make(chan struct{}),
		finished: make(chan struct{}),
		seen:     map[int]bool{},
	}
	go func() {
		defer close(s.finished)
		if s.err = s.read(ctx, url, o.retry); s.err != nil {
			close(s.failed)
		}
	}()
	return s
}

// leaveAfter tells the client to leave once it has event n.
func (s *subscription) leaveAfter(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = n
}

// left says whether it has done so.
func (s *subscription) left() bool {
	select {
	case <-s.finished:
		return true
	default:
		return false
	}
}

// wait until the client has gone, and its connections with it.
func (s *subscription) wait() { <-s.finished }

func (s *subscription) tally() tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.t
}

func (s *subscription) read(ctx context.Context, url string, retry time.Duration) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	// Over HTTP/1.1 Envoy tells a client of a reset only a second later
	// (delayed_close_timeout); over HTTP/2 it does so at once.
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	// A transport of its own, so that no connection outlives this client.
	transport := &http.Transport{Protocols: &protocols, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &sse.Client{
		HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			s.count(func(t *tally) { t.connections++ })
			resp, err := transport.RoundTrip(r)
			if err == nil && resp.StatusCode >= http.StatusInternalServerError {
				// An error rather than an answer, so that the client tries again.
				resp.Body.Close()
				return nil, fmt.Errorf("answered %s", resp.Status)
			}
			return resp, err
		})},
		Backoff: sse.Backoff{InitialInterval: retry, MaxInterval: 5 * retry, MaxRetries: 50},
		OnRetry: func(error, time.Duration) { s.count(func(t *tally) { t.errors++ }) },
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody) //nolint:gosec // G704: the URL is our own gateway's
	if err != nil {
		return err
	}
	// What cannot be understood ends the demo, but not from within the callback.
	var odd error
	left := false
	conn := client.NewConnection(r)
	conn.SubscribeToAll(func(e sse.Event) {
		if odd == nil && !left {
			if left, odd = s.record(e, time.Now()); left || odd != nil {
				leave()
			}
		}
	})
	err = conn.Connect()
	if left || odd != nil {
		return odd
	}
	return err
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (s *subscription) count(change func(*tally)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.t)
}

// record takes in an event and says whether it is the last one wanted.
func (s *subscription) record(e sse.Event, now time.Time) (last bool, err error) {
	if e.Data == "" {
		return false, nil // a retry hint alone; a browser would not dispatch it
	}
	// Events are told apart by the number in their data: ids are what the demo is
	// about, so it must not believe them.
	var d struct {
		N int `json:"n"`
	}
	if err := json.Unmarshal([]byte(e.Data), &d); err != nil {
		return false, fmt.Errorf("an event that the origin did not send: %q", e.Data)
	}
	if d.N < 1 {
		return false, errors.New("an event without a number: " + e.Data)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.t
	if s.seen[d.N] {
		t.repeated++
		return false, nil
	}
	s.seen[d.N] = true
	t.events++
	t.disorder = t.disorder || d.N < t.newest
	t.newest = max(t.newest, d.N)
	if t.connections == 1 {
		t.first = t.events
	}
	if !s.last.IsZero() {
		t.silence = max(t.silence, now.Sub(s.last))
	}
	s.last = now
	return s.until > 0 && d.N >= s.until, nil
}
