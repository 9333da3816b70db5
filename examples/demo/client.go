package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tmaxmax/go-sse"
)

// tally is what a client has seen so far.
type tally struct {
	events     int // different ones
	repeats    int // events it had already
	lost       int // events it should have by now, and has not
	reconnects int
	newest     int // highest number seen
	disorder   bool
	total      int
}

// subscription is a client that reads the feed until the origin says that there
// is no more. It is an ordinary one: it reconnects when a stream ends, after the
// time it was told, and says what it saw last.
type subscription struct {
	done     chan error // its end, once; nil: the origin had no more
	finished chan struct{}

	mu   sync.Mutex
	seen map[int]bool
	t    tally
}

// errNoMore is the answer 204, which tells a client not to come back:
// https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model
var errNoMore = errors.New("no more events")

func subscribe(ctx context.Context, url string, o options) *subscription {
	s := &subscription{
		done:     make(chan error, 1),
		finished: make(chan struct{}),
		seen:     make(map[int]bool, o.events),
		t:        tally{total: o.events},
	}
	go func() {
		defer close(s.finished)
		s.done <- s.read(ctx, url, o.retry)
	}()
	return s
}

// wait until the client has gone, and its connections with it.
func (s *subscription) wait() { <-s.finished }

func (s *subscription) tally() tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.t
}

func (s *subscription) read(ctx context.Context, url string, retry time.Duration) error {
	// A transport of its own, so that no connection outlives this client.
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &sse.Client{
		HTTPClient: &http.Client{Transport: transport},
		Backoff:    sse.Backoff{InitialInterval: retry, MaxInterval: 5 * retry, MaxRetries: 20},
		OnRetry: func(error, time.Duration) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.reconnects++
		},
		ResponseValidator: func(r *http.Response) error {
			if r.StatusCode == http.StatusNoContent {
				return errNoMore
			}
			if err := sse.DefaultValidator(r); err != nil {
				said, _ := io.ReadAll(io.LimitReader(r.Body, 200))
				return fmt.Errorf("%w: %q", err, said)
			}
			return nil
		},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody) //nolint:gosec // G704: the URL is our own gateway's
	if err != nil {
		return err
	}
	// What cannot be understood ends the demo, but not from within the callback.
	var odd error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := client.NewConnection(r.WithContext(ctx))
	conn.SubscribeToAll(func(e sse.Event) {
		if err := s.record(e); err != nil && odd == nil {
			odd = err
			cancel()
		}
	})
	err = conn.Connect()
	switch {
	case odd != nil:
		return odd
	case errors.Is(err, errNoMore):
		return nil
	default:
		return err
	}
}

func (s *subscription) record(e sse.Event) error {
	if e.Data == "" {
		return nil // a retry hint alone; a browser would not dispatch it
	}
	var d struct {
		N int `json:"n"`
	}
	if err := json.Unmarshal([]byte(e.Data), &d); err != nil {
		return fmt.Errorf("an event that the origin did not send: %q", e.Data)
	}
	// Events are told apart by the number in their data: ids are what the demo is
	// about, so it must not believe them.
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.t
	switch {
	case s.seen[d.N]:
		t.repeats++
	case d.N < t.newest:
		t.disorder = true
		fallthrough
	default:
		s.seen[d.N] = true
		t.events++
		t.newest = max(t.newest, d.N)
	}
	t.lost = t.newest - t.events
	return nil
}
