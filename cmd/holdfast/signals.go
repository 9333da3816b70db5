package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// stopSignals turns the signals that mean "stop" into contexts: the first asks
// for an orderly end, the second for an end at once.
type stopSignals struct {
	ctx    context.Context // done at the first
	second context.Context // done at the second

	got     atomic.Pointer[os.Signal]
	forgets func()
}

// notifyStop listens for SIGINT and SIGTERM, and for more that the caller names.
func notifyStop(more ...os.Signal) *stopSignals {
	ctx, first := context.WithCancel(context.Background())
	second, again := context.WithCancel(context.Background())
	s := &stopSignals{ctx: ctx, second: second}
	c := make(chan os.Signal, 2)
	signal.Notify(c, append(more, syscall.SIGINT, syscall.SIGTERM)...)
	quit := make(chan struct{})
	go func() {
		for _, cancel := range []context.CancelFunc{first, again} {
			select {
			case sig := <-c:
				s.got.CompareAndSwap(nil, &sig)
				cancel()
			case <-quit:
				return
			}
		}
	}()
	s.forgets = func() {
		signal.Stop(c)
		close(quit)
		first()
		again()
	}
	return s
}

// first is the signal that asked for the end; SIGTERM if there was none.
func (s *stopSignals) first() os.Signal {
	if sig := s.got.Load(); sig != nil {
		return *sig
	}
	return syscall.SIGTERM
}

func (s *stopSignals) forget() { s.forgets() }
