package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// stopSignals turns the signals that mean "stop" into contexts: the first asks
// for an orderly end, the second for an end at once.
type stopSignals struct {
	ctx    context.Context // done at the first
	second context.Context // done at the second

	got     atomic.Pointer[os.Signal]
	forgets func()
}

// echo is how long after the first signal another one is taken for the same.
// timeout(1) signals its child and then their whole group; wrappers that forward
// signals add theirs to the terminal's Ctrl-C. A person needs longer.
const echo = 300 * time.Millisecond

// notifyStop listens for SIGINT and SIGTERM, and for more that the caller names.
func notifyStop(more ...os.Signal) *stopSignals {
	c := make(chan os.Signal, 2)
	signal.Notify(c, append(more, syscall.SIGINT, syscall.SIGTERM)...)
	s, forget := watchStop(c)
	// The signals stay caught: one that comes after the last was acted upon must
	// not end a program that is cleaning up behind itself.
	s.forgets = forget
	return s
}

// watchStop makes contexts of the signals that come from c, until forget.
func watchStop(c <-chan os.Signal) (s *stopSignals, forget func()) {
	ctx, first := context.WithCancel(context.Background())
	second, again := context.WithCancel(context.Background())
	s = &stopSignals{ctx: ctx, second: second}
	quit := make(chan struct{})
	go func() {
		var at time.Time
		for {
			select {
			case sig := <-c:
				switch {
				case s.got.CompareAndSwap(nil, &sig):
					at = time.Now()
					first()
				case time.Since(at) >= echo:
					again()
				}
			case <-quit:
				return
			}
		}
	}()
	return s, func() {
		close(quit)
		first()
		again()
	}
}

// first is the signal that asked for the end; SIGTERM if there was none.
func (s *stopSignals) first() os.Signal {
	if sig := s.got.Load(); sig != nil {
		return *sig
	}
	return syscall.SIGTERM
}

func (s *stopSignals) forget() { s.forgets() }
