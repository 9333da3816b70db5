package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/tracing"
)

// spans is what sends spans; nil: nothing does.
type spans struct {
	provider *tracing.Provider
	log      *zap.Logger
}

func newTracing(cfg config.Tracing, log *zap.Logger, reg prometheus.Registerer) (*spans, error) {
	if cfg.OTLPEndpoint == "" {
		return nil, nil //nolint:nilnil // off is not an error
	}
	p, err := tracing.New(tracing.Options{
		Endpoint: cfg.OTLPEndpoint, Sample: cfg.Sample / 100, Version: release, Logger: log.Named("tracing"), Registerer: reg,
	})
	if err != nil {
		return nil, err
	}
	return &spans{p, log}, nil
}

// tracer is nil where there is none to ask.
func (s *spans) tracer() trace.Tracer {
	if s == nil {
		return nil
	}
	return s.provider.Tracer()
}

// stop sends what there is to send until ctx ends.
func (s *spans) stop(ctx context.Context) {
	if s == nil {
		return
	}
	if err := s.provider.Shutdown(ctx); err != nil {
		s.log.Warn("the last spans were not delivered", zap.Error(err))
	}
}
