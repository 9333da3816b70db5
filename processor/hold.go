package processor

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/config"
	"holdfast/processor/health"
	"holdfast/processor/pass"
	"holdfast/processor/upstream"
	"holdfast/processor/wire"
)

// complaints are kept to one a minute each.
type complaints struct {
	noTicket, loop, unreachable, badPass, fault seldom
	tooOld, tooOldToUpload, unknown             seldom
}

// tell says what an operator has to know, if it was not said just now.
func (s *Server) tell(which *seldom, level zapcore.Level, what string) {
	if which.allow(s.now()) {
		s.log.Log(level, what)
	}
}

// wayBack looks whether the request is one of our own fetches that comes through
// a listener with the filter. Such a request is let through.
func (x *exchange) wayBack(r *request) (own bool, why bypass) {
	s := x.srv
	if token, ok := r.Header(pass.PassHeader); ok && s.passes != nil {
		_, err := s.passes.Verify(s.now(), pass.Pass, token, pass.Claims{Method: r.method, Authority: r.host, Path: r.path})
		if err == nil {
			x.own = true
			return true, bypassOwn
		}
		if s.complain.badPass.allow(s.now()) {
			s.log.Warn("a request came with a pass that does not hold, and is treated as any other: "+
				"a client made it up, or fetch.pass_key_file differs between replicas, or a clock does",
				zap.String("path", withoutQuery(r.path)))
		}
	}
	if s.fetch == nil {
		return false, bypassNone
	}
	if hops, ok := r.Header(upstream.HopsHeader); ok && s.fetch.Looped(hops) {
		if s.complain.loop.allow(s.now()) {
			s.log.Error("a request that was fetched came back to the filter, and is let through unheld: "+
				"let fetch.url name a listener without the filter, or set fetch.pass_key_file",
				zap.String("path", withoutQuery(r.path)))
		}
		return true, bypassLoop
	}
	return false, bypassNone
}

// holds says whether the request's response is to be owned.
func (x *exchange) holds(r *request) bool {
	s, p := x.srv, x.policy
	switch {
	case p.Mode != config.ModeHold || s.fetch == nil:
		return false
	case p.Chosen && (r.method != http.MethodGet || !r.wantsEvents()):
		return false
	case s.now().UnixNano() < s.wayLost.Load():
		return false // there is, just now, no way to fetch
	case !r.fetchable():
		return false
	}
	switch {
	case !x.ownable(r):
		return false
	case x.relays():
		return x.reaches()
	}
	return x.uploads(r)
}

// reachWithin is how long a request waits for a connection to the way back. It is
// less than Envoy's message_timeout.
const reachWithin = 500 * time.Millisecond

// reaches says whether there is a way back just now. A relayed request cannot be
// given back to Envoy, so this has to be known before.
func (x *exchange) reaches() bool {
	ctx, cancel := context.WithTimeout(x.g.Context(), reachWithin)
	defer cancel()
	err := x.srv.fetch.Reach(ctx)
	if err != nil && x.g.Context().Err() == nil {
		x.srv.unreachable(err)
	}
	return err == nil
}

// fetchable says whether the request's header is small enough to be sent once more.
func (r *request) fetchable() bool {
	var size upstream.HeaderSize
	for i := range r.headers {
		size.Add(len(r.headers[i].Name), len(r.headers[i].Value))
	}
	return size.Fits()
}

// ownable says whether the request's response may be ours at all.
func (x *exchange) ownable(r *request) bool {
	switch {
	case r.method == http.MethodConnect || r.method == http.MethodHead || r.has("upgrade"):
		return false // there is no event stream in these
	case x.relays():
		return r.relayable()
	}
	return x.injects()
}

// relayable says whether the relay listener can be sent this request. net/http takes
// none whose path has a percent sign that escapes nothing, or whose authority has user
// information; Envoy and many origins do.
func (r *request) relayable() bool {
	_, err := url.ParseRequestURI(r.path)
	return err == nil && !strings.Contains(r.host, "@")
}

// relays says whether that is done by sending the request to the relay listener.
func (x *exchange) relays() bool { return x.policy.Via == config.ViaRelay && x.srv.relaying }

// ticket is the answer that leads Envoy to the relay listener, and is the last of
// this exchange.
func (x *exchange) ticket(r *request) error {
	token, err := x.srv.tickets.Sign(x.srv.now(), pass.Ticket, pass.Claims{
		Policy: x.policy.Name, Method: r.method, Authority: r.host, Path: r.path,
	})
	if err != nil {
		return err // a policy's name that is too long, which its validation excludes
	}
	a := requestAnswer(&extproc.HeaderMutation{
		SetHeaders:    []*corev3.HeaderValueOption{overwrite(pass.TicketHeader, token)},
		RemoveHeaders: []string{pass.PassHeader},
	})
	if m := a.GetRequestHeaders().GetResponse().GetHeaderMutation(); x.marks {
		m.SetHeaders = append(m.SetHeaders, overwrite(upstream.PeekHeader, x.policy.Name))
	} else {
		m.RemoveHeaders = append(m.RemoveHeaders, upstream.PeekHeader)
	}
	if m := a.GetRequestHeaders().GetResponse().GetHeaderMutation(); x.told(endsKey) != "" {
		m.SetHeaders = append(m.SetHeaders, overwrite(EndHeader, "1"))
	} else {
		m.RemoveHeaders = append(m.RemoveHeaders, EndHeader)
	}
	a.GetRequestHeaders().Response.ClearRouteCache = true
	a.ModeOverride = &extprocfilterv3.ProcessingMode{ResponseHeaderMode: extprocfilterv3.ProcessingMode_SKIP}
	a.DynamicMetadata = metadata(map[string]*structpb.Value{
		"policy": structpb.NewStringValue(x.policy.Name),
		"mode":   structpb.NewStringValue(config.ModeHold.String()),
	})
	return x.g.SendMsg(&wire.Response{Message: a})
}

// answer answers the request's headers, in one of the ways that are the same for
// all. A request that came with headers that only we may set is relieved of them:
// a client's forged ticket has to go before the route is chosen, or it would lead
// to the relay listener.
func (x *exchange) answer(a wire.Encoded) error {
	if !x.armed && !x.returns.ours {
		return x.g.SendMsg(a)
	}
	var m extproc.ProcessingResponse
	if err := proto.Unmarshal(a, &m); err != nil {
		return err
	}
	h := m.GetRequestHeaders()
	if h.GetResponse() == nil {
		h.Response = new(extproc.CommonResponse)
	}
	if h.GetResponse().GetHeaderMutation() == nil {
		h.Response.HeaderMutation = new(extproc.HeaderMutation)
	}
	edit := h.GetResponse().GetHeaderMutation()
	if x.armed {
		// The header of a fetch of ours stays, and one that has just been set.
		edit.RemoveHeaders = append(edit.RemoveHeaders, pass.TicketHeader, pass.PassHeader)
		if !x.own && !x.marks {
			edit.RemoveHeaders = append(edit.RemoveHeaders, upstream.PeekHeader)
		}
		h.Response.ClearRouteCache = true
	}
	x.returns.edit(edit)
	return x.g.SendMsg(&wire.Response{Message: &m})
}

// resumable says whether what an inline stream loses may be fetched.
func (x *exchange) resumable() bool {
	return x.srv.fetch != nil && x.policy.resumes()
}

// origin makes the upstream's side of an inline stream, if what is lost can be
// fetched.
func (x *exchange) origin(response headers) *origin {
	if !x.resumable() {
		return nil
	}
	p := x.policy
	o := x.srv.newOrigin(p, upstream.Request{
		Method: x.head.get(":method"), Path: x.head.get(":path"), Authority: x.head.get(":authority"),
		Header: x.fields(x.head), Policy: p.Name, Peek: x.marks,
	}, x.target, x.bodiless)
	o.attempts = []*attempt{{stop: func() {}, open: true, target: x.target}} // Envoy's
	o.reads()                                                                // does the handler
	o.strategy.Judge(x.srv.now(), http.StatusOK, response.fields())
	return o
}

// newOrigin makes the upstream's side of a stream whose first response is from the
// given target.
func (s *Server) newOrigin(p *boundPolicy, first upstream.Request, from health.Target, repeatable bool) *origin {
	switch first.Method {
	case http.MethodGet, http.MethodOptions:
	default:
		// "Clients SHOULD NOT automatically retry a request with a non-idempotent
		// method": https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2
		repeatable = false
	}
	o := &origin{
		dialer: s.fetch, monitor: p.monitor, metrics: p.metrics,
		strategy: upstream.NewStrategy(p.Resume, first), first: first, repeats: repeatable,
		upstream: first.Authority,
	}
	if from.Cluster != "" {
		o.upstream = from.Cluster // which may have many names in requests
	}
	return o
}

// hold makes a response attempt 0 of a stream whose handler has nothing to do but
// to attend to it.
func (o *origin) hold(now time.Time, res *upstream.Response, from health.Target) {
	o.attempts = []*attempt{{stop: func() { _ = res.Close() }, open: true, target: from}}
	o.dials, o.bodies, o.duties = make(chan dialing, 1), make(chan body, 1), 1
	o.strategy.Judge(now, res.Status, res.Header)
}

// unreachable takes note of a fetch that got no answer from Envoy: for a while,
// requests are not held, so that they fare as without us.
func (s *Server) unreachable(err error) {
	switch upstream.CauseOf(err) { //nolint:exhaustive // the others say nothing about the next request
	case upstream.Refused:
		s.wayLost.Store(s.now().Add(wayLostFor).UnixNano())
	case upstream.Looped:
		s.wayLost.Store(s.now().Add(complainEvery).UnixNano())
	}
	if s.complain.unreachable.allow(s.now()) {
		s.log.Error("a response to be held could not be fetched; for a while requests are not held", zap.Error(err))
	}
}

// wayLostFor is how long nobody is held after the loopback listener could not be
// reached.
const wayLostFor = 5 * time.Second
