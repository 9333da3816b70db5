package processor

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"holdfast/processor/config"
	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Server behind real gRPC, and what can be seen of it.
type world struct {
	*testing.T
	srv   *Server
	grpc  *grpc.Server
	conn  *grpc.ClientConn
	store sessionstore.Store
	reg   *prometheus.Registry
	logs  *observer.ObservedLogs
	read  int // lines of streams' ends that ended has returned
}

// inWorld runs f in a bubble: time passes only while everything waits, and a
// stream that never gets its answer is a deadlock, not a timeout.
func inWorld(t *testing.T, policies string, f func(w *world), change ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, policies, change...)
		defer w.close()
		f(w)
	})
}

// elapse lets time pass in the bubble.
func elapse(d time.Duration) {
	time.Sleep(d)
}

func newWorld(t *testing.T, policies string, change ...func(*Options)) *world {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	w := &world{T: t, reg: prometheus.NewRegistry(), logs: logs, store: memory.New(memory.Options{})}
	o := Options{Policies: compile(t, policies), Store: w.store, Logger: zap.New(core), Registerer: w.reg}
	for _, c := range change {
		c(&o)
	}
	srv, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	w.srv, w.grpc = srv, grpc.NewServer(ServerOptions()...)
	srv.Register(w.grpc)
	lis := bufconn.Listen(1 << 20)
	go func() { _ = w.grpc.Serve(lis) }()
	w.conn, err = grpc.NewClient("passthrough:bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) close() {
	_ = w.conn.Close()
	w.grpc.Stop()
}

func compile(t testing.TB, policies string) *config.Policies {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte("policies:\n"+policies))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cfg.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// metric returns a counter's or gauge's value, by its name without prefix and
// its label values in the order of their names.
func (w *world) metric(name string, labels ...string) float64 {
	w.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "holdfast_"+name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) != len(labels) {
				continue
			}
			for i, l := range m.GetLabel() {
				if l.GetValue() != labels[i] {
					continue series
				}
			}
			if h := m.GetHistogram(); h != nil {
				return float64(h.GetSampleCount())
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return -1
}

func (w *world) wantMetric(want float64, name string, labels ...string) {
	w.Helper()
	synctest.Wait()
	if got := w.metric(name, labels...); got != want {
		w.Errorf("%s%v is %v, want %v", name, labels, got, want)
	}
}

// ended returns the log line of the one stream that has ended since the last
// call, as a map.
func (w *world) ended() map[string]any {
	w.Helper()
	synctest.Wait()
	lines := w.logs.FilterMessage("stream ended").All()[w.read:]
	if len(lines) != 1 {
		w.Fatalf("%d streams ended, want 1", len(lines))
	}
	w.read++
	return lines[0].ContextMap()
}

func (w *world) wantOutcome(want string) {
	w.Helper()
	if got := w.ended()["outcome"]; got != want {
		w.Errorf("outcome %q, want %q", got, want)
	}
}

// envoy plays one request's side of Envoy.
type envoy struct {
	*world
	g       extproc.ExternalProcessor_ProcessClient
	cancel  context.CancelFunc
	answers chan *extproc.ProcessingResponse // closed at the end
	err     error                            // why it ended, once answers is closed
	opening map[string]any                   // metadata of the answer to the response headers
}

// dial begins a request; metadata is the filter's initial_metadata.
func (w *world) dial(metadata ...string) *envoy {
	w.Helper()
	e := w.dialSilently(metadata...)
	go func() {
		defer close(e.answers)
		for {
			m, err := e.g.Recv()
			if err != nil {
				e.err = err
				return
			}
			e.answers <- m
		}
	}()
	return e
}

// dialSilently is dial for an Envoy that takes no answers. It is a known one, unless
// metadata says otherwise.
func (w *world) dialSilently(metadata ...string) *envoy {
	w.Helper()
	if !slices.Contains(metadata, VersionKey) {
		metadata = append(metadata, VersionKey, "1.40.0")
	}
	ctx, cancel := context.WithCancel(grpcmetadata.AppendToOutgoingContext(context.Background(), metadata...))
	g, err := extproc.NewExternalProcessorClient(w.conn).Process(ctx)
	if err != nil {
		w.Fatal(err)
	}
	return &envoy{world: w, g: g, cancel: cancel, answers: make(chan *extproc.ProcessingResponse, 1000)}
}

// next is the next answer, or the error that the stream ended with.
func (e *envoy) next() (*extproc.ProcessingResponse, error) {
	if m, ok := <-e.answers; ok {
		return m, nil
	}
	return nil, e.err
}

// leave is what Envoy does when its client leaves or its upstream fails.
func (e *envoy) leave() {
	_ = e.g.CloseSend()
	e.cancel()
}

func headerList(lines ...string) *extproc.HttpHeaders {
	h := &corev3.HeaderMap{}
	for _, l := range lines {
		i := strings.Index(l[1:], ":") + 1 // pseudo-headers begin with a colon
		h.Headers = append(h.Headers, &corev3.HeaderValue{Key: l[:i], RawValue: []byte(strings.TrimSpace(l[i+1:]))})
	}
	return &extproc.HttpHeaders{Headers: h}
}

func requestMessage(method, path string, more ...string) *extproc.ProcessingRequest {
	lines := append([]string{":method: " + method, ":authority: example.test", ":path: " + path, "accept: text/event-stream"}, more...)
	return &extproc.ProcessingRequest{
		Request:        &extproc.ProcessingRequest_RequestHeaders{RequestHeaders: headerList(lines...)},
		ProtocolConfig: &extproc.ProtocolConfiguration{},
	}
}

func responseMessage(lines ...string) *extproc.ProcessingRequest {
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseHeaders{ResponseHeaders: headerList(lines...)}}
}

func bodyMessage(b string, end bool) *extproc.ProcessingRequest {
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{
		ResponseBody: &extproc.HttpBody{Body: []byte(b), EndOfStream: end},
	}}
}

func trailersMessage() *extproc.ProcessingRequest {
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extproc.HttpTrailers{}}}
}

func (e *envoy) send(m *extproc.ProcessingRequest) {
	e.Helper()
	if err := e.g.Send(m); err != nil && !errors.Is(err, io.EOF) {
		e.Fatal(err)
	}
}

func (e *envoy) recv() *extproc.ProcessingResponse {
	e.Helper()
	m, err := e.next()
	if err != nil {
		e.Fatalf("no answer: %v", err)
	}
	return m
}

func (e *envoy) ask(m *extproc.ProcessingRequest) *extproc.ProcessingResponse {
	e.Helper()
	e.send(m)
	return e.recv()
}

// stream opens an event stream and checks that the body is asked for.
func (w *world) stream(method, path string, more ...string) *envoy {
	w.Helper()
	return w.dial().open(method, path, more...)
}

func (e *envoy) open(method, path string, more ...string) *envoy {
	e.Helper()
	if a := e.ask(requestMessage(method, path, more...)); a.GetRequestHeaders() == nil || a.GetModeOverride() != nil {
		e.Fatalf("request headers answered with %v", a)
	}
	a := e.ask(responseMessage(":status: 200", "content-type: text/event-stream"))
	o := a.GetModeOverride()
	if a.GetResponseHeaders() == nil ||
		o.GetResponseBodyMode() != extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED ||
		o.GetResponseTrailerMode() != extprocfilterv3.ProcessingMode_SEND {
		e.Fatalf("response headers answered with %v", a)
	}
	e.opening, _ = a.GetDynamicMetadata().AsMap()[namespace].(map[string]any)
	return e
}

func (e *envoy) chunk(b string) { e.Helper(); e.send(bodyMessage(b, false)) }
func (e *envoy) end(b string)   { e.Helper(); e.send(bodyMessage(b, true)) }

// body returns the bytes of the next message that has any or ends the body, and
// whether it does.
func (e *envoy) body() (string, bool) {
	e.Helper()
	m := e.recv()
	for isNoBytes(m) {
		m = e.recv()
	}
	s := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
	if s == nil {
		e.Fatalf("want a body, got %v", m)
	}
	return string(s.GetBody()), s.GetEndOfStream()
}

// isNoBytes recognises the answer to a first chunk that is held back or dropped.
func isNoBytes(m *extproc.ProcessingResponse) bool {
	s := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
	return s != nil && len(s.GetBody()) == 0 && !s.GetEndOfStream()
}

func (e *envoy) wantBody(want string) {
	e.Helper()
	if got, end := e.body(); got != want || end {
		e.Errorf("body %q (end: %v), want %q", got, end, want)
	}
}

// wantEnd reads until the clean end of the body and returns its metadata.
func (e *envoy) wantEnd(want string) map[string]any {
	e.Helper()
	var all strings.Builder
	for {
		m := e.recv()
		s := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		all.Write(s.GetBody())
		if !s.GetEndOfStream() && m.GetResponseTrailers() == nil {
			continue
		}
		if all.String() != want {
			e.Errorf("the end brings %q, want %q", all.String(), want)
		}
		meta, _ := m.GetDynamicMetadata().AsMap()[namespace].(map[string]any)
		e.wantClosed()
		return meta
	}
}

// wantClosed is the processor's clean end of the gRPC stream.
func (e *envoy) wantClosed() {
	e.Helper()
	if m, err := e.next(); !errors.Is(err, io.EOF) {
		e.Errorf("the stream goes on with %v, %v", m, err)
	}
	e.cancel()
}

// wantReset is an end that makes Envoy reset its client. It returns the bytes
// that came before.
func (e *envoy) wantReset() string {
	e.Helper()
	var all strings.Builder
	for {
		m, err := e.next()
		if err == nil {
			all.Write(m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse().GetBody())
			continue
		}
		if errors.Is(err, io.EOF) {
			e.Error("a clean end, want an error status")
		} else if _, ok := status.FromError(err); !ok {
			e.Errorf("not a status: %v", err)
		}
		e.cancel()
		return all.String()
	}
}

// nothing checks that no answer is under way that the client would notice.
func (e *envoy) nothing() {
	e.Helper()
	synctest.Wait()
	for {
		select {
		case m := <-e.answers:
			if !isNoBytes(m) {
				e.Errorf("an answer that nobody waits for: %v", m)
			}
		default:
			return
		}
	}
}
