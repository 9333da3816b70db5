package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/pass"
)

// envoy is what of Envoy a processor notices: the filter's side of ext_proc, the
// cluster of the relay, the requests to the origin, the access log. What would
// make the real one break a stream is a fault of the processor here.
type envoy struct {
	w        *world
	ext      extproc.ExternalProcessorClient
	logs     accesslog.AccessLogServiceClient
	relay    *http.Transport
	upstream *http.Transport
}

// response is what the client gets.
type response struct {
	status int
	header http.Header
	body   io.Reader // io.EOF is a clean end, any other error an aborted transfer
}

// messageTimeout is the filter's message_timeout in the generated configuration.
const messageTimeout = time.Second

// ask sends a client's request through the filter.
func (e *envoy) ask(ctx context.Context, v *visiting) (*response, error) {
	x := &exchange{envoy: e, v: v}
	x.ctx, x.cancel = context.WithCancel(ctx)
	res, err := x.ask()
	if err != nil {
		x.cancel()
	}
	return res, err
}

// exchange is one request's way through the filter.
type exchange struct {
	*envoy
	v       *visiting
	ctx     context.Context
	cancel  context.CancelFunc
	g       grpc.BidiStreamingClient[extproc.ProcessingRequest, extproc.ProcessingResponse]
	patient bool

	stream string                // the processor's ID of the stream, from its dynamic metadata
	begun  atomic.Bool           // a chunk of the upstream's body has been sent
	alone  atomic.Pointer[spool] // where chunks go once the processor has let the response go
}

// sending keeps whoever reads an exchange from closing it while another sends.
type sending struct {
	grpc.BidiStreamingClient[extproc.ProcessingRequest, extproc.ProcessingResponse]
	mu sync.Mutex
}

// Send implements grpc.BidiStreamingClient.
func (s *sending) Send(m *extproc.ProcessingRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.BidiStreamingClient.Send(m)
}

// CloseSend does nothing while something is sent, which may wait for the processor: the
// exchange is cancelled right after.
func (s *sending) CloseSend() error {
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	return s.BidiStreamingClient.CloseSend()
}

func (x *exchange) ask() (*response, error) {
	md := []string{"holdfast-envoy", "1.40.0"}
	if x.v.feed.Logged {
		md = append(md, "holdfast-access-log", "1")
	}
	g, err := x.ext.Process(grpcmetadata.AppendToOutgoingContext(x.ctx, md...))
	if err != nil {
		return x.failOpen(err)
	}
	x.g = &sending{BidiStreamingClient: g}
	if err := x.g.Send(&extproc.ProcessingRequest{
		Request:        &extproc.ProcessingRequest_RequestHeaders{RequestHeaders: x.requestHeaders()},
		ProtocolConfig: &extproc.ProtocolConfiguration{},
	}); err != nil {
		return x.failOpen(err)
	}
	var upload []byte
	back := false // the body has to come back
	for {
		m, err := x.recv()
		if err != nil {
			return x.failOpen(err)
		}
		switch {
		case m.GetOverrideMessageTimeout() != nil && m.GetResponse() == nil:
			x.patient = true
		case m.GetResponse() == nil && m.GetModeOverride().GetRequestBodyMode() == extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED:
			back = true
			if err := x.upload(); err != nil {
				return x.failOpen(err)
			}
		case m.GetRequestHeaders() != nil:
			if t := ticketOf(m); t != "" {
				return x.viaRelay(t, m)
			}
			if back {
				if upload, err = x.takeBack(); err != nil {
					return x.failOpen(err)
				}
				if string(upload) != postBody {
					x.w.fail("%s: the request's body came back as %q", x.v.name, upload)
				}
			}
			return x.goOn(m)
		case m.GetStreamedImmediateResponse().GetHeadersResponse() != nil:
			return x.viaImmediate(m)
		default:
			x.w.fail("%s: the request's headers are answered with %v", x.v.name, m)
			return x.failOpen(errors.New("spurious message"))
		}
	}
}

// recv is the next message of the processor, within Envoy's patience.
func (x *exchange) recv() (*extproc.ProcessingResponse, error) {
	if !x.patient {
		t := time.AfterFunc(messageTimeout, func() { x.w.fail("%s: no answer in %v", x.v.name, messageTimeout) })
		defer t.Stop()
	}
	return x.g.Recv()
}

// failOpen goes on without the filter, as failure_mode_allow has it.
func (x *exchange) failOpen(err error) (*response, error) {
	if x.ctx.Err() != nil {
		return nil, x.ctx.Err()
	}
	if !x.v.mayFail() {
		x.w.fail("%s: the exchange failed: %v", x.v.name, err)
	}
	return x.plain()
}

func (x *exchange) way(how string) { x.v.way.Store(&how) }

func (x *exchange) requestHeaders() *extproc.HttpHeaders {
	h := &corev3.HeaderMap{}
	add := func(k, v string) {
		h.Headers = append(h.Headers, &corev3.HeaderValue{Key: k, RawValue: []byte(v)})
	}
	add(":method", x.v.method())
	add(":authority", authority)
	add(":path", x.v.feed.path())
	for k, vs := range x.v.asks() {
		for _, v := range vs {
			add(strings.ToLower(k), v)
		}
	}
	return &extproc.HttpHeaders{Headers: h, EndOfStream: x.v.method() == http.MethodGet}
}

// asks is the header that the client sends.
func (v *visiting) asks() http.Header {
	h := http.Header{
		"Accept": {"text/event-stream"}, "Accept-Encoding": {"gzip, br"},
		"Authorization": {"Bearer " + v.who}, simHeader: {v.name},
	}
	if v.hasCursor {
		h.Set("Last-Event-Id", v.cursor)
	}
	switch {
	case v.feed.Protocol == mcp:
		h.Set("Accept", "application/json, text/event-stream")
		h.Set(mcpSession, v.feed.Session)
		if v.feed.Revision != "" {
			h.Set(mcpRevision, v.feed.Revision)
		}
	case v.feed.Session != "":
		h.Set("Cookie", "session="+v.feed.Session)
	}
	return h
}

// httpRequest is the request on its way on.
func (x *exchange) httpRequest() *http.Request {
	var body io.Reader
	if x.v.method() == http.MethodPost {
		body = strings.NewReader(postBody)
	}
	r, err := http.NewRequestWithContext(x.ctx, x.v.method(), "http://"+authority+x.v.feed.path(), body)
	if err != nil {
		panic(err)
	}
	r.Header = x.v.asks()
	return r
}

func ticketOf(m *extproc.ProcessingResponse) string {
	for _, set := range m.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if set.GetHeader().GetKey() == pass.TicketHeader {
			return string(set.GetHeader().GetRawValue())
		}
	}
	return ""
}

// viaRelay sends the request to the cluster that is the processor's relay.
func (x *exchange) viaRelay(ticket string, m *extproc.ProcessingResponse) (*response, error) {
	x.way("relay")
	if !m.GetRequestHeaders().GetResponse().GetClearRouteCache() {
		x.w.fail("%s: a ticket that changes no route", x.v.name)
	}
	if m, err := x.g.Recv(); !errors.Is(err, io.EOF) && x.ctx.Err() == nil && !x.v.mayFail() {
		x.w.fail("%s: after the ticket comes %v, %v", x.v.name, m, err)
	}
	r := x.httpRequest()
	r.Header.Set(pass.TicketHeader, ticket)
	res, err := x.relay.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	return &response{res.StatusCode, res.Header, res.Body}, nil
}

// plain sends the request to the origin, and nobody else hears of it.
func (x *exchange) plain() (*response, error) {
	x.way("plain")
	res, err := x.upstream.RoundTrip(x.httpRequest())
	if err != nil {
		return unavailable(), nil //nolint:nilerr // it is what Envoy's client sees of it
	}
	return &response{res.StatusCode, res.Header, res.Body}, nil
}

// unavailable is Envoy's own answer where there is no upstream.
func unavailable() *response {
	return &response{http.StatusServiceUnavailable, http.Header{}, strings.NewReader("no healthy upstream")}
}

// upload sends the request's body, in two pieces.
func (x *exchange) upload() error {
	for i, part := range []string{postBody[:3], postBody[3:]} {
		err := x.g.Send(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestBody{
			RequestBody: &extproc.HttpBody{Body: []byte(part), EndOfStream: i == 1},
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// takeBack is the body as the processor gives it back.
func (x *exchange) takeBack() (body []byte, err error) {
	for {
		m, err := x.recv()
		if err != nil {
			return nil, err
		}
		b := m.GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		if b == nil {
			return nil, fmt.Errorf("no body: %v", m)
		}
		if body = append(body, b.GetBody()...); b.GetEndOfStream() {
			return body, nil
		}
	}
}

// goOn makes the request as the processor's answer to its headers has it.
func (x *exchange) goOn(m *extproc.ProcessingResponse) (*response, error) {
	const skip = extprocfilterv3.ProcessingMode_SKIP
	if o := m.GetModeOverride(); o != nil && o.GetResponseHeaderMode() == skip {
		return x.plain()
	}
	x.way("inline")
	r := x.httpRequest()
	for _, set := range m.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		r.Header.Set(set.GetHeader().GetKey(), string(set.GetHeader().GetRawValue()))
	}
	for _, name := range m.GetRequestHeaders().GetResponse().GetHeaderMutation().GetRemoveHeaders() {
		r.Header.Del(name)
	}
	res, err := x.upstream.RoundTrip(r)
	if err != nil {
		if x.ctx.Err() != nil {
			return nil, x.ctx.Err()
		}
		x.cancel()
		return unavailable(), nil
	}
	h := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: ":status", RawValue: fmt.Append(nil, res.StatusCode)}}}
	for k, vs := range res.Header {
		for _, v := range vs {
			h.Headers = append(h.Headers, &corev3.HeaderValue{Key: strings.ToLower(k), RawValue: []byte(v)})
		}
	}
	bodiless := res.StatusCode == http.StatusNoContent
	out := &extproc.ProcessingRequest{
		Request: &extproc.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extproc.HttpHeaders{Headers: h, EndOfStream: bodiless}},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
			"upstream.address": structpb.NewStringValue("10.0.0.1:80"),
		}}},
	}
	if err := x.g.Send(out); err != nil {
		return x.broken(err)
	}
	if m, err = x.recv(); err != nil {
		return x.broken(err)
	}
	if m.GetResponseHeaders() == nil {
		x.w.fail("%s: the response's headers are answered with %v", x.v.name, m)
		return nil, errors.New("spurious message")
	}
	answer := &response{status: res.StatusCode, header: res.Header, body: res.Body}
	if m.GetModeOverride().GetResponseBodyMode() != extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED {
		x.way("plain")
		return answer, nil
	}
	x.remember(m)
	go x.pump(res)
	answer.body = &duplex{exchange: x}
	return answer, nil
}

// broken is an exchange that fails where Envoy cannot go on without it.
func (x *exchange) broken(err error) (*response, error) {
	if x.ctx.Err() == nil && !x.v.mayFail() {
		x.w.fail("%s: the exchange failed: %v", x.v.name, err)
	}
	return nil, err
}

// remember takes down the stream's ID.
func (x *exchange) remember(m *extproc.ProcessingResponse) {
	fields := m.GetDynamicMetadata().GetFields()["holdfast"].GetStructValue().GetFields()
	if id := fields["stream"].GetStringValue(); id != "" {
		x.stream, x.v.stream = id, id
	}
}

// pump sends the upstream's body to the processor.
func (x *exchange) pump(res *http.Response) {
	defer res.Body.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := res.Body.Read(buf)
		if s := x.alone.Load(); s != nil {
			s.write(buf[:n])
			if err != nil {
				s.end(err)
				return
			}
			continue
		}
		if n > 0 {
			x.begun.Store(true)
			if x.g.Send(bodyMessage(buf[:n], false)) != nil {
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF) && len(res.Trailer) > 0:
			x.begun.Store(true)
			_ = x.g.Send(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extproc.HttpTrailers{}}})
			return
		case errors.Is(err, io.EOF):
			x.begun.Store(true)
			_ = x.g.Send(bodyMessage(nil, true))
			return
		case err != nil && x.ctx.Err() != nil:
			x.report(&accesslogdata.ResponseFlags{DownstreamConnectionTermination: true})
			return
		case err != nil:
			// Envoy resets its client, and drops the processor's stream.
			x.w.note(x.v.name+" Envoy", "resets the client")
			x.cancel()
			x.report(&accesslogdata.ResponseFlags{UpstreamRemoteReset: true})
			return
		}
	}
}

func bodyMessage(b []byte, end bool) *extproc.ProcessingRequest {
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{
		ResponseBody: &extproc.HttpBody{Body: append([]byte(nil), b...), EndOfStream: end},
	}}
}

// report is Envoy's access log entry of a response that did not come to its end.
func (x *exchange) report(why *accesslogdata.ResponseFlags) {
	if !x.v.feed.Logged {
		return
	}
	s, err := x.logs.StreamAccessLogs(x.w.ctx)
	if err != nil {
		return
	}
	meta := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"holdfast": {Fields: map[string]*structpb.Value{
		"stream": structpb.NewStringValue(x.stream),
	}}}}
	_ = s.Send(&accesslog.StreamAccessLogsMessage{LogEntries: &accesslog.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslog.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogdata.HTTPAccessLogEntry{{
			CommonProperties: &accesslogdata.AccessLogCommon{
				Metadata: meta, AccessLogType: accesslogdata.AccessLogType_DownstreamEnd,
				ResponseFlags: why,
			},
		}}},
	}})
	_, _ = s.CloseAndRecv()
}

// duplex is the body of a response that goes through the processor.
type duplex struct {
	*exchange
	rest []byte
	over error
}

// Read implements io.Reader.
func (d *duplex) Read(p []byte) (int, error) {
	if s := d.alone.Load(); s != nil {
		return s.Read(p)
	}
	for len(d.rest) == 0 && d.over == nil {
		m, err := d.g.Recv()
		if d.v.w.isDraining() && d.ctx.Err() == nil && !d.begun.Load() {
			return d.goAlone().Read(p)
		}
		if err != nil {
			d.over = d.failed(err)
			break
		}
		b := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		switch {
		case b == nil && m.GetResponseTrailers() == nil:
			d.w.fail("%s: in a body comes %v", d.v.name, m)
			d.over = errors.New("spurious message")
		case !d.begun.Load():
			d.w.fail("%s: a chunk before the upstream's first: %v", d.v.name, m)
		}
		d.rest = b.GetBody()
		if b.GetEndOfStream() || m.GetResponseTrailers() != nil {
			d.over = io.EOF
			// Envoy has what it wanted.
			_ = d.g.CloseSend()
			d.cancel()
		}
	}
	if len(d.rest) > 0 {
		n := copy(p, d.rest)
		d.rest = d.rest[n:]
		return n, nil
	}
	return 0, d.over
}

// letGo is the way of a response that the processor gives up before its first
// byte. Envoy 1.40 takes the end of a body that has not begun, or an error, for the
// end of the processor's interest, and goes on without it.
const letGo = "let go"

func (d *duplex) goAlone() *spool {
	d.way(letGo)
	s := newSpool()
	d.alone.Store(s)
	_ = d.g.CloseSend()
	return s
}

// failed is the end of the processor's messages before that of the body.
func (x *exchange) failed(err error) error {
	if errors.Is(err, io.EOF) {
		x.w.fail("%s: the processor has left in the middle of a body", x.v.name)
		return io.ErrUnexpectedEOF
	}
	x.cancel()
	return err
}

// viaImmediate takes in a response that the processor makes.
func (x *exchange) viaImmediate(m *extproc.ProcessingResponse) (*response, error) {
	x.way("immediate")
	head := m.GetStreamedImmediateResponse().GetHeadersResponse()
	res := &response{header: http.Header{}}
	for _, h := range head.GetHeaders().GetHeaders() {
		if h.GetKey() == ":status" {
			fmt.Sscan(string(h.GetRawValue()), &res.status)
			continue
		}
		res.header.Add(h.GetKey(), string(h.GetRawValue()))
	}
	x.remember(m)
	if head.GetEndOfStream() {
		res.body = strings.NewReader("")
		x.cancel()
		return res, nil
	}
	// Envoy takes in whatever comes, however slowly its client reads.
	s := newSpool()
	res.body = s
	go func() { s.end(x.swallow(s)) }()
	return res, nil
}

func (x *exchange) swallow(s *spool) error {
	for {
		m, err := x.g.Recv()
		if err != nil {
			return x.failed(err)
		}
		r := m.GetStreamedImmediateResponse()
		b := r.GetBodyResponse()
		if b == nil && r.GetTrailersResponse() == nil {
			x.w.fail("%s: in an immediate response comes %v", x.v.name, m)
			return errors.New("spurious message")
		}
		s.write(b.GetBody())
		if b.GetEndOfStream() || r.GetTrailersResponse() != nil {
			if m, err := x.g.Recv(); !errors.Is(err, io.EOF) && x.ctx.Err() == nil && !x.v.mayFail() {
				x.w.fail("%s: after the end comes %v, %v", x.v.name, m, err)
			}
			return io.EOF
		}
	}
}

// spool is a pipe without back pressure.
type spool struct {
	mu   sync.Mutex
	more *sync.Cond
	b    []byte
	over error
}

func newSpool() *spool {
	s := new(spool)
	s.more = sync.NewCond(&s.mu)
	return s
}

func (s *spool) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, b...)
	s.more.Signal()
}

func (s *spool) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = err
	s.more.Signal()
}

// Read implements io.Reader.
func (s *spool) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.b) == 0 && s.over == nil {
		s.more.Wait()
	}
	if len(s.b) > 0 {
		n := copy(p, s.b)
		s.b = s.b[n:]
		return n, nil
	}
	return 0, s.over
}
