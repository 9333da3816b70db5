package processor

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"holdfast/processor/config"
	"holdfast/processor/health"
	"holdfast/processor/splice"
	"holdfast/processor/sse"
	"holdfast/processor/upstream"
	"holdfast/processor/wire"
)

// The same filter may stand in a cluster, just before the request goes to a host.
// Then there is one exchange for each of Envoy's tries, and what it answers to the
// response's headers decides whether the route's retry policy makes another one.
// So it looks at how the response begins: at its status and type, and where the
// policy has retry_when, at the first event, for which the headers wait.
//
// Once bodies are streamed through us, they are to the end: Envoy 1.40 loses the
// first chunk if that is taken back.

const (
	// positionKey is in the initial_metadata of such a filter, with this value, and
	// triesKey, how many tries Envoy makes at most.
	positionKey      = "holdfast-position"
	positionUpstream = "upstream"
	triesKey         = "holdfast-tries"
)

// RetryHeader marks a response that another host should be asked for instead of,
// for the route's retriable_headers; its value says why. It goes no further than
// to whoever asked.
const RetryHeader = "x-holdfast-retry"

// told returns what the filter's initial_metadata says under a key.
func (x *exchange) told(key string) string {
	if v := grpcmetadata.ValueFromIncomingContext(x.g.Context(), key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// peeks says whether the filter stands in a cluster.
func (x *exchange) peeks() bool { return x.told(positionKey) == positionUpstream }

// try is one of a request's tries, until its response begins.
type try struct {
	srv    *Server
	policy *boundPolicy
	target health.Target
	began  time.Time
	only   bool // the client takes nothing but an event stream
}

// peekRequest deals with the headers of a try.
func (x *exchange) peekRequest(h *wire.Headers, r *request) (done bool, err error) {
	s := x.srv
	policy := x.policyOfTry(r)
	if policy == nil || policy.Mode == config.ModeOff || policy.Mode == config.ModeObserve ||
		s.open.draining.Load() || x.duplex || !repeatable(policy, r) || x.lastTry(h) {
		// It was counted where it came in.
		return true, x.g.SendMsg(s.answers.skip)
	}
	x.policy, x.method = policy, r.method
	x.try = &try{
		srv: s, policy: policy, began: s.now(), only: onlyEvents(r),
		target: health.Target{Cluster: h.Attribute("xds.cluster_name"), Address: h.Attribute("upstream.address")},
	}
	if len(policy.RetryWhen) > 0 {
		return false, x.g.SendMsg(s.answers.peek)
	}
	return false, x.g.SendMsg(s.answers.request)
}

// policyOfTry is the one that the request was marked with. On its way here a
// request may have got another host or lost headers, so that no policy would be
// found by them. One without a mark comes by a configuration that is not ours.
func (x *exchange) policyOfTry(r *request) *boundPolicy {
	policies := x.srv.policies.Load()
	if name, ok := r.Header(upstream.PeekHeader); ok {
		return policies.named(name)
	}
	return policies.match(r)
}

// lastTry says whether nobody else will be asked. What comes then is better than
// a 503 of ours, whatever it is.
func (x *exchange) lastTry(h *wire.Headers) bool {
	most, err := strconv.Atoi(x.told(triesKey))
	if err != nil {
		return false // we are not told how many there are
	}
	n, err := strconv.Atoi(h.Attribute("upstream.request_attempt_count"))
	return err == nil && n >= most
}

// over says that the try has ended without a response: Envoy has lost patience
// with the host, the host broke off, or the client left, who may do so at any
// time.
func (t *try) over() {
	if t == nil {
		return
	}
	patience := t.policy.Health.Connect()
	if now := t.srv.now(); patience > 0 && now.Sub(t.began) >= patience {
		t.policy.metrics.retries[retrySilence].Inc()
		t.report(now, health.Timeout)
	}
}

func (t *try) report(now time.Time, how health.Outcome) {
	if t.target.Address != "" {
		t.policy.monitor.Report(now, t.target, how)
	}
}

// onlyEvents says whether the client takes nothing but an event stream.
func onlyEvents(r *request) bool {
	for v := range strings.SplitSeq(r.get("accept"), ",") {
		if !isMedia(v, eventStream) {
			return false
		}
	}
	return true
}

// peekResponse deals with the headers of a try's response.
func (x *exchange) peekResponse(h *wire.Headers) (runner, error) {
	s := x.srv
	now := s.now()
	response := headers(h.Fields)
	p := &peeking{try: x.try, g: x.g, gate: newGate(), ended: h.EndOfStream}
	if a := h.Attribute("upstream.address"); a != "" {
		p.target.Address = a
	}
	status := response.get(":status")
	whole := len(x.policy.RetryWhen) == 0 || h.EndOfStream // there is no body to be seen
	switch why := judge(response, h.EndOfStream, x.method == http.MethodHead); {
	case p.target.Address != "" && !x.policy.monitor.Admit(now, p.target):
		p.refused = true
		return p.echoUnless(whole), p.refuse(retryEjected, "503")
	case len(status) == 3 && status[0] == '5':
		p.report(now, health.BadStatus)
		// If every host is like that, the client gets what the last one said.
		return p.echoUnless(whole), p.refuse(retryBadStatus, "")
	case why == bypassType && status == "200" && p.only:
		p.report(now, health.BadStart)
		p.refused = true
		return p.echoUnless(whole), p.refuse(retryNotStream, "503")
	case why != bypassNone:
		// It works. (What an event stream is worth is seen by its events.)
		p.report(now, health.Success)
		return p.echoUnless(whole), x.g.SendMsg(s.answers.response)
	case whole:
		return nil, x.g.SendMsg(s.answers.response)
	}
	if err := x.g.SendMsg(s.answers.patience); err != nil {
		return nil, err
	}
	p.most = max(x.policy.Splice.EventBytes, sse.DefaultLimit) // there may be comments before a small one
	p.scanner = sse.NewScanner(x.policy.Splice.EventBytes)
	p.matcher = splice.NewMatcher(x.policy.RetryWhen)
	if patience := x.policy.Health.Connect(); patience > 0 {
		p.silence = time.AfterFunc(patience, p.silent)
	}
	return p, nil
}

// peeking waits for the first event of a try, and then passes the body on.
type peeking struct {
	*try

	g   grpc.ServerStream
	req wire.Request

	gate    gate // guards what follows
	decided bool // the headers are answered
	refused bool // and the body is nothing for anybody
	ended   bool // the body has
	held    []byte
	most    int // bytes that are held
	scanner *sse.Scanner
	matcher *splice.Matcher
	silence *time.Timer
}

// echoUnless is what is left to do after the headers were answered: nothing, or to
// pass the body on.
func (p *peeking) echoUnless(whole bool) runner {
	if whole {
		return nil
	}
	p.decided = true
	return p
}

// run waits for chunks until the body has ended.
func (p *peeking) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.stop()
			p.complainOfFault(r)
			err = status.Error(codes.Internal, "internal fault")
		}
	}()
	for {
		if err := p.g.RecvMsg(&p.req); err != nil {
			p.stop()
			return endOf(err)
		}
		if done, err := p.received(); done || err != nil {
			p.stop()
			return err
		}
	}
}

func (p *peeking) stop() {
	if p.silence != nil {
		p.silence.Stop()
	}
}

func (p *peeking) received() (done bool, err error) {
	p.gate.lock()
	defer p.gate.unlock()
	defer p.req.Free()
	trailers := p.req.Message.GetResponseTrailers() != nil
	switch {
	case !p.req.IsBody && !trailers:
		if a := letPass(p.req.Message, false); a != nil {
			err = p.g.SendMsg(&wire.Response{Message: a})
		}
		return false, err
	case !p.decided:
		if !p.looks(trailers) {
			return false, nil
		}
		if p.refused {
			if err := p.refuse(retryFirstEvent, "503"); err != nil {
				return true, err
			}
			return p.req.EndOfStream || trailers, p.end(trailers)
		}
		if err := p.g.SendMsg(p.srv.answers.response); err != nil {
			return true, err
		}
		end := p.req.EndOfStream && !trailers
		if err := p.srv.sendBody(p.g, wire.Response{Body: p.held, EndOfStream: end}); err != nil {
			return true, err
		}
		p.held = nil
	case p.refused:
		return p.req.EndOfStream || trailers, p.end(trailers)
	case !trailers:
		err = p.srv.sendBody(p.g, wire.Response{Body: p.req.Body, EndOfStream: p.req.EndOfStream, From: &p.req})
	}
	if trailers && err == nil {
		err = p.g.SendMsg(&wire.Response{Message: trailersAnswer(nil)})
	}
	return trailers || p.req.EndOfStream, err
}

// looks takes in a chunk, and says whether it has seen enough to decide.
func (p *peeking) looks(last bool) bool {
	p.held = append(p.held, p.req.Body...)
	p.scanner.Feed(p.req.Body)
	for {
		ev, ok := p.scanner.Next()
		if !ok {
			break
		}
		if ev.Part == sse.Whole && !ev.HasData || ev.Part == sse.Comment || ev.Part == sse.LineFeed {
			continue
		}
		p.decided, p.refused = true, p.matcher.Matches(&ev)
		if p.refused {
			p.report(p.srv.now(), health.BadStart)
		} else {
			p.report(p.srv.now(), health.Success)
		}
		break
	}
	// An origin that says so much without an event is alive, and what it says has to go
	// somewhere.
	full := len(p.held) > p.most
	p.decided = p.decided || last || p.req.EndOfStream || full
	if p.decided {
		p.stop()
	}
	return p.decided
}

func (p *peeking) complainOfFault(r any) {
	p.srv.log.Error("internal fault while a response was looked at; it is cut",
		zap.String("policy", p.policy.Name), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
}

// silent is called when the first event is too long in coming.
func (p *peeking) silent() {
	defer func() {
		if r := recover(); r != nil {
			p.complainOfFault(r)
		}
	}()
	if !p.gate.lockUnless(p.g.Context()) {
		return
	}
	defer p.gate.unlock()
	if p.decided {
		return
	}
	p.decided, p.refused, p.held = true, true, nil
	p.report(p.srv.now(), health.Timeout)
	_ = p.refuse(retrySilence, "503")
}

// refuse answers the response's headers such that the route's retry policy tries
// another host. A status of "" leaves the response as it is.
func (p *peeking) refuse(why retry, status string) error {
	p.policy.metrics.retries[why].Inc()
	m := &extproc.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{overwrite(RetryHeader, why.String())}}
	if status != "" {
		m.SetHeaders = append(m.SetHeaders, overwrite(":status", status))
		m.RemoveHeaders = []string{"content-length"}
	}
	a := responseAnswer()
	a.GetResponseHeaders().Response = &extproc.CommonResponse{HeaderMutation: m}
	return p.g.SendMsg(&wire.Response{Message: a})
}

func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// end gives a refused body, should nobody have tried another host, its end.
func (p *peeking) end(trailers bool) error {
	if trailers {
		return p.g.SendMsg(&wire.Response{Message: trailersAnswer(nil)})
	}
	if !p.req.EndOfStream {
		return nil
	}
	return p.srv.sendBody(p.g, wire.Response{EndOfStream: true})
}
