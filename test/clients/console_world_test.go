package clients

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/processor/console"
	"holdfast/processor/live"
	"holdfast/sessionstore/memory"
)

// told is a stream as a test tells it.
type told struct {
	mu      sync.Mutex
	s       live.Stream
	moments []live.Moment
}

func (s *told) Snapshot() live.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

func (s *told) Moments() ([]live.Moment, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moments, 0
}

func (s *told) change(f func(*live.Stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.s)
}

// world is the console of a process that a test makes up.
type world struct {
	url     string
	stop    func() // ends the process, as far as a browser can tell
	streams live.Registry
	targets []live.Target
	ready   error

	mu      sync.Mutex
	counted map[string]float64 // by metric and its label
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{counted: map[string]float64{}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(w)
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := console.New(console.Options{
		Streams: &w.streams, Sessions: memory.New(memory.Options{}), Metrics: registry,
		Config: func() any { return nil }, Targets: func() []live.Target { w.mu.Lock(); defer w.mu.Unlock(); return w.targets },
		Ready: func() error { w.mu.Lock(); defer w.mu.Unlock(); return w.ready }, Loopback: true, Version: "v1.2.3",
	})
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	ended := make(chan error, 1)
	go func() { ended <- console.Serve(ctx, lis, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.url = "http://" + lis.Addr().String()
	return w
}

// Describe implements prometheus.Collector: what there is, is found out.
func (w *world) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (w *world) Collect(ch chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	metric := func(name, label, value string, kind prometheus.ValueType, v float64) {
		if label == "" {
			ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("holdfast_"+name, "x", nil, nil), kind, v)
			return
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("holdfast_"+name, "x", []string{label}, nil), kind, v, value)
	}
	metric("streams_active", "", "", prometheus.GaugeValue, w.counted["active"])
	metric("events_total", "", "", prometheus.CounterValue, w.counted["events"])
	metric("duplicates_dropped_total", "", "", prometheus.CounterValue, w.counted["duplicates"])
	for _, r := range []string{"resumed", "unavailable"} {
		metric("resumes_total", "result", r, prometheus.CounterValue, w.counted[r])
	}
	for _, o := range []string{"complete", "cut"} {
		metric("streams_total", "outcome", o, prometheus.CounterValue, w.counted[o])
	}
}

func (w *world) count(what string, n float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted[what] += n
}

func (w *world) health(targets ...live.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.targets = targets
}

func (w *world) unready(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = errors.New(reason)
}

// add makes a stream known that the test can change.
func (w *world) add(n int, f func(*live.Stream)) *told {
	now := time.Now()
	s := &told{s: live.Stream{
		ID: live.ID(n).String(), Session: fmt.Sprintf("%032x", n*7919), Policy: "notifications", Mode: "hold", State: "live", Method: "GET",
		Path: fmt.Sprintf("/v1/feeds/%d/events", n), Upstream: fmt.Sprintf("10.4.0.%d:8443", n%5+11),
		Started: now.Add(-time.Duration(n) * 37 * time.Second), LastByte: now.Add(-time.Duration(n*13%40) * time.Second),
		Cursor: fmt.Sprintf("%d-%d", 1764000000+n, n%9), Trust: "monotonic", Events: uint64(n * 131 % 5000), Bytes: uint64(n * 131 % 5000 * 420),
	}}
	if f != nil {
		f(&s.s)
	}
	w.streams.Add(live.ID(n), s)
	return s
}

// end makes a stream one that has ended.
func (w *world) end(n int, outcome string, moments ...live.Moment) {
	s := w.streams.Get(live.ID(n)).Snapshot()
	s.State, s.Outcome, s.Ended = "ended", outcome, time.Now()
	w.streams.Retire(live.ID(n), live.History{Stream: s, Timeline: moments})
}
