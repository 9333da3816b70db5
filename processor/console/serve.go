package console

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10 // bytes
	// shutdownTimeout bounds the wait for answers in progress.
	shutdownTimeout = 5 * time.Second
)

// stoppingKey finds, in a request's context, the channel that Serve closes when
// it is told to end.
type stoppingKey struct{}

// stopping returns a channel that is closed once streams of answers should end;
// nil, which never is, under another server than Serve's.
func stopping(r *http.Request) <-chan struct{} {
	c, _ := r.Context().Value(stoppingKey{}).(<-chan struct{})
	return c
}

// Serve answers on ln until ctx ends; then watch streams end cleanly, other
// answers in progress have five seconds to be finished, and Serve returns nil.
// Any other error is the listener's. It closes ln.
//
// A client may take its time only where that is the point: headers must come in
// five seconds, answers must be read in thirty.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	// Requests do not inherit ctx: one in progress may finish.
	base := context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx.Done())
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		// Whatever a client does wrong is not worth a line; the handler logs its
		// own faults.
		ErrorLog: zap.NewStdLog(zap.NewNop()),
	}
	if h, ok := h.(*handler); ok {
		var background sync.WaitGroup
		// While the last answers are finished, the history goes on.
		during, end := context.WithCancel(base)
		background.Go(func() { h.console.history.run(during) })
		defer background.Wait()
		defer end()
	}
	failed := make(chan error, 1) // holds the error that nobody asks for after a shutdown
	go func() { failed <- s.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.Shutdown(patience); err != nil {
		return s.Close() // whoever is not done by now is cut off
	}
	return nil
}
