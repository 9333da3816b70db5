package tracing

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// scope names what makes the spans, as instrumentation scopes are named.
const scope = "holdfast/processor"

// queued is how many spans wait for the collector at most, and those on their way
// to it. A span has some 2 KB.
const queued = 2048

// Options say where spans go.
type Options struct {
	// Endpoint is host:port, http://host:port or unix:/path in clear text, or
	// https://host:port. Required. What OpenTelemetry calls
	// OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE, _TIMEOUT and so on is taken from the
	// environment: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
	Endpoint string
	// Sample is the part, 0 to 1, of the requests without a trace of their own that
	// get one. A request with one is traced if its caller has decided so.
	Sample  float64
	Version string
	Logger  *zap.Logger
	// Registerer gets holdfast_spans_total; nil: nobody counts.
	Registerer prometheus.Registerer
}

// Provider makes the Tracer. It is to be shut down.
type Provider struct {
	sdk    *sdktrace.TracerProvider
	tracer trace.Tracer
}

// New connects to nothing yet: that the collector is away is logged when the
// first spans do not get there.
func New(o Options) (*Provider, error) {
	counts, err := NewCounts(o.Registerer)
	if err != nil {
		return nil, err
	}
	otlp, err := otlptracegrpc.New(context.Background(), dialing(o.Endpoint)...)
	if err != nil {
		return nil, fmt.Errorf("tracing.otlp_endpoint: %w", err)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return newProvider(o, counts, otlp)
}

// dialing are the exporter's options for an endpoint, which the configuration has
// checked.
func dialing(endpoint string) []otlptracegrpc.Option {
	if strings.Contains(endpoint, "://") && !strings.HasPrefix(endpoint, "unix:") {
		return []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(endpoint)}
	}
	return []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure()}
}

func newProvider(o Options, counts *Counts, next sdktrace.SpanExporter) (*Provider, error) {
	what, err := resource.New(context.Background(),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			semconv.ServiceName("holdfast"),
			semconv.ServiceVersion(o.Version),
			semconv.ServiceInstanceID(rand.Text()),
		),
		resource.WithHost(),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
	)
	if err != nil {
		return nil, fmt.Errorf("what OTEL_RESOURCE_ATTRIBUTES says of this process: %w", err)
	}
	exp := &exporter{next: next, counts: counts, log: o.Logger}
	q := &queue{counts: counts}
	exp.queue = q
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(exp, sdktrace.WithMaxQueueSize(queued))
	sdk := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(q),
		sdktrace.WithResource(what),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Sample))),
	)
	return &Provider{sdk: sdk, tracer: sdk.Tracer(scope, trace.WithInstrumentationVersion(o.Version))}, nil
}

// Tracer makes the spans.
func (p *Provider) Tracer() trace.Tracer { return p.tracer }

// Shutdown sends what waits to be sent, until ctx ends.
func (p *Provider) Shutdown(ctx context.Context) error { return p.sdk.Shutdown(ctx) }
