package processor

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/processor/config"
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

// exchange is the header part of one request.
type exchange struct {
	srv *Server
	g   grpc.ServerStream
	req wire.Request

	policy *boundPolicy // nil: the request's headers were not shown
	id     identity

	method, path, upstream string // path without its query
	cursor                 string // the client's Last-Event-ID, if hasCursor
	hasCursor              bool
	endsSession            bool // DELETE of an MCP session

	duplex bool // by its static configuration, Envoy streams bodies through us
}

// headers deals with everything up to the answer to the response headers. It
// returns the stream that follows, or nil if none does.
//
// A panic here costs this gRPC stream; Envoy, told to allow failures, then goes
// on without us, for it has not been told to wait for anything.
func (s *Server) headers(g grpc.ServerStream) (st *stream, err error) {
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
			return nil, endOf(err)
		}
		if st, done, err := x.message(); done || err != nil {
			return st, err
		}
	}
}

// message answers one message. done means that this gRPC stream has nothing
// more to do, or that st goes on with it.
func (x *exchange) message() (st *stream, done bool, err error) {
	h := x.req.Headers
	switch {
	case h == nil:
		if a := letPass(x.unasked(), x.duplex); a != nil {
			err = x.g.SendMsg(&wire.Response{Message: a})
		}
		return nil, false, err
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
		done, err = x.requestHeaders(h)
	}
	// In full-duplex mode Envoy waits for all of a body to come back.
	return st, done && (st != nil || !x.duplex), err
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

func (x *exchange) requestHeaders(h *wire.Headers) (done bool, err error) {
	r := newRequest(h.Fields)
	policy := x.srv.policies.Load().match(&r)
	switch {
	case policy == nil:
		return true, x.skip(bypassNoPolicy)
	case policy.Mode == config.ModeOff:
		return true, x.skip(bypassOff)
	case x.srv.open.draining.Load():
		return true, x.skip(bypassDraining)
	case x.duplex:
		return true, x.skip(bypassStatic)
	}
	x.id = identify(policy.Policy, &r)
	if !x.id.inRollout(x.srv.random()) {
		return true, x.skip(bypassRollout)
	}
	x.policy = policy
	x.method, x.path, x.upstream = r.method, withoutQuery(r.path), h.Attribute("xds.cluster_name")
	x.cursor, x.hasCursor = r.Header("last-event-id")
	x.endsSession = r.method == http.MethodDelete && x.id.source.Name == mcpSession
	if policy.Mode == config.ModeInline && r.wantsEvents() {
		return false, x.g.SendMsg(x.srv.answers.identity)
	}
	return false, x.g.SendMsg(x.srv.answers.request)
}

// skip answers a request's headers for good.
func (x *exchange) skip(why bypass) error {
	x.srv.metrics.bypassed[why].Inc()
	if x.duplex {
		return x.g.SendMsg(x.srv.answers.request)
	}
	return x.g.SendMsg(x.srv.answers.skip)
}

func (x *exchange) responseHeaders(h *wire.Headers) (*stream, error) {
	response := headers(h.Fields)
	why := bypassNoRequest
	if x.policy != nil {
		if x.endsSession && strings.HasPrefix(response.get(":status"), "2") {
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
	if a := h.Attribute("upstream.address"); a != "" {
		x.upstream = a
	}
	x.id.assigned(response)
	st := x.begin()
	defer st.gate.unlock()
	if x.srv.open.draining.Load() {
		// The drain began meanwhile, and may have looked for streams before this
		// one was to be found.
		st.withdraw()
		x.srv.metrics.bypassed[bypassDraining].Inc()
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
