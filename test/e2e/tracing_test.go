package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"holdfast/test/harness"
)

// traces is an OpenTelemetry collector.
type traces struct {
	collector.UnimplementedTraceServiceServer

	address string
	mu      sync.Mutex
	spans   []seenSpan
}

type seenSpan struct {
	*tracepb.Span
	service string
}

func (s seenSpan) attribute(key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

func collect(t *testing.T) *traces {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &traces{address: lis.Addr().String()}
	g := grpc.NewServer()
	collector.RegisterTraceServiceServer(g, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(lis)
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return c
}

// Export implements the collector's service.
func (c *traces) Export(_ context.Context, m *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.GetResourceSpans() {
		service := ""
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, s := range r.GetScopeSpans() {
			for _, span := range s.GetSpans() {
				c.spans = append(c.spans, seenSpan{span, service})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// of waits for so many spans of a service, and returns them in the order in which
// they began.
func (c *traces) of(t *testing.T, service string, n int) (all []seenSpan) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%d spans of %s", n, service), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		all = nil
		for _, s := range c.spans {
			if s.service == service {
				all = append(all, s)
			}
		}
		return len(all) >= n
	})
	for i := range all {
		for j := i; j > 0 && all[j].GetStartTimeUnixNano() < all[j-1].GetStartTimeUnixNano(); j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all
}

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

// tracedEnvoy is own-envoy's hold.yaml, with Envoy tracing as docs/tracing.md says.
func tracedEnvoy(t *testing.T, origin *harness.Origin, c *traces, mode string) *harness.Standalone {
	t.Helper()
	tracing := `
          tracing:
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {envoy_grpc: {cluster_name: otlp}}
                service_name: `
	host, port, _ := strings.Cut(c.address, ":")
	return ownEnvoy(t, "holdfast-hold.yaml", "hold.yaml", origin,
		"rollout: 5", "rollout: 100", "mode: auto", mode,
		"static_layer: {", "static_layer: {tracing.opentelemetry.min_flush_spans: 1, ",
		"policies:\n", "tracing: {otlp_endpoint: \""+c.address+"\"}\npolicies:\n",
		"stat_prefix: ingress\n", "stat_prefix: ingress"+tracing+"envoy-ingress\n",
		"stat_prefix: loopback\n", "stat_prefix: loopback"+tracing+"envoy-loopback\n",
		"  clusters:\n", fmt.Sprintf(`  clusters:
  - name: otlp
    load_assignment:
      cluster_name: otlp
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`, host, port))
}

// wantBelow fails unless a span is below another one, in the caller's trace.
func wantBelow(t *testing.T, what string, child seenSpan, parent []byte) {
	t.Helper()
	if got := hex.EncodeToString(child.GetParentSpanId()); got != hex.EncodeToString(parent) {
		t.Errorf("%s is below %s, want %x", what, got, parent)
	}
	if got := hex.EncodeToString(child.GetTraceId()); got != callersTrace {
		t.Errorf("%s is in trace %s", what, got)
	}
}

func traceparent() []string {
	return []string{"traceparent", "00-" + callersTrace + "-" + callersSpan + "-01", "tracestate", "vendor=1"}
}

// TestTracesThroughEnvoy: client, Envoy, an attempt, Envoy's loopback listener, the
// origin: each is below the one before, and attempts are side by side.
func TestTracesThroughEnvoy(t *testing.T) {
	t.Parallel()
	origin, c := harness.NewOrigin(t), collect(t)
	s := tracedEnvoy(t, origin, c, "mode: auto")
	path := origin.Path("")
	stream := s.Get(t, path, traceparent()...)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 2))
	stream.Want(t, events(1, 2))
	x.Abort()
	x = resumed(t, origin, path, "2")
	x.Stream()
	x.Send(events(3, 3))
	stream.Want(t, events(3, 3))
	finish(t, origin, path, "3", x, stream)

	caller, err := hex.DecodeString(callersSpan)
	if err != nil {
		t.Fatal(err)
	}
	// The one of Envoy's spans that is the request's; others are of its calls.
	var ingress seenSpan
	harness.Eventually(t, "Envoy's span of the request", func() bool {
		for _, sp := range c.of(t, "envoy-ingress", 1) {
			if sp.GetKind() == tracepb.Span_SPAN_KIND_SERVER {
				ingress = sp
			}
		}
		return ingress.Span != nil
	})
	wantBelow(t, "Envoy's span", ingress, caller)
	attempts := c.of(t, "holdfast", 3)
	back := c.of(t, "envoy-loopback", 3)
	requests := origin.Requests(path)
	if len(attempts) != 3 || len(back) != 3 || len(requests) != 3 {
		t.Fatalf("%d attempts, %d ways back, %d requests; want 3 of each", len(attempts), len(back), len(requests))
	}
	for i, a := range attempts {
		wantBelow(t, fmt.Sprintf("attempt %d", i), a, ingress.GetSpanId())
		wantBelow(t, fmt.Sprintf("the way back of attempt %d", i), back[i], a.GetSpanId())
		if got, want := requests[i].Header.Get("Traceparent"), fmt.Sprintf("00-%s-%x-01", callersTrace, back[i].GetSpanId()); got != want {
			t.Errorf("the origin was sent %q by attempt %d, want %q", got, i, want)
		}
		if got := requests[i].Header.Get("Tracestate"); got != "vendor=1" {
			t.Errorf("the origin was sent tracestate %q by attempt %d", got, i)
		}
		if i > 0 && (len(a.GetLinks()) != 1 || string(a.GetLinks()[0].GetSpanId()) != string(attempts[i-1].GetSpanId())) {
			t.Errorf("attempt %d is linked to %v", i, a.GetLinks())
		}
	}
	if got := attempts[0].attribute("error.type"); got != "reset" {
		t.Errorf("attempt 0 failed by %q", got)
	}
	if got := attempts[2].attribute("holdfast.outcome"); got != "resumed" {
		t.Errorf("outcome %q", got)
	}
	harness.Eventually(t, "the spans to be counted", func() bool { return s.Metric(t, "holdfast_spans_total", "result=sent") == 3 })
	s.Stop(t)
}

// TestTraceOfInlineStream: Envoy's call to the processor is in the request's trace,
// and the span that looks on is below it. What the origin gets is Envoy's alone.
func TestTraceOfInlineStream(t *testing.T) {
	t.Parallel()
	origin, c := harness.NewOrigin(t), collect(t)
	s := tracedEnvoy(t, origin, c, "mode: inline")
	path := origin.Body("", events(1, 3))
	s.Get(t, path, traceparent()...).WantBody(t, events(1, 3))
	attempts := c.of(t, "holdfast", 2) // the second asks whether that was all
	attempt := attempts[0]
	var envoys map[string]seenSpan
	harness.Eventually(t, "Envoy's spans of the request and of its call", func() bool {
		envoys = map[string]seenSpan{}
		for _, sp := range c.of(t, "envoy-ingress", 1) {
			envoys[string(sp.GetSpanId())] = sp
		}
		return envoys[string(attempt.GetParentSpanId())].Span != nil
	})
	for i, a := range attempts {
		wantBelow(t, fmt.Sprintf("attempt %d", i), a, attempt.GetParentSpanId())
	}
	if attempt.GetKind() != tracepb.Span_SPAN_KIND_INTERNAL || attempts[1].GetKind() != tracepb.Span_SPAN_KIND_CLIENT {
		t.Errorf("of kinds %v and %v", attempt.GetKind(), attempts[1].GetKind())
	}
	if got := attempts[1].attribute("holdfast.outcome"); got != "complete" {
		t.Errorf("outcome %q", got)
	}
	got := origin.Requests(path)[0].Header.Get("Traceparent")
	parts := strings.Split(got, "-")
	if len(parts) != 4 || parts[1] != callersTrace || parts[2] == hex.EncodeToString(attempt.GetSpanId()) || parts[2] == callersSpan {
		t.Errorf("the origin was sent %q", got)
	}
	s.Stop(t)
}

// TestTracingWithoutCollector: streams do not notice that nobody takes their spans.
func TestTracingWithoutCollector(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "tracing: {otlp_endpoint: \""+harness.FreeAddress(t)+"\"}\n")
	path := origin.Body("", events(1, 3))
	gw.Get(t, path, traceparent()...).WantBody(t, events(1, 3))
	if got, want := origin.Requests(path)[0].Header.Get("Traceparent"), "00-"+callersTrace; !strings.HasPrefix(got, want) {
		t.Errorf("the origin was sent %q", got)
	}
	gw.Stop(t)
}
