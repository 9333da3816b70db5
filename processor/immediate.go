package processor

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/config"
	"holdfast/processor/live"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
	"holdfast/processor/wire"
)

// The other way to own a response needs no listener of ours: the answer to the
// request's headers is the response itself, streamed for as long as it takes.
//
//	"The server sends back this message to initiate or continue local response
//	streaming. The server must initiate local response streaming with the
//	headers_response in response to a ProcessingRequest with the request_headers
//	only."
//	https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
//
// What Envoy gets this way it takes in, however slowly its client reads: there is
// no back pressure, so what is sent is paced.

// immediate is a stream that is held this way.
type immediate struct {
	held

	client injector
}

// injector is the client's side of an immediate response.
type injector struct {
	g        grpc.ServerStream
	pace     pace
	receipts receipts
	leaving  leaving
}

func (x *exchange) newInjector() injector { return injector{g: x.g, pace: x.newPace()} }

// write sends a part of the body, when it is its turn.
func (c *injector) write(s *Server, b []byte) error {
	ctx := c.g.Context()
	if err := c.pace.wait(ctx, s.now(), len(b)); err != nil {
		return err
	}
	if err := c.receipts.wait(ctx, c.pace.ahead()); err != nil {
		return err
	}
	return c.inject(s, b)
}

// immediately fetches the response and begins to hold it, or relays it if it is no
// event stream. inline says that it is Envoy that has to make the request; nothing
// was answered then, but for the body.
func (x *exchange) immediately(r *request) (_ runner, inline bool, err error) {
	s := x.srv
	// The first bytes may be long in coming, and the body too.
	if err := x.g.SendMsg(s.answers.patience); err != nil {
		return nil, false, err
	}
	req := upstream.Request{
		Method: r.method, Path: r.path, Authority: r.host,
		Header: x.fields(r.headers), Policy: x.policy.Name, Peek: x.marks,
	}
	if !x.bodiless {
		content, whole, err := x.collect(req.Header)
		if err != nil || !whole {
			return nil, err == nil, err
		}
		req.Content = content
	}
	if x.spans != nil {
		x.spans = x.spans.begin(x.spans.since, 0, fetched)
	}
	st := &immediate{held: held{done: make(chan struct{})}, client: x.newInjector()}
	ctx := st.keptFor(x.spans.with(x.g.Context()), s.detaches(x.policy, &req), &req)
	sent := req
	sent.Header = x.spans.outgoing(0, req.Header)
	res, err := s.fetch.Fetch(ctx, sent)
	if err != nil {
		x.spans.fail(s.now(), 0, errorType(err))
		x.spans.finish(s.now())
		inline, err = x.unfetched(r.method, err)
		return nil, inline, err
	}
	if len(res.Header["Set-Cookie"]) > 1 && x.bodiless && mayRepeat(r.method, nil) {
		// Of fields of one name, Envoy 1.40 takes the last one, and these cannot be
		// joined into one: let it make the request itself.
		x.spans.finish(s.now())
		_ = res.Close()
		return nil, true, nil
	}
	target := takeTarget(res.Header)
	x.spans.answered(0, res.Status, target.Address)
	if x.id.closedBy(r.method, res.Status) {
		s.store.drop(x.g.Context(), x.id.session())
	}
	why := judgeResponse(r.method, res)
	if why == bypassNone && s.open.draining.Load() {
		why = bypassDraining
	}
	if why != bypassNone {
		s.metrics.bypassed[why].Inc()
		return nil, false, x.passOn(res)
	}
	x.id.assigned(headersOf(res.Header))
	st.first = res
	st.stream = stream{
		srv: s, policy: x.policy, mode: config.ModeHold, ctx: ctx, out: st,
		method: x.method, path: x.path, upstream: target.Address,
		origin: s.newOrigin(x.policy, req, target, true),
	}
	st.origin.hold(s.now(), res, target)
	b := beginning{id: &x.id, known: st, returning: x.returns, owned: true}
	if s.keeps(x.policy, &x.id, st.life != nil) {
		b.header = res.Header
	}
	begun := st.begin(b)
	defer st.gate.unlock()
	if !begun {
		return nil, false, x.passOn(res)
	}

	res.Header.Del("Content-Length")
	st.client.leaving = x.watch()
	if err := st.client.begin(x.policy, st.id, res.Header); err != nil {
		st.abandon()
		return nil, false, err
	}
	st.begun(b.header != nil)
	return st, false, nil
}

// begin sends the header of an event stream.
func (c *injector) begin(p *boundPolicy, id live.ID, h http.Header) error {
	head := immediateHeaders(http.StatusOK, h)
	head.DynamicMetadata = metadata(map[string]*structpb.Value{
		"policy":    structpb.NewStringValue(shorten(p.Name)),
		"mode":      structpb.NewStringValue(p.Mode.String()),
		streamField: structpb.NewStringValue(id.String()),
	})
	return c.g.SendMsg(&wire.Response{Message: head})
}

// comeBack serves a client from the log, if there is something for it. done: nothing
// more is to be done.
func (x *exchange) comeBack(r *request) (_ runner, done bool, err error) {
	if !x.returns.has && !x.returns.ours {
		return nil, false, nil
	}
	rd := x.srv.comeBack(x.g.Context(), &comeback{x.policy, &x.id, &x.returns, x.method, x.path, r.fields()})
	switch {
	case rd == nil:
		return nil, false, nil
	case x.relays(): // there it is looked for again
		rd.part()
		return nil, true, x.ticket(r)
	case rd.over:
		return nil, true, x.answerStatus(http.StatusNoContent)
	}
	client := x.newInjector()
	client.leaving = x.watch()
	rd.client = &client
	return &immediateReplay{rd, &client}, false, nil
}

// immediateReplay is an immediate response that is served from the log.
type immediateReplay struct {
	*reader

	client *injector
}

// run implements runner.
func (rd *immediateReplay) run() error {
	begun := rd.srv.now()
	o, abort := rd.serve()
	rd.srv.immediates.ended(rd.srv, rd.client.leaving, rd.srv.now().Sub(begun), o != splice.ClientGone)
	switch {
	case o == splice.ClientGone:
		return nil
	case abort:
		rd.client.end(nil, metadata(rd.endFields(o)), true)
		return status.Error(codes.Aborted, abortReason)
	}
	rd.client.end(nil, metadata(rd.endFields(o)), false)
	return nil
}

// unfetched deals with a request that got no answer.
func (x *exchange) unfetched(method string, cause error) (inline bool, err error) {
	if gone := x.g.Context().Err(); gone != nil {
		return false, gone // nobody is there to be answered
	}
	x.srv.unreachable(cause)
	if mayRepeat(method, cause) {
		return true, nil
	}
	return false, x.fail(cause)
}

// mayRepeat says whether a request that got no answer may be made again.
func mayRepeat(method string, err error) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	cause := upstream.CauseOf(err)
	return cause == upstream.Refused || cause == upstream.Looped || cause == upstream.Malformed
}

// collect takes in the request's body, if it is not larger than is wanted. If it
// is, Envoy is told to make the request, and what was taken in is given back.
func (x *exchange) collect(head http.Header) (content []byte, whole bool, err error) {
	limit := x.policy.Limits.RequestBytes
	if n, err := strconv.ParseInt(head.Get("Content-Length"), 10, 64); limit == 0 || err == nil && n > int64(limit) {
		return nil, false, nil
	}
	if err := x.g.SendMsg(x.srv.answers.upload); err != nil {
		return nil, false, err
	}
	x.collected, x.uploading = true, true
	for len(x.upload) <= limit {
		if err := x.g.RecvMsg(&x.req); err != nil {
			return nil, false, endOf(err)
		}
		m := x.req.Message
		b := m.GetRequestBody()
		x.upload = append(x.upload, b.GetBody()...)
		if b.GetEndOfStream() || m.GetRequestTrailers() != nil {
			x.uploading, x.trailed = false, m.GetRequestTrailers() != nil
			return x.upload, true, nil
		}
	}
	return nil, false, nil
}

// goInline lets Envoy make the request after all, and gives it back what was
// taken in of the body.
func (x *exchange) goInline(a wire.Encoded) error {
	if err := x.answer(a); err != nil {
		return err
	}
	if !x.collected {
		return nil
	}
	b := x.upload
	x.upload = nil
	for {
		n := min(len(b), len(chunkBuffer{}))
		last := n == len(b)
		if err := x.g.SendMsg(&wire.Response{Message: uploadAnswer(b[:n], last && !x.uploading && !x.trailed)}); err != nil {
			return err
		}
		if b = b[n:]; last {
			break
		}
	}
	if !x.trailed {
		return nil
	}
	return x.g.SendMsg(&wire.Response{Message: &extproc.ProcessingResponse{
		Response: &extproc.ProcessingResponse_RequestTrailers{RequestTrailers: new(extproc.TrailersResponse)},
	}})
}

func uploadAnswer(b []byte, end bool) *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestBody{
		RequestBody: &extproc.BodyResponse{Response: streamed(b, end)},
	}}
}

func (x *exchange) newPace() pace {
	l := x.policy.Limits
	return newPace(l.BytesPerSecond, l.BurstBytes)
}

// fail answers a request that may not be made again.
func (x *exchange) fail(err error) error {
	code := http.StatusBadGateway
	if upstream.CauseOf(err) == upstream.TimedOut {
		code = http.StatusGatewayTimeout
	}
	return x.answerStatus(code)
}

// answerStatus is a whole response, without a body.
func (x *exchange) answerStatus(code int) error {
	return x.g.SendMsg(&wire.Response{Message: &extproc.ProcessingResponse{
		Response: &extproc.ProcessingResponse_StreamedImmediateResponse{
			StreamedImmediateResponse: &extproc.StreamedImmediateResponse{
				Response: &extproc.StreamedImmediateResponse_HeadersResponse{HeadersResponse: &extproc.HttpHeaders{
					Headers:     &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: ":status", RawValue: strconv.AppendInt(nil, int64(code), 10)}}},
					EndOfStream: true,
				}},
			},
		},
	}})
}

// passOn relays an answer that is no event stream, as it is.
func (x *exchange) passOn(res *upstream.Response) error {
	s := x.srv
	defer func() {
		_ = res.Close()
		x.spans.finish(s.now())
	}()
	begun, leaving, finished := s.now(), x.watch(), true
	defer func() { s.immediates.ended(s, leaving, s.now().Sub(begun), finished) }()
	if err := x.g.SendMsg(&wire.Response{Message: immediateHeaders(res.Status, res.Header)}); err != nil {
		return err
	}
	p := x.newPace()
	for {
		err := x.passOnChunk(res, &p)
		switch {
		case err == nil:
			continue
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is no clean end
			return x.g.SendMsg(immediateEnd(res.Trailer()))
		case x.g.Context().Err() != nil:
			finished = false
			return nil
		}
		return status.Error(codes.Aborted, "the response was cut")
	}
}

func (x *exchange) passOnChunk(res *upstream.Response, p *pace) error {
	if err := res.Wait(); err != nil {
		return err
	}
	buf := x.srv.buffers.get()
	defer x.srv.buffers.put(buf)
	n, err := res.Read(buf[:])
	if n > 0 {
		if err := p.wait(x.g.Context(), x.srv.now(), n); err != nil {
			return err
		}
		if err := x.g.SendMsg(&wire.Response{Body: buf[:n], Immediate: true}); err != nil {
			return err
		}
	}
	return err
}

func immediateHeaders(code int, h http.Header) *extproc.ProcessingResponse {
	m := headerMap(h)
	m.Headers = append(m.Headers, &corev3.HeaderValue{Key: ":status", RawValue: strconv.AppendInt(nil, int64(code), 10)})
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_StreamedImmediateResponse{
		StreamedImmediateResponse: &extproc.StreamedImmediateResponse{
			Response: &extproc.StreamedImmediateResponse_HeadersResponse{HeadersResponse: &extproc.HttpHeaders{Headers: m}},
		},
	}}
}

func headerMap(h http.Header) *corev3.HeaderMap {
	m := &corev3.HeaderMap{Headers: make([]*corev3.HeaderValue, 0, len(h)+1)}
	for name, values := range h {
		// "A recipient MAY combine multiple field lines within a field section that
		// have the same field name into one field line, without changing the semantics
		// of the message": https://www.rfc-editor.org/rfc/rfc9110#section-5.3. It
		// has to, for Envoy 1.40 takes the last one for all.
		if len(values) > 1 && name != "Set-Cookie" {
			values = []string{strings.Join(values, ", ")}
		}
		name = strings.ToLower(name)
		for _, v := range values {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(v)})
		}
	}
	return m
}

// immediateEnd is the clean end of a response.
func immediateEnd(trailer http.Header) *wire.Response {
	if len(trailer) == 0 {
		return &wire.Response{EndOfStream: true, Immediate: true}
	}
	return &wire.Response{Message: &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_StreamedImmediateResponse{
		StreamedImmediateResponse: &extproc.StreamedImmediateResponse{
			Response: &extproc.StreamedImmediateResponse_TrailersResponse{TrailersResponse: headerMap(trailer)},
		},
	}}}
}

// run is the handler from the response's headers on. Envoy sends nothing any more;
// when the client leaves it ends the context.
func (st *immediate) run() error {
	begun := st.srv.now()
	ended := st.hold()
	st.srv.immediates.ended(st.srv, st.client.leaving, st.srv.now().Sub(begun), ended && st.finished)
	if ended && st.aborted {
		return status.Error(codes.Aborted, abortReason)
	}
	return nil
}

// write implements sink.
func (st *immediate) write(b []byte) error {
	if st.unheard(len(b)) {
		return nil
	}
	if err := st.client.write(st.srv, b); err != nil && st.life == nil {
		return err
	}
	return nil // or its handler will say
}

// took implements sink.
func (st *immediate) took() {}

// sent takes note of what Envoy says that the client has been sent.
func (st *immediate) sent(bytes uint64) { st.client.sent(bytes) }

// conclude implements sink.
func (st *immediate) conclude(b []byte, abort bool, o splice.Outcome) {
	defer close(st.done)
	st.loosened()
	if o == splice.ClientGone || st.gone() {
		return
	}
	st.finished = true
	if len(b) > 0 && st.write(b) != nil {
		return
	}
	st.aborted = abort
	st.client.end(st.origin.trailer, st.metadata(o), abort)
}

// end is the last message of a response: its end, or what there is to say of it before
// it is aborted.
func (c *injector) end(trailer http.Header, meta *structpb.Struct, abort bool) {
	last := &wire.Response{Message: &extproc.ProcessingResponse{
		Response: &extproc.ProcessingResponse_StreamedImmediateResponse{
			StreamedImmediateResponse: &extproc.StreamedImmediateResponse{
				Response: &extproc.StreamedImmediateResponse_BodyResponse{BodyResponse: &extproc.StreamedBodyResponse{EndOfStream: !abort}},
			},
		},
	}}
	if len(trailer) > 0 && !abort {
		last = immediateEnd(trailer)
	}
	last.Message.DynamicMetadata = meta
	_ = c.g.SendMsg(last)
}
