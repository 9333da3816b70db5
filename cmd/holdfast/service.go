package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"holdfast/processor"
	"holdfast/processor/config"
	"holdfast/processor/seal"
)

// service is the processor with everything around it that run and serve share:
// store, gRPC server, admin server, metrics.
type service struct {
	cfg   *config.Config
	log   *zap.Logger
	level zap.AtomicLevel

	store     sessions
	processor *processor.Server
	grpc      *grpc.Server
	back      wayBack
	sealer    *seal.Sealer
	spans     *spans
	relay     *http.Server // nil: not started
	admin     *adminServer
	failed    chan error // a server that stopped without being told to
}

// newService builds everything and opens nothing but the store, which it gives some time. creds may be nil: clear text.
func newService(cfg *config.Config, log *zap.Logger, level zap.AtomicLevel, creds *tls.Config) (*service, error) {
	policies, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	back, err := newWayBack(cfg.Fetch)
	if err != nil {
		return nil, err
	}
	sealer, err := newSealer(cfg, log)
	if err != nil {
		back.close()
		return nil, err
	}
	store, err := newStore(cfg)
	if err != nil {
		back.close()
		return nil, err
	}
	spans, err := newTracing(cfg.Tracing, log, registry)
	if err != nil {
		back.close()
		closeStore(store, log)
		return nil, err
	}
	proc, err := processor.NewServer(processor.Options{
		Policies: policies, Store: store, Logger: log, Registerer: registry, Tracer: spans.tracer(),
		// Replicas that share a key verify one another's passes and tickets.
		Fetch: back.fetch, Relay: cfg.Relay.Listen != "", Passes: back.passes, Tickets: back.passes,
		Sealer: sealer, Detached: cfg.Limits.Detached,
		StoreFirst: cfg.Store.Kind != "memory" && cfg.Store.Flush == 0,
	})
	if err != nil {
		back.close()
		closeStore(store, log)
		spans.stop(context.Background())
		return nil, err
	}
	s := &service{
		spans: spans,
		store: store,
		cfg:   cfg, log: log, level: level,
		processor: proc,
		grpc:      grpc.NewServer(grpcOptions(creds)...),
		back:      back,
		sealer:    sealer,
		failed:    make(chan error, 3),
	}
	proc.Register(s.grpc)
	s.admin = newAdminServer(s, store, registry)
	awaitStore(store)
	return s, nil
}

// pingsAllowed is well below the interval at which Envoy pings by our bootstrap.
const pingsAllowed = 5 * time.Second

// pingAfter is how long an Envoy may be silent before it is asked for a sign of
// life, and pingPatience how long it may take to give one.
const (
	pingAfter    = time.Minute
	pingPatience = 20 * time.Second
)

func grpcOptions(creds *tls.Config) []grpc.ServerOption {
	o := append(processor.ServerOptions(),
		// By default grpc-go ends a connection, with every stream on it, that pings more
		// often than every five minutes.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsAllowed, PermitWithoutStream: true}),
		// By default grpc-go itself asks after two hours whether a silent Envoy is still
		// there; for so long the streams of one that is not would count as running.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingPatience}),
	)
	if creds != nil {
		o = append(o, grpc.Creds(credentials.NewTLS(creds)))
	}
	return o
}

// serve answers Envoy until stop.
func (s *service) serve(lis net.Listener) {
	go func() {
		if err := s.grpc.Serve(lis); err != nil {
			s.failed <- fmt.Errorf("the ext_proc server stopped: %w", err)
		}
	}()
}

// drain ends the streams as configured: those that clients can take up again
// soon and at an event boundary, the others at the latest at the deadline. It
// returns when none is left.
func (s *service) drain(ctx context.Context) {
	d := s.cfg.Drain
	if n := s.processor.Live().Len(); n > 0 {
		s.log.Info("draining; a second signal ends it at once",
			zap.Int("streams", n), zap.Duration("deadline", d.Deadline.Std()), zap.Duration("spread", d.Spread.Std()))
	}
	err := s.processor.Drain(ctx, processor.DrainOptions{Deadline: d.Deadline.Std(), Spread: d.Spread.Std()})
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("drain incomplete", zap.Error(err))
	}
}

// goodbye is how long connections get to end in order once their streams have.
const goodbye = 2 * time.Second

// stop ends all servers. Streams that are still there are cut.
func (s *service) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	s.stopRelay(ctx)
	s.back.close() // of whom nobody is left to read
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
	s.admin.stop()
	closeStore(s.store, s.log)
	s.spans.stop(ctx) // the last streams' have just been ended
}

// setup is what run and serve do first.
func setup(p *program, path, admin, listenAt string) (*config.Config, *zap.Logger, zap.AtomicLevel, error) {
	cfg, err := loadWith(path, admin, listenAt)
	if err != nil {
		return nil, nil, zap.AtomicLevel{}, usage(err)
	}
	limitMemory(p.place.Getenv)
	log, level := newLogger(cfg.Log, path != "", p.stderr)
	return cfg, log, level, nil
}

// loadWith reads a configuration and puts flags that were given in its place.
func loadWith(path, admin, listenAt string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if admin != "" {
		cfg.Admin = config.Address(admin)
	}
	if listenAt != "" {
		cfg.Listen = config.Address(listenAt)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return cfg, nil
}
