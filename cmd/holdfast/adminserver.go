package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/console"
	"holdfast/processor/splice"
	"holdfast/sessionstore"
)

// adminServer is the HTTP server of the admin port.
type adminServer struct {
	handler   http.Handler
	log       *zap.Logger
	failed    chan<- error
	effective atomic.Pointer[config.Config] // what a reload could not change stays in it

	end   context.CancelFunc // nil: it does not serve
	ended chan struct{}
}

// newAdminServer prepares the server of a service; nothing listens yet.
func newAdminServer(s *service, sessions sessionstore.Directory, metrics prometheus.Gatherer) *adminServer {
	a := &adminServer{log: s.log, failed: s.failed}
	a.effective.Store(s.cfg)
	local := s.cfg.Admin.Loopback()
	a.handler = console.New(console.Options{
		Streams:  s.processor.Live(),
		Targets:  s.processor.Targets,
		Sessions: sessions,
		Metrics:  metrics,
		Config:   func() any { return a.effective.Load().Redacted() },
		Ready:    s.processor.Ready,
		Trust:    func(v uint8) string { return splice.Trust(v).String() },
		Loopback: local,
		Pprof:    local,
		Version:  release,
		Log:      s.log,
	})
	return a
}

// start listens and serves; an empty address means that no admin port is wanted.
func (a *adminServer) start(ctx context.Context, network, address string) error {
	if address == "" {
		return nil
	}
	lis, err := listen(ctx, network, address, "admin")
	if err != nil {
		return err
	}
	at := lis.Addr().String()
	if network == "tcp" {
		at = "http://" + at
	}
	a.log.Info("admin is up", zap.String("address", at))
	// It outlives ctx, the signal to stop: whoever watches a drain should see all
	// of it.
	ctx, a.end = context.WithCancel(context.WithoutCancel(ctx))
	a.ended = make(chan struct{})
	go func() {
		defer close(a.ended)
		if err := console.Serve(ctx, lis, a.handler); err != nil {
			a.failed <- fmt.Errorf("the admin server stopped: %w", err)
		}
	}()
	return nil
}

func (a *adminServer) stop() {
	if a.end != nil {
		a.end()
		<-a.ended
	}
}
