package processor

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"holdfast/processor/live"
	"holdfast/processor/splice"
)

// The caller's trace, which a request comes with.
const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	sampled      = "traceparent: 00-" + callersTrace + "-" + callersSpan + "-01"
	unsampled    = "traceparent: 00-" + callersTrace + "-" + callersSpan + "-00"
)

// tracing makes a Server record spans.
func tracing() (*tracetest.SpanRecorder, func(*Options)) {
	rec := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	return rec, func(o *Options) { o.Tracer = p.Tracer("test") }
}

// inWords is a span, as a line for each thing that it says.
func inWords(s sdktrace.ReadOnlySpan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.SpanKind(), s.Name())
	if s.Status().Code == codes.Error {
		fmt.Fprintf(&b, " ERROR %s", s.Status().Description)
	}
	for _, a := range s.Attributes() {
		if a.Key != "holdfast.stream" && a.Key != "holdfast.session" {
			fmt.Fprintf(&b, "\n%s=%s", a.Key, a.Value.String())
		}
	}
	for _, e := range s.Events() {
		fmt.Fprintf(&b, "\n@%s", e.Name)
		for _, a := range e.Attributes {
			fmt.Fprintf(&b, " %s", a.Value.String())
		}
	}
	return b.String()
}

func wantSpans(t *testing.T, rec *tracetest.SpanRecorder, want ...string) []sdktrace.ReadOnlySpan {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, s := range rec.Ended() {
		got = append(got, inWords(s))
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("spans (-want +got):\n%s", d)
	}
	if n := len(rec.Started()) - len(rec.Ended()); n != 0 {
		t.Errorf("%d spans never ended", n)
	}
	return rec.Ended()
}

// carried are the trace contexts that an origin was sent, in order.
type carried struct {
	mu  sync.Mutex
	all []string
}

func (c *carried) by(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.all = append(c.all, strings.Join(r.Header["Traceparent"], ",")+" "+r.Header.Get("Tracestate"))
		c.mu.Unlock()
		next(w, r)
	}
}

// below are the trace contexts by which whatever gets them is below these spans.
func below(spans []sdktrace.ReadOnlySpan, state string) (all []string) {
	for _, s := range spans {
		all = append(all, fmt.Sprintf("00-%s-%s-01 %s", s.SpanContext().TraceID(), s.SpanContext().SpanID(), state))
	}
	return all
}

// attemptOf are the lines that the spans of all attempts of a GET have.
func attemptOf(kind string, n, status int, more string) string {
	failed, resent, peer := "", "", ""
	if strings.Contains(more, "error.type") {
		failed = " ERROR "
	}
	if n > 0 {
		resent = fmt.Sprintf("\nhttp.request.resend_count=%d", n)
	}
	if kind == "client" {
		peer = fmt.Sprintf("\nnetwork.peer.address=10.0.0.%d\nnetwork.peer.port=80", n+1)
	}
	return fmt.Sprintf("%s GET p%s\nhttp.request.method=GET\nurl.path=/events\nserver.address=example.test\n"+
		"holdfast.policy=p\nholdfast.attempt=%d%s\nhttp.response.status_code=%d%s%s", kind, failed, n, resent, status, peer, more)
}

// A span for each attempt, all below the caller's, linked to the one before, and
// each above what its request leads to.
func TestSpansOfHeldStream(t *testing.T) {
	rec, on := tracing()
	var seen carried
	o := answering(sends(ev(1, 2)+"id: 3\nda", reset), answers503, sends(ev(2, 3, 4)))
	inHolding(t, quiet, seen.by(o.serve), func(h *holding) {
		h.open("/events?token=secret", sampled, "tracestate: vendor=1").wantEnd(ev(1, 2, 3, 4))
		spans := wantSpans(t, rec,
			attemptOf("client", 0, 200, `
error.type=reset
@holdfast.ids unique
@holdfast.ids monotonic
@holdfast.origin_end reset`),
			attemptOf("client", 1, 503, `
error.type=503
@holdfast.resuming behind 2
@holdfast.answered 503, wait
@holdfast.result unavailable`),
			attemptOf("client", 2, 200, `
@holdfast.resuming behind 2
@holdfast.answered 200 from 10.0.0.3:80
@holdfast.result resumed
@holdfast.origin_end clean_end`),
			attemptOf("client", 3, 204, `
holdfast.mode=hold
holdfast.outcome=resumed
holdfast.events=5
holdfast.duplicates=1
holdfast.resumes=1
@holdfast.resuming behind 4
@holdfast.answered 204, stop
@holdfast.result confirmed`))
		for i, s := range spans {
			if got := s.Parent(); got.TraceID().String() != callersTrace || got.SpanID().String() != callersSpan || !got.IsRemote() {
				t.Errorf("attempt %d is below %v", i, got)
			}
			if i > 0 && (len(s.Links()) != 1 || s.Links()[0].SpanContext.SpanID() != spans[i-1].SpanContext().SpanID()) {
				t.Errorf("attempt %d is linked to %v", i, s.Links())
			}
		}
		if d := spans[1].EndTime().Sub(spans[1].StartTime()); d >= 5*time.Second {
			t.Errorf("a refused attempt took %v: the wait after it is part of it", d)
		}
		if d := cmp.Diff(below(spans, "vendor=1"), seen.all); d != "" {
			t.Errorf("what the origin was sent (-want +got):\n%s", d)
		}
	}, on)
}

// Where nobody has begun a trace, the first attempt does, and the others belong to it.
func TestSpansBeginATrace(t *testing.T) {
	rec, on := tracing()
	var seen carried
	o := answering(sends(ev(1, 2), reset))
	inHolding(t, quiet, seen.by(o.serve), func(h *holding) {
		h.open("/events").wantEnd(ev(1, 2))
		synctest.Wait()
		spans := rec.Ended()
		if len(spans) != 2 || spans[0].Parent().IsValid() || spans[1].Parent().SpanID() != spans[0].SpanContext().SpanID() ||
			spans[1].SpanContext().TraceID() != spans[0].SpanContext().TraceID() {
			t.Fatalf("%v", spans)
		}
		if d := cmp.Diff(below(spans, ""), seen.all); d != "" {
			t.Errorf("what the origin was sent (-want +got):\n%s", d)
		}
	}, on)
}

// Inline, Envoy makes the request. If Envoy traces, its call to us is a span of the
// request's trace, and says better than the headers where we are.
func TestSpanOfInlineStream(t *testing.T) {
	for name, test := range map[string]struct{ call, header, want string }{
		"Envoy traces":       {"00-" + callersTrace + "-00000000000000aa-01", sampled, "00000000000000aa"},
		"the caller traces":  {"", sampled, callersSpan},
		"neither does":       {"", "x: y", "0000000000000000"},
		"what comes is junk": {"00-junk", "traceparent: more", "0000000000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, on := tracing()
			inWorld(t, inline, func(w *world) {
				var call []string
				if test.call != "" {
					call = []string{"traceparent", test.call}
				}
				e := w.dial(call...).open("GET", "/events", test.header)
				e.chunk(ev(1))
				e.wantBody(ev(1))
				elapse(time.Minute)
				e.end("")
				e.wantEnd("")
				spans := wantSpans(t, rec, attemptOf("internal", 0, 200, `
holdfast.mode=inline
holdfast.outcome=complete
holdfast.events=1
holdfast.duplicates=0
holdfast.resumes=0
@holdfast.ids unique
@holdfast.stalled bytes`))
				if got := spans[0].Parent().SpanID().String(); got != test.want {
					t.Errorf("below %s, want %s", got, test.want)
				}
				if d := spans[0].EndTime().Sub(spans[0].StartTime()); d != time.Minute {
					t.Errorf("it took %v", d)
				}
			}, on)
		})
	}
}

func TestSpansOfImmediateStream(t *testing.T) {
	rec, on := tracing()
	var seen carried
	o := answering(sends(ev(1, 2), reset), sends(ev(3)))
	inHolding(t, `- {name: p, mode: hold, via: immediate, heartbeat: 0, backoff: {jitter: 0}}`, seen.by(o.serve), func(h *holding) {
		e := h.dial()
		e.hold("GET", "/events", sampled)
		e.wantHeaders("200")
		e.wantImmediate(ev(1, 2, 3), true)
		e.wantClosed()
		spans := wantSpans(t, rec,
			attemptOf("client", 0, 200, `
error.type=reset
@holdfast.ids unique
@holdfast.ids monotonic
@holdfast.origin_end reset`),
			attemptOf("client", 1, 200, `
@holdfast.resuming behind 2
@holdfast.answered 200 from 10.0.0.2:80
@holdfast.result resumed
@holdfast.origin_end clean_end`),
			attemptOf("client", 2, 204, `
holdfast.mode=hold
holdfast.outcome=resumed
holdfast.events=3
holdfast.duplicates=0
holdfast.resumes=1
@holdfast.resuming behind 3
@holdfast.answered 204, stop
@holdfast.result confirmed`))
		if d := cmp.Diff(below(spans, ""), seen.all); d != "" {
			t.Errorf("what the origin was sent (-want +got):\n%s", d)
		}
	}, on)
}

// A stream that ends badly, and one that is drained.
func TestSpansSayHowItEnded(t *testing.T) {
	rec, on := tracing()
	o := answering(sends(ev(1), reset), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, mute(ev(1)))
	inHolding(t, quiet, o.serve, func(h *holding) {
		h.open("/events").wantCut(ev(1))
		r := h.open("/events")
		r.want(ev(1))
		done := h.drain(DrainOptions{Deadline: 30 * time.Second})
		b, err := io.ReadAll(r.Body)
		if rest := sentAwayFrom(t, string(b), sentAway); rest != "" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		spans := rec.Ended()
		if len(spans) != 3 {
			t.Fatalf("%d spans", len(spans))
		}
		for i, want := range [][]string{
			{"error.type=reset"},
			{"ERROR the stream ended as cut", "error.type=403", "holdfast.outcome=cut", "@holdfast.result denied"},
			{"holdfast.outcome=drained", "@holdfast.draining"},
		} {
			for _, line := range want {
				if got := inWords(spans[i]); !strings.Contains(got, line) {
					t.Errorf("span %d does not say %q:\n%s", i, line, got)
				}
			}
		}
	}, on)
}

// What is no event stream is one attempt, whose response is relayed.
func TestSpansOfOtherAnswers(t *testing.T) {
	for _, via := range []string{"relay", "immediate"} {
		t.Run(via, func(t *testing.T) {
			rec, on := tracing()
			inHolding(t, `- {name: p, mode: hold, via: `+via+`}`, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(UpstreamHeader, "cluster 10.0.0.1:80")
				w.WriteHeader(http.StatusNotFound)
			}, func(h *holding) {
				if via == "relay" {
					if r := h.ask("GET", "/events", nil); r.StatusCode != http.StatusNotFound {
						t.Errorf("%v", r.Response)
					}
				} else {
					e := h.dial()
					e.hold("GET", "/events")
					e.wantHeaders("404")
					e.wantImmediate("", true)
					e.wantClosed()
				}
				wantSpans(t, rec, attemptOf("client", 0, 404, "\nerror.type=404"))
			}, on)
		})
	}
}

// A caller that does not want to be traced is not, and its own context goes on as it
// came; so does one for whom nobody traces.
func TestSpansOfNobody(t *testing.T) {
	for name, test := range map[string]struct {
		header string
		off    bool
	}{
		"unsampled": {unsampled, false},
		"off":       {sampled, true},
	} {
		t.Run(name, func(t *testing.T) {
			rec, on := tracing()
			if test.off {
				on = func(*Options) {}
			}
			var seen carried
			o := answering(sends(ev(1), reset), sends(ev(2)))
			inHolding(t, quiet, seen.by(o.serve), func(h *holding) {
				h.open("/events", test.header, "tracestate: vendor=1").wantEnd(ev(1, 2))
				wantSpans(t, rec)
				_, value, _ := strings.Cut(test.header, ": ")
				for _, got := range seen.all {
					if got != value+" vendor=1" {
						t.Errorf("the origin was sent %q", got)
					}
				}
				if len(seen.all) != 3 {
					t.Errorf("the origin was asked %d times", len(seen.all))
				}
			}, on)
		})
	}
}

// Methods that nobody has heard of, and paths and hosts that nobody wants to see.
func TestSpansOfHostileRequest(t *testing.T) {
	rec, on := tracing()
	inHolding(t, `- {name: p, mode: hold}`, mute(""), func(h *holding) {
		r := h.ask("BREW-"+strings.Repeat("X", 100), "/"+strings.Repeat("a", 5000), nil)
		r.leave()
		synctest.Wait()
		spans := rec.Ended()
		if len(spans) != 1 || spans[0].Name() != "HTTP p" {
			t.Fatalf("%v", spans)
		}
		for _, a := range spans[0].Attributes() {
			if len(a.Value.String()) > 100 || a.Key == "http.request.method" && a.Value.AsString() != "_OTHER" {
				t.Errorf("%s=%s", a.Key, a.Value.String())
			}
		}
	}, on)
}

// Without tracing, nothing of it costs a stream anything.
func TestSpansOffCostNothing(t *testing.T) {
	st, _ := piped(t, `- {name: p}`)
	defer st.alarm.stop()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	now, ended := st.srv.now(), splice.Input(splice.Ended{Cause: splice.Reset})
	ready := splice.Ready{Commands: []splice.Command{splice.Dial{Attempt: 1}, splice.Cancel{}}}
	if n := testing.AllocsPerRun(100, func() {
		p := st.srv.spansOfRelayed(st.policy, r)
		if p.with(st.ctx) != st.ctx || len(p.outgoing(0, r.Header)) != len(r.Header) {
			t.Error("something is changed")
		}
		p.answered(0, http.StatusOK, "10.0.0.1:80")
		p.finish(now)
		st.spanInput(now, ended)
		st.spanReady(now, ready)
		st.spans().event(now, live.Failed, "reset")
		st.spanClose(now, splice.Complete)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
