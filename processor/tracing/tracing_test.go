package tracing

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu  sync.Mutex
	got []*collector.ExportTraceServiceRequest
}

func (r *receiver) Export(_ context.Context, m *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, m)
	return &collector.ExportTraceServiceResponse{}, nil
}

// serve returns the address of a collector that runs until the test's end.
func (r *receiver) serve(t *testing.T, network, address string) net.Addr {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	collector.RegisterTraceServiceServer(g, r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(lis)
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return lis.Addr()
}

func span(p *Provider) {
	_, s := p.Tracer().Start(context.Background(), "GET p")
	s.End()
}

func TestSpansReachACollector(t *testing.T) {
	for name, address := range map[string]func(t *testing.T, r *receiver) string{
		"host:port": func(t *testing.T, r *receiver) string { return r.serve(t, "tcp", "127.0.0.1:0").String() },
		"http":      func(t *testing.T, r *receiver) string { return "http://" + r.serve(t, "tcp", "127.0.0.1:0").String() },
		"unix":      func(t *testing.T, r *receiver) string { return "unix:" + r.serve(t, "unix", t.TempDir()+"/s").String() },
	} {
		t.Run(name, func(t *testing.T) {
			var r receiver
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
			p, err := New(Options{Endpoint: address(t, &r), Sample: 1, Version: "v9", Registerer: prometheus.NewRegistry()})
			if err != nil {
				t.Fatal(err)
			}
			span(p)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.got) != 1 {
				t.Fatalf("%d exports", len(r.got))
			}
			about := r.got[0].GetResourceSpans()[0]
			all := about.GetResource().String()
			for _, want := range []string{"holdfast", "v9", "deployment.environment.name", "service.instance.id"} {
				if !strings.Contains(all, want) {
					t.Errorf("the resource does not say %s: %s", want, all)
				}
			}
			if s := about.GetScopeSpans()[0]; s.GetScope().GetName() != "holdfast/processor" || s.GetSpans()[0].GetName() != "GET p" {
				t.Errorf("%v", s)
			}
		})
	}
}

func TestSample(t *testing.T) {
	var r receiver
	at := r.serve(t, "tcp", "127.0.0.1:0").String()
	for _, sample := range []float64{0, 1} {
		p, err := New(Options{Endpoint: at, Sample: sample})
		if err != nil {
			t.Fatal(err)
		}
		_, s := p.Tracer().Start(t.Context(), "")
		if s.IsRecording() != (sample == 1) {
			t.Errorf("at %v, recording is %v", sample, s.IsRecording())
		}
		s.End()
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// fake is an exporter that does as it is told.
type fake struct {
	mu   sync.Mutex
	err  error
	stop chan struct{} // not nil: exports wait for it
}

func (f *fake) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	f.mu.Lock()
	err, stop := f.err, f.stop
	f.mu.Unlock()
	if stop != nil {
		<-stop
	}
	return err
}

func (f *fake) Shutdown(context.Context) error { return nil }

func (f *fake) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// faked runs f in a bubble with a Provider whose exporter is e.
func faked(t *testing.T, e *fake, f func(p *Provider, c *Counts, logs *observer.ObservedLogs)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		c, err := NewCounts(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		p, err := newProvider(Options{Sample: 1, Logger: zap.New(core)}, c, e)
		if err != nil {
			t.Fatal(err)
		}
		f(p, c, logs)
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		span(p) // a stream that ends too late
	})
}

func wantCounts(t *testing.T, c *Counts, sent, failed, dropped float64) {
	t.Helper()
	if s, f, d := testutil.ToFloat64(c.sent), testutil.ToFloat64(c.failed), testutil.ToFloat64(c.dropped); s != sent || f != failed || d != dropped {
		t.Errorf("sent %v, failed %v, dropped %v; want %v, %v, %v", s, f, d, sent, failed, dropped)
	}
}

// A collector that is away is complained of once, until it is there again.
func TestCollectorAway(t *testing.T) {
	e := &fake{err: errors.New("connection refused")}
	faked(t, e, func(p *Provider, c *Counts, logs *observer.ObservedLogs) {
		const batch = 6 * time.Second
		for range 3 {
			span(p)
			time.Sleep(batch)
		}
		wantCounts(t, c, 0, 3, 0)
		if n := logs.FilterMessageSnippet("do not reach").Len(); n != 1 {
			t.Errorf("complained %d times", n)
		}
		e.set(nil)
		span(p)
		time.Sleep(batch)
		wantCounts(t, c, 1, 3, 0)
		again := logs.FilterMessageSnippet("again").All()
		if len(again) != 2 || again[1].ContextMap()["lost"] != int64(3) { // the complaint has the word too
			t.Errorf("%v", again)
		}
		e.set(errors.New("away"))
		span(p)
		time.Sleep(batch)
		if n := logs.FilterMessageSnippet("do not reach").Len(); n != 2 {
			t.Errorf("complained %d times", n)
		}
	})
}

// A collector that does not answer holds nobody up: what is too much is dropped, and
// every span is counted.
func TestCollectorHangs(t *testing.T) {
	e := new(fake)
	faked(t, e, func(p *Provider, c *Counts, _ *observer.ObservedLogs) {
		e.stop = make(chan struct{})
		began := time.Now()
		const more = 500
		for range queued + more {
			span(p)
			synctest.Wait() // what can be taken in is
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("it took %v", d)
		}
		wantCounts(t, c, 0, 0, more)
		close(e.stop)
		time.Sleep(10 * time.Second)
		wantCounts(t, c, queued, 0, more)
		span(p)
		time.Sleep(10 * time.Second)
		wantCounts(t, c, queued+1, 0, more)
	})
}

func TestCountsAreRegisteredOnce(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := NewCounts(reg); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Endpoint: "127.0.0.1:4317", Registerer: reg}); err == nil {
		t.Error("registered twice")
	}
}
