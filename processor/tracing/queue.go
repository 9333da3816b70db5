package tracing

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// Counts are holdfast_spans_total.
type Counts struct{ sent, failed, dropped prometheus.Counter }

// NewCounts registers them; with a nil registerer they are for nobody.
func NewCounts(reg prometheus.Registerer) (*Counts, error) {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_spans_total",
		Help: "Spans of attempts that have ended, by what became of them: sent, failed (the collector did not take them), " +
			"dropped (too many were waiting for it). Only with tracing.otlp_endpoint.",
	}, []string{"result"})
	if reg != nil {
		if err := reg.Register(spans); err != nil {
			return nil, err
		}
	}
	return &Counts{
		sent: spans.WithLabelValues("sent"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped"),
	}, nil
}

// queue bounds the spans that wait. The SDK's batch processor, to which it hands
// them, would drop as many, but tells nobody.
type queue struct {
	sdktrace.SpanProcessor

	counts *Counts
	// pending are those between OnEnd and the end of their export. The processor's own
	// queue has room for as many, so it is never the one that drops.
	pending atomic.Int64
	closed  atomic.Bool
}

// OnEnd implements sdktrace.SpanProcessor. It never waits.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if q.closed.Load() {
		q.counts.dropped.Inc()
		return
	}
	if q.pending.Add(1) > queued {
		q.pending.Add(-1)
		q.counts.dropped.Inc()
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// Shutdown implements sdktrace.SpanProcessor.
func (q *queue) Shutdown(ctx context.Context) error {
	q.closed.Store(true)
	return q.SpanProcessor.Shutdown(ctx)
}

// exporter counts what becomes of spans, and says once that they go nowhere.
type exporter struct {
	next   sdktrace.SpanExporter
	queue  *queue
	counts *Counts
	log    *zap.Logger
	lost   int // since the collector was last heard of; exports come one after the other
}

// ExportSpans implements sdktrace.SpanExporter. It returns no error: the SDK would
// report it to a handler that is one for the whole process.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.next.ExportSpans(ctx, spans)
	e.queue.pending.Add(-int64(len(spans)))
	switch {
	case err != nil:
		e.counts.failed.Add(float64(len(spans)))
		if e.lost == 0 {
			e.log.Warn("spans do not reach tracing.otlp_endpoint and are dropped; streams are not affected. "+
				"This is said once, until they get there again", zap.Error(err))
		}
		e.lost += len(spans)
	default:
		e.counts.sent.Add(float64(len(spans)))
		if e.lost > 0 {
			e.log.Info("spans reach tracing.otlp_endpoint again", zap.Int("lost", e.lost))
			e.lost = 0
		}
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }
