package processor

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/processor/config"
	"holdfast/processor/health"
	"holdfast/processor/pass"
	"holdfast/processor/upstream"
	"holdfast/processor/wire"
)

// Process serves one request: its headers, and if they lead to an event stream,
// that.
func (s *Server) Process(g extproc.ExternalProcessor_ProcessServer) error {
	s.open.add()
	defer s.open.done()
	st, err := s.headers(g)
	if st == nil {
		return err
	}
	// What the headers took of the goroutine's memory is given back by now: only
	// run is on the stack while the stream idles.
	return st.run()
}

// runner is the driver of a stream, which the headers have led to.
type runner interface{ run() error }

// exchange is the header part of one request.
type exchange struct {
	srv *Server
	g   grpc.ServerStream
	req wire.Request

	policy *boundPolicy // nil: the request's headers were not shown
	id     identity

	method, path, upstream string // path without its query
	returns                returning

	spans *spans // nil: the request is not traced

	target   health.Target // who answers
	head     headers       // the request's, while its continuation may have to be asked for
	bodiless bool          // the request ended with its headers
	armed    bool          // the request came with a header that only we may set
	own      bool          // and is a fetch of ours

	// Of the request's body, where that was asked for.
	upload    []byte // what was taken in
	collected bool   // something was
	uploading bool   // there is more of it
	trailed   bool   // it ended with trailers
	answered  bool   // there is nothing else to be done

	marks bool // the tries of the request are to be seen
	try   *try // the filter stands in a cluster, and this is one of them

	duplex bool // by its static configuration, Envoy streams bodies through us
}

// headers deals with everything up to the answer to the response headers. It
// returns the stream that follows, or nil if none does.
//
// A panic here costs this gRPC stream; Envoy, told to allow failures, then goes
// on without us, for it has not been told to wait for anything.
func (s *Server) headers(g grpc.ServerStream) (st runner, err error) {
	x := &exchange{srv: s, g: g}
	defer x.req.Free()
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("internal fault before the stream began; Envoy goes on alone",
				zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			st, err = nil, status.Error(codes.Internal, "internal fault")
		}
	}()
	for {
		if err := g.RecvMsg(&x.req); err != nil {
			x.try.over()
			return nil, endOf(err)
		}
		if st, done, err := x.message(); done || err != nil {
			return st, err
		}
	}
}

// message answers one message. done means that this gRPC stream has nothing
// more to do, or that st goes on with it.
func (x *exchange) message() (st runner, done bool, err error) {
	h := x.req.Headers
	switch {
	case h == nil:
		m := x.unasked()
		if t := m.GetResponseTrailers(); t != nil && x.told(positionKey) == positionEnd {
			return nil, true, x.g.SendMsg(&wire.Response{Message: endOfRelayed(t.GetTrailers().GetHeaders())})
		}
		if a := letPass(m, x.duplex || x.uploading); a != nil {
			err = x.g.SendMsg(&wire.Response{Message: a})
		}
		if m.GetRequestBody().GetEndOfStream() || m.GetRequestTrailers() != nil {
			x.uploading = false
		}
		return nil, x.answered && !x.uploading, err
	case h.Observability:
		// "the server should not respond to this message […]. However, it may
		// still close the stream"
		// https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
		return nil, true, nil
	}
	x.readConfiguration(h)
	if h.Response {
		st, err = x.responseHeaders(h)
		done = true
	} else {
		st, done, err = x.requestHeaders(h)
	}
	// In full-duplex mode Envoy waits for all of a body to come back.
	x.answered = done && !x.duplex
	return st, done && st != nil || x.answered && !x.uploading, err
}

// unasked is a message that we did not ask for, as protobuf has it.
func (x *exchange) unasked() *extproc.ProcessingRequest {
	if x.req.Message != nil {
		return x.req.Message
	}
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{
		ResponseBody: &extproc.HttpBody{Body: x.req.Body, EndOfStream: x.req.EndOfStream},
	}}
}

// readConfiguration looks for a filter whose static processing mode streams
// bodies. Such a filter ignores our mode_override, so all we can do is copy.
func (x *exchange) readConfiguration(h *wire.Headers) {
	const fds = extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED
	if h.RequestBodyMode != fds && h.ResponseBodyMode != fds {
		return
	}
	x.duplex = true
	if !x.srv.warned.Swap(true) {
		x.srv.log.Warn("the ext_proc filter's processing_mode streams bodies by itself, so its requests are only copied; " +
			"set request_body_mode and response_body_mode to NONE and allow_mode_override to true")
	}
}

func (x *exchange) requestHeaders(h *wire.Headers) (st runner, done bool, err error) {
	r := newRequest(h.Fields)
	x.armed = r.has(pass.TicketHeader) || r.has(pass.PassHeader) || r.has(upstream.PeekHeader)
	x.bodiless = h.EndOfStream
	if x.peeks() {
		done, err := x.peekRequest(h, &r)
		return nil, done, err
	}
	if own, why := x.wayBack(&r); own {
		return nil, true, x.skip(why)
	}
	policy := x.srv.policies.Load().match(&r)
	switch {
	case policy == nil:
		return nil, true, x.skip(bypassNoPolicy)
	case policy.Mode == config.ModeOff:
		return nil, true, x.skip(bypassOff)
	}
	x.id = identify(policy.Policy, &r)
	cursor, has := r.Header("last-event-id")
	x.returns = x.srv.returns(policy, &x.id, cursor, has)
	switch {
	case x.srv.open.draining.Load():
		return nil, true, x.skip(bypassDraining)
	case x.duplex:
		return nil, true, x.skip(bypassStatic)
	}
	if !x.id.inRollout(x.srv.random()) {
		return nil, true, x.skip(bypassRollout)
	}
	x.policy = policy
	x.method, x.path, x.upstream = r.method, withoutQuery(r.path), h.Attribute("xds.cluster_name")
	if s := x.srv; s.tracer != nil {
		x.spans = s.spansOf(policy, x.method, x.path, r.host, traceOfCall(x.g.Context()), headerCarrier(r.headers))
	}
	x.marks = policy.Mode != config.ModeObserve && x.peekable() && repeatable(policy, &r)
	a := x.srv.answers.request
	switch identity := policy.Mode != config.ModeObserve && r.wantsEvents(); {
	case x.marks && identity:
		a = policy.markIdentity
	case x.marks:
		a = policy.mark
	case identity:
		a = x.srv.answers.identity
	}
	holds := x.holds(&r)
	if holds && x.relays() {
		return nil, true, x.ticket(&r)
	}
	x.srv.lookUp(x.g.Context(), &x.id, &x.returns)
	if holds || policy.Sealed && x.ownable(&r) {
		if st, done, err := x.comeBack(&r); st != nil || done || err != nil {
			return st, true, err
		}
	}
	if x.resumable() {
		x.head = r.clone()
	}
	if holds {
		st, inline, err := x.immediately(&r)
		if err != nil || !inline {
			return st, true, err
		}
	}
	return nil, false, x.goInline(a)
}

// skip answers a request's headers for good.
func (x *exchange) skip(why bypass) error {
	x.srv.metrics.bypassed[why].Inc()
	if x.duplex {
		return x.answer(x.srv.answers.request)
	}
	return x.answer(x.srv.answers.skip)
}

func (x *exchange) responseHeaders(h *wire.Headers) (runner, error) {
	if x.try != nil {
		return x.peekResponse(h)
	}
	response := headers(h.Fields)
	why := bypassNoRequest
	if x.policy != nil {
		if status, err := strconv.Atoi(response.get(":status")); err == nil && x.id.closedBy(x.method, status) {
			x.srv.store.drop(x.g.Context(), x.id.session())
		}
		why = judge(response, h.EndOfStream, x.method == http.MethodHead)
		if why == bypassNone && x.srv.open.draining.Load() {
			why = bypassDraining
		}
	}
	if why != bypassNone {
		if !x.duplex { // else it was counted with its request
			x.srv.metrics.bypassed[why].Inc()
		}
		return nil, x.g.SendMsg(x.srv.answers.response)
	}
	x.target.Cluster = x.upstream
	if a := h.Attribute("upstream.address"); a != "" {
		x.upstream, x.target.Address = a, a
	}
	x.id.assigned(response)
	st, ok := x.begin(response)
	defer st.gate.unlock()
	if !ok {
		x.spans.finish(x.srv.now())
		return nil, x.g.SendMsg(x.srv.answers.response)
	}
	if err := x.g.SendMsg(x.policy.watch.of(st.id)); err != nil {
		st.abandon()
		return nil, err
	}
	return st, nil
}

// endOf turns the end of what Envoy sends into this handler's result: Envoy is
// done with the request, or gone. Anything else is a failure of the protocol.
func endOf(err error) error {
	if errors.Is(err, io.EOF) || gone(err) {
		return nil
	}
	return fmt.Errorf("processor: reading from Envoy: %w", err)
}

// gone says whether a failed receive means that Envoy dropped the stream.
func gone(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return false
}
