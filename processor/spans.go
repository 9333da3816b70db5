package processor

import (
	"context"
	"encoding/hex"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	grpcmetadata "google.golang.org/grpc/metadata"

	"holdfast/processor/live"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
)

// spans are what OpenTelemetry is told of one request: a span for each attempt,
// all in the request's trace. A nil *spans is one that nobody wants to see; its
// methods do nothing, and cost nothing. It belongs to whoever has the request, and
// later to the stream's gate's holder, or whoever has its mu.
//
// Where the request's caller has begun no trace, its first attempt does, and those
// that follow are below that.
type spans struct {
	tracer trace.Tracer
	parent context.Context // with the span that the next ones are below
	shared []attribute.KeyValue
	name   string
	since  time.Time // when the request came

	open []attemptSpan // one or two, as an origin's attempts are
	last trace.Span    // the latest that was begun
}

type attemptSpan struct {
	n splice.Attempt
	trace.Span

	// over is when the attempt ended. The latest one's span is open until there is
	// another or the stream has ended, for there is more to say about it until then.
	over time.Time
}

type spansKey struct{}

// with returns a context from which the stream gets its spans back. There they cost
// those nothing who have none.
func (p *spans) with(ctx context.Context) context.Context {
	if p == nil {
		return ctx
	}
	return context.WithValue(ctx, spansKey{}, p)
}

// spans are those that the stream's context was made with.
func (st *stream) spans() *spans {
	if st.srv.tracer == nil {
		return nil
	}
	p, _ := st.ctx.Value(spansKey{}).(*spans)
	return p
}

// traceParent is the format of trace contexts, in and out.
//
//	"The traceparent HTTP header field identifies the incoming request in a tracing
//	system."
//	https://www.w3.org/TR/trace-context/#traceparent-header
var traceParent propagation.TraceContext //nolint:gochecknoglobals // it has no state

// spansOf returns the spans of a request. carriers are where its trace context may
// be, the nearest to us first.
func (s *Server) spansOf(p *boundPolicy, method, path, authority string, carriers ...propagation.TextMapCarrier) *spans {
	ctx := context.Background()
	for _, c := range carriers {
		if ctx = traceParent.Extract(ctx, c); trace.SpanContextFromContext(ctx).IsValid() {
			break
		}
	}
	name := method
	known := semconv.HTTPRequestMethodKey.String(method)
	if !slices.Contains(knownMethods, method) {
		// "it MUST set the attribute value to _OTHER"
		// https://opentelemetry.io/docs/specs/semconv/http/http-spans/
		name, known = "HTTP", semconv.HTTPRequestMethodOther
	}
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	return &spans{
		tracer: s.tracer, parent: ctx, since: s.now(),
		// "{method} {target} if there is a (low-cardinality) target available": the
		// policy, for paths are not ours to make templates of.
		name: name + " " + p.Name,
		shared: []attribute.KeyValue{
			known, semconv.URLPath(shorten(path)), semconv.ServerAddress(shorten(host)),
			attribute.String("holdfast.policy", p.Name),
		},
	}
}

// spansOfRelayed begins what is told of a relayed request: its first attempt is ours.
func (s *Server) spansOfRelayed(p *boundPolicy, r *http.Request) *spans {
	if s.tracer == nil || p == nil {
		return nil
	}
	return s.spansOf(p, r.Method, withoutQuery(r.RequestURI), r.Host, propagation.HeaderCarrier(r.Header)).begin(s.now(), 0, fetched)
}

var knownMethods = []string{ //nolint:gochecknoglobals // a constant
	"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
}

// traceOfCall is the context of the gRPC call that Envoy made for this request: if
// Envoy traces, the call is a span of the request's trace.
func traceOfCall(ctx context.Context) propagation.TextMapCarrier {
	md, _ := grpcmetadata.FromIncomingContext(ctx)
	return callCarrier(md)
}

// callCarrier implements propagation.TextMapCarrier.
type callCarrier grpcmetadata.MD

func (c callCarrier) Get(key string) string {
	if v := grpcmetadata.MD(c).Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}
func (c callCarrier) Set(key, value string) { grpcmetadata.MD(c).Set(key, value) }
func (c callCarrier) Keys() []string        { return slices.Collect(maps.Keys(c)) }

// headerCarrier implements propagation.TextMapCarrier for headers that are only read.
type headerCarrier headers

func (c headerCarrier) Get(key string) string { return headers(c).get(key) }
func (c headerCarrier) Set(_, _ string)       {}
func (c headerCarrier) Keys() []string        { return nil }

// fetched is the kind of an attempt that is our own request; what Envoy requested
// is looked on.
const (
	fetched   = trace.SpanKindClient
	looksOn   = trace.SpanKindInternal
	attemptNo = "holdfast.attempt"
)

// begin begins the span of an attempt. If it is not to be recorded nor are those
// that follow, and it returns nil in place of p.
func (p *spans) begin(now time.Time, n splice.Attempt, kind trace.SpanKind) *spans {
	if p == nil {
		return nil
	}
	options := []trace.SpanStartOption{
		trace.WithTimestamp(now), trace.WithSpanKind(kind),
		trace.WithAttributes(p.shared...), trace.WithAttributes(attribute.Int64(attemptNo, int64(n))),
	}
	if n > 0 {
		options = append(options, trace.WithAttributes(semconv.HTTPRequestResendCount(int(n))))
	}
	if p.last != nil {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: p.last.SpanContext()}))
	}
	ctx, span := p.tracer.Start(p.parent, p.name, options...)
	if !span.IsRecording() {
		return nil
	}
	if !trace.SpanContextFromContext(p.parent).IsValid() {
		p.parent = ctx
	}
	p.last = span
	p.open = slices.DeleteFunc(p.open, func(a attemptSpan) bool {
		if !a.over.IsZero() {
			a.End(trace.WithTimestamp(a.over))
		}
		return !a.over.IsZero()
	})
	p.open = append(p.open, attemptSpan{n: n, Span: span})
	return p
}

// find returns the span of an attempt that is under way.
func (p *spans) find(n splice.Attempt) (trace.Span, bool) {
	for _, a := range p.open {
		if a.n == n && a.over.IsZero() {
			return a.Span, true
		}
	}
	return nil, false
}

// outgoing is a request's header with the trace context of attempt n in place of
// the one that it came with, so that what happens further on is below the attempt.
// The header itself stays as it is. A request that nobody wants to see keeps its own.
func (p *spans) outgoing(n splice.Attempt, h http.Header) http.Header {
	if p == nil {
		return h
	}
	span, ok := p.find(n)
	if !ok {
		return h
	}
	h = maps.Clone(h)
	traceParent.Inject(trace.ContextWithSpan(context.Background(), span), propagation.HeaderCarrier(h))
	return h
}

// answered takes note of an attempt's response.
func (p *spans) answered(n splice.Attempt, status int, address string) {
	if p == nil {
		return
	}
	span, ok := p.find(n)
	if !ok {
		return
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	span.SetAttributes(peerOf(address)...)
	if status >= http.StatusBadRequest {
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
}

// peerOf says which host an attempt comes from.
func peerOf(address string) []attribute.KeyValue {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	n, notNumber := strconv.Atoi(port)
	if err != nil || notNumber != nil {
		return []attribute.KeyValue{semconv.NetworkPeerAddress(shorten(address))}
	}
	return []attribute.KeyValue{semconv.NetworkPeerAddress(host), semconv.NetworkPeerPort(n)}
}

// event says on the latest span what has happened to the stream.
func (p *spans) event(now time.Time, kind live.Kind, text string) {
	// A quiet stream has thousands of heartbeats.
	if p == nil || p.last == nil || kind == live.Heartbeat {
		return
	}
	options := []trace.EventOption{trace.WithTimestamp(now)}
	if text != "" {
		options = append(options, trace.WithAttributes(attribute.String("holdfast.detail", text)))
	}
	name := kind.String()
	if kind == live.Failed {
		name = "origin_end" // which is no failure before it is known whether that was all
	}
	p.last.AddEvent("holdfast."+name, options...)
}

// errorType is an error's of upstream, as one of a closed set.
func errorType(err error) string {
	return strings.ReplaceAll(upstream.CauseOf(err).String(), " ", "_")
}

// fail ends the span of an attempt that has failed, for a reason of a closed set.
func (p *spans) fail(now time.Time, n splice.Attempt, why string) {
	if p == nil {
		return
	}
	if span, ok := p.find(n); ok {
		span.SetAttributes(semconv.ErrorTypeKey.String(why))
		span.SetStatus(codes.Error, "")
		p.end(now, n)
	}
}

// end says that an attempt is over.
func (p *spans) end(now time.Time, n splice.Attempt) {
	if p == nil {
		return
	}
	for i := range p.open {
		a := &p.open[i]
		switch {
		case a.n != n || !a.over.IsZero():
			continue
		case a.Span == p.last:
			a.over = now
		default:
			a.End(trace.WithTimestamp(now))
			p.open = slices.Delete(p.open, i, i+1)
		}
		return
	}
}

// finish ends what is open; about is said of the latest attempt.
func (p *spans) finish(now time.Time, about ...attribute.KeyValue) {
	if p == nil {
		return
	}
	for _, a := range p.open {
		if a.Span == p.last {
			a.SetAttributes(about...)
		}
		if a.over.IsZero() {
			a.over = now
		}
		a.End(trace.WithTimestamp(a.over))
	}
	p.open, p.last = nil, nil
}

// spanInput says what the machine is told, where that is about an attempt.
func (st *stream) spanInput(now time.Time, in splice.Input) {
	p := st.spans()
	if p == nil {
		return
	}
	switch in := in.(type) {
	case splice.Ended:
		if in.Cause == splice.CleanEnd {
			p.end(now, in.Attempt)
		} else {
			p.fail(now, in.Attempt, in.Cause.String())
		}
	case splice.Opened:
		if in.Attempt != 0 && in.Verdict != splice.Continue {
			p.end(now, in.Attempt) // with the status that it was answered with
		}
	}
}

// spanReady says what the machine asks for, where that is about an attempt.
func (st *stream) spanReady(now time.Time, rd splice.Ready) {
	p := st.spans()
	if p == nil {
		return
	}
	for _, c := range rd.Commands {
		switch c := c.(type) {
		case splice.Dial:
			p.begin(now, c.Attempt, fetched)
		case splice.Cancel:
			p.end(now, c.Attempt)
		}
	}
}

// spanClose ends the spans of a stream.
func (st *stream) spanClose(now time.Time, o splice.Outcome) {
	p := st.spans()
	if p == nil {
		return
	}
	if (o == splice.Cut || o == splice.Gap) && p.last != nil {
		p.last.SetStatus(codes.Error, "the stream ended as "+o.String())
	}
	p.finish(now,
		attribute.String("holdfast.stream", st.id.String()),
		attribute.String("holdfast.session", hex.EncodeToString(st.lease.Session[:shownSession])),
		attribute.String("holdfast.mode", st.mode.String()),
		attribute.String("holdfast.outcome", o.String()),
		attribute.Int64("holdfast.events", int64(st.counts.Events)),
		attribute.Int64("holdfast.duplicates", int64(st.counts.Duplicates)),
		attribute.Int64("holdfast.resumes", int64(st.counts.Resumes)),
	)
}
