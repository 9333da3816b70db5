package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/console"
	"holdfast/processor/splice"
	"holdfast/sessionstore"
)

// adminServer is the HTTP server of the admin port.
type adminServer struct {
	server    *http.Server
	log       *zap.Logger
	failed    chan<- error
	effective atomic.Pointer[config.Config] // what a reload could not change stays in it
	started   bool
}

// newAdminServer prepares the server of a service; nothing listens yet.
func newAdminServer(s *service, sessions sessionstore.Directory, metrics prometheus.Gatherer) *adminServer {
	a := &adminServer{log: s.log, failed: s.failed}
	a.effective.Store(s.cfg)
	local := s.cfg.Admin.Loopback()
	a.server = &http.Server{
		Handler: console.New(console.Options{
			Streams:  s.processor.Live(),
			Sessions: sessions,
			Metrics:  metrics,
			Config:   func() any { return a.effective.Load().Redacted() },
			Ready:    s.processor.Ready,
			Trust:    func(v uint8) string { return splice.Trust(v).String() },
			Loopback: local,
			Pprof:    local,
			Version:  release,
			Log:      s.log,
		}),
		ReadHeaderTimeout: 10 * time.Second,
		// No write timeout: profiles and watches take as long as they are asked to.
		ErrorLog: zap.NewStdLog(s.log.Named("admin")),
	}
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
	a.started = true
	at := lis.Addr().String()
	if network == "tcp" {
		at = "http://" + at
	}
	a.log.Info("admin is up", zap.String("address", at))
	go func() {
		if err := a.server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			a.failed <- fmt.Errorf("the admin server stopped: %w", err)
		}
	}()
	return nil
}

func (a *adminServer) stop() {
	if a.started {
		_ = a.server.Close() // of its listener, which nobody waits for
	}
}
