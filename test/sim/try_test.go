package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"holdfast/processor"
)

// hostTry is one of Envoy's tries on a host, seen by the filter in the cluster, which
// says whether another one is to be asked.
type hostTry struct {
	Feed      int // under whose policy; too large: that of another one
	At        time.Duration
	Method    string
	Anything  bool // the client takes what is no event stream too
	Nth, Most int  // of the request's tries; Most 0: nobody says
	Host      int
	Status    int
	Type      string
	Body      []string
	Every     time.Duration
	End       tryEnd
}

// tryEnd is how the response of a try ends.
type tryEnd string

const (
	tryEnds     tryEnd = ""         // with its last chunk
	tryTrailers tryEnd = "trailers" //
	tryMute     tryEnd = "mute"     // it stays open
	tryBreaks   tryEnd = "breaks"   // Envoy gives it up
)

func drawTry(t *rapid.T) hostTry {
	h := hostTry{
		Feed: rapid.IntRange(0, 2).Draw(t, "feed"), At: time.Millisecond + ms(t, 40_000, "at") + 727*time.Microsecond,
		Method:   rapid.SampledFrom([]string{http.MethodGet, http.MethodGet, http.MethodPost, http.MethodDelete}).Draw(t, "method"),
		Anything: one(t, 3, "takes anything"), Host: rapid.IntRange(0, 2).Draw(t, "host"),
		Status: rapid.SampledFrom([]int{200, 200, 200, 200, 500, 503, 404, 204}).Draw(t, "status"),
		Type:   rapid.SampledFrom([]string{eventStream, eventStream, eventStream, "text/event-stream; charset=utf-8", "application/json"}).Draw(t, "type"),
		Every:  ms(t, 200, "every"),
		End:    rapid.SampledFrom([]tryEnd{tryEnds, tryTrailers, tryMute, tryBreaks}).Draw(t, "end"),
	}
	if h.Most = rapid.IntRange(0, 3).Draw(t, "most"); h.Most > 0 {
		h.Nth = rapid.IntRange(1, h.Most).Draw(t, "nth")
	}
	text := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
		": hello\n\n", "retry: 10\n\n", "id: 1\n\n", "\n", ":\r", "\ufeff", "event: error\ndata: x\n\n", "event: error\r\ndata: y\r\n\r\n",
		"event: note\ndata: x\n\n", "data: a\r\r", "data: " + strings.Repeat("x", 5000) + "\n\n", "event: err",
	}), 0, 6).Draw(t, "body"), "")
	for cut := rapid.SampledFrom([]int{1 << 20, 64, 7}).Draw(t, "cut"); len(text) > 0; {
		n := min(cut, len(text))
		if len(h.Body) == 60 {
			n = len(text)
		}
		h.Body, text = append(h.Body, text[:n]), text[n:]
	}
	return h
}

const eventStream = "text/event-stream"

// seenTry is what came of a try.
type seenTry struct {
	skipped bool // nobody looks at it
	patient bool // the headers wait
	marker  string
	status  string // as the filter changed it; empty: it did not
	decided time.Duration
	body    string
	ended   bool
}

// try makes one, and checks what comes of it.
func (w *world) try(name string, h *hostTry) {
	if pause(w.ctx, h.At) != nil {
		return
	}
	draining := w.isDraining()
	f := &w.s.Feeds[h.Feed%len(w.s.Feeds)]
	p := w.policy(f)
	began := w.now()
	got, err := w.asksHost(name, h, f)
	if err != nil {
		w.fail("%s: %v", name, err)
		return
	}
	w.note(name, "%+v", got)
	wrong := func(format string, args ...any) {
		w.fail("%s: %s: %+v, of %+v", append([]any{name, fmt.Sprintf(format, args...), got, *h}, args[len(args):]...)...)
	}
	last := h.Most > 0 && h.Nth == h.Most
	watched := p.Mode != "observe" && !last && (h.Method == http.MethodGet || h.Method == http.MethodPost && len(p.RetryWhen) > 0)
	switch {
	case got.skipped:
		if watched && !draining {
			wrong("nobody looked at it")
		}
		return
	case !watched || draining:
		wrong("it is no business of ours")
		return
	}
	stream := strings.HasPrefix(h.Type, eventStream)
	bad, known, open := firstEvent(h.Body, int(w.s.Limits.EventBytes))
	want, status := "", ""
	switch {
	case got.marker == "ejected" && p.Health.EjectAfter > 0:
		want, status = "ejected", "503"
	case h.Status >= 500:
		want = "bad_status"
	case h.Status == http.StatusOK && !stream && !h.Anything:
		want, status = "not_event_stream", "503"
	case h.Status != http.StatusOK || !stream || len(p.RetryWhen) == 0:
	case bad:
		want, status = "first_event", "503"
	case !known && h.End == tryMute:
		want, status = "silence", "503"
		if since := got.decided - began; since < p.Health.ConnectTimeout.Std() || since > p.Health.ConnectTimeout.Std()+time.Minute {
			wrong("silence after %v", since)
		}
	case open, time.Duration(len(h.Body))*h.Every >= p.Health.ConnectTimeout.Std(), !known && h.End == tryBreaks:
		return // it may have been decided, or not
	}
	if got.marker != want || got.status != status {
		wrong("want %q %q", want, status)
	}
	sent := strings.Join(h.Body, "")
	if len(p.RetryWhen) == 0 {
		return // the body does not pass us
	}
	if status != "" {
		sent = ""
	}
	switch {
	case (h.End == tryEnds || h.End == tryTrailers) && (got.body != sent || !got.ended):
		wrong("the body is not what it was")
	case !strings.HasPrefix(sent, got.body):
		wrong("the body is another")
	}
}

// firstEvent says whether the first event of a body is one that asks for another host,
// and whether there is one at all. One that is too large to be looked into is none that
// does; what a comment of that size is taken for is left open.
func firstEvent(body []string, limit int) (bad, known, open bool) {
	blocks, rest := read(strings.Join(body, ""))
	for _, b := range append(blocks, block{raw: rest}) {
		lines := "\n" + strings.ReplaceAll(strings.ReplaceAll(b.raw, "\r\n", "\n"), "\r", "\n")
		switch {
		case len(b.raw) > limit:
			return false, true, strings.HasPrefix(lines, "\n:")
		case b.raw != rest && strings.Contains(lines, "\ndata"):
			return strings.Contains(lines, "\nevent: error"), true, false
		}
	}
	return false, false, false
}

// asksHost plays Envoy's part.
func (w *world) asksHost(name string, h *hostTry, f *feed) (got seenTry, err error) {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	md := []string{"holdfast-position", "upstream"}
	if h.Most > 0 {
		md = append(md, "holdfast-tries", fmt.Sprint(h.Most))
	}
	g, err := w.envoy.ext.Process(grpcmetadata.AppendToOutgoingContext(ctx, md...))
	if err != nil {
		return got, err
	}
	accept := eventStream
	if h.Anything {
		accept += ", */*"
	}
	if err := g.Send(&extproc.ProcessingRequest{
		Request: &extproc.ProcessingRequest_RequestHeaders{RequestHeaders: &extproc.HttpHeaders{Headers: headerMap(
			":method", h.Method, ":authority", authority, ":path", f.path(), "accept", accept,
		)}},
		ProtocolConfig: &extproc.ProtocolConfiguration{}, Attributes: h.attributes(),
	}); err != nil {
		return got, err
	}
	m, err := g.Recv()
	if err != nil {
		return got, err
	}
	if o := m.GetModeOverride(); o != nil && o.GetResponseHeaderMode() == extprocfilterv3.ProcessingMode_SKIP {
		got.skipped = true
		return got, nil
	}
	streamed := m.GetModeOverride().GetResponseBodyMode() == extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED
	if err := g.Send(&extproc.ProcessingRequest{
		Request: &extproc.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extproc.HttpHeaders{
			Headers: headerMap(":status", fmt.Sprint(h.Status), "content-type", h.Type),
		}},
		Attributes: h.attributes(),
	}); err != nil {
		return got, err
	}
	if streamed {
		go h.sends(ctx, g, cancel)
	}
	got.takesIn(w, g, streamed)
	return got, nil
}

func headerMap(fields ...string) *corev3.HeaderMap {
	out := &corev3.HeaderMap{}
	for i := 0; i < len(fields); i += 2 {
		out.Headers = append(out.Headers, &corev3.HeaderValue{Key: fields[i], RawValue: []byte(fields[i+1])})
	}
	return out
}

func (h *hostTry) attributes() map[string]*structpb.Struct {
	fields := map[string]*structpb.Value{
		"xds.cluster_name": structpb.NewStringValue("hosts"),
		"upstream.address": structpb.NewStringValue(fmt.Sprintf("10.1.0.%d:80", h.Host)),
	}
	if h.Nth > 0 {
		fields["upstream.request_attempt_count"] = structpb.NewStringValue(fmt.Sprint(h.Nth))
	}
	return map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: fields}}
}

// sends is the host's body.
func (h *hostTry) sends(ctx context.Context, g grpc.BidiStreamingClient[extproc.ProcessingRequest, extproc.ProcessingResponse], giveUp func()) {
	for i, b := range h.Body {
		if pause(ctx, h.Every) != nil || g.Send(bodyMessage([]byte(b), i == len(h.Body)-1 && h.End == tryEnds)) != nil {
			return
		}
	}
	switch {
	case h.End == tryEnds && len(h.Body) == 0:
		_ = g.Send(bodyMessage(nil, true))
	case h.End == tryTrailers:
		_ = g.Send(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extproc.HttpTrailers{}}})
	case h.End == tryMute:
		_ = pause(ctx, 2*time.Minute)
		giveUp()
	case h.End == tryBreaks:
		_ = pause(ctx, time.Second)
		giveUp()
	}
}

// takesIn reads what the filter says, to the end.
func (s *seenTry) takesIn(w *world, g grpc.BidiStreamingClient[extproc.ProcessingRequest, extproc.ProcessingResponse], streamed bool) {
	for {
		m, err := g.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) && g.Context().Err() == nil && !w.stopped.Load() {
				w.fail("a try's exchange failed: %v", err)
			}
			return
		}
		switch b := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse(); {
		case m.GetOverrideMessageTimeout() != nil && m.GetResponse() == nil:
			s.patient = true
		case m.GetResponseHeaders() != nil:
			s.decided = w.now()
			for _, set := range m.GetResponseHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
				switch set.GetHeader().GetKey() {
				case processor.RetryHeader:
					s.marker = string(set.GetHeader().GetRawValue())
				case ":status":
					s.status = string(set.GetHeader().GetRawValue())
				}
			}
			if !streamed {
				return
			}
		case b != nil:
			s.body += string(b.GetBody())
			s.ended = s.ended || b.GetEndOfStream()
		case m.GetResponseTrailers() != nil:
			s.ended = true
		default:
			w.fail("a try is answered with %v", m)
		}
	}
}
