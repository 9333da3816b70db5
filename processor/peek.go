package processor

import (
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	grpcmetadata "google.golang.org/grpc/metadata"

	"holdfast/processor/config"
	"holdfast/processor/health"
	"holdfast/processor/splice"
	"holdfast/processor/sse"
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
	// positionKey is in the initial_metadata of such a filter, with this value.
	positionKey      = "holdfast-position"
	positionUpstream = "upstream"
)

// RetryHeader marks a response that another host should be asked for instead of,
// for the route's retriable_headers; its value says why. It goes no further than
// to whoever asked.
const RetryHeader = "x-holdfast-retry"

// peeks says whether the filter stands in a cluster.
func (x *exchange) peeks() bool {
	v := grpcmetadata.ValueFromIncomingContext(x.g.Context(), positionKey)
	return len(v) > 0 && v[0] == positionUpstream
}

// peekRequest deals with the headers of a try.
func (x *exchange) peekRequest(h *wire.Headers, r *request) (done bool, err error) {
	policy := x.srv.policies.Load().match(r)
	if policy == nil || policy.Mode == config.ModeOff || policy.Mode == config.ModeObserve ||
		x.srv.open.draining.Load() || x.duplex || !repeatable(policy, r) {
		// It was counted where it came in.
		return true, x.g.SendMsg(x.srv.answers.skip)
	}
	x.policy, x.method, x.peeking = policy, r.method, true
	x.upstream = h.Attribute("xds.cluster_name")
	x.only = onlyEvents(r)
	if len(policy.RetryWhen) > 0 {
		return false, x.g.SendMsg(x.srv.answers.peek)
	}
	return false, x.g.SendMsg(x.srv.answers.request)
}

// repeatable says whether another host may be asked. A POST may have done
// something already; whoever sets retry_when for one says that it may be made
// again.
func repeatable(p *boundPolicy, r *request) bool {
	return r.method == http.MethodGet && r.wantsEvents() || len(p.RetryWhen) > 0
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
	response := headers(h.Fields)
	p := &peeking{
		srv: s, g: x.g, policy: x.policy, gate: newGate(), ended: h.EndOfStream,
		target: health.Target{Cluster: x.upstream, Address: h.Attribute("upstream.address")},
	}
	status := response.get(":status")
	whole := len(x.policy.RetryWhen) == 0 || h.EndOfStream // there is no body to be seen
	switch why := judge(response, h.EndOfStream, x.method == http.MethodHead); {
	case p.target.Address != "" && !x.policy.monitor.Admit(s.now(), p.target):
		p.refused = true
		return p.echoUnless(whole), p.refuse(retryEjected, "503")
	case len(status) == 3 && status[0] == '5':
		p.report(health.BadStatus)
		// If every host is like that, the client gets what the last one said.
		return p.echoUnless(whole), p.refuse(retryBadStatus, "")
	case why == bypassType && status == "200" && x.only:
		p.report(health.BadStart)
		p.refused = true
		return p.echoUnless(whole), p.refuse(retryNotStream, "503")
	case why != bypassNone || whole:
		return p.echoUnless(whole), x.g.SendMsg(s.answers.response)
	}
	if err := x.g.SendMsg(s.answers.patience); err != nil {
		return nil, err
	}
	p.scanner = sse.NewScanner(x.policy.Splice.EventBytes)
	p.matcher = splice.NewMatcher(x.policy.RetryWhen)
	p.silence = time.AfterFunc(x.policy.Health.Connect(), p.silent)
	return p, nil
}

// peeking waits for the first event of a try, and then passes the body on.
type peeking struct {
	srv    *Server
	g      grpc.ServerStream
	policy *boundPolicy
	target health.Target
	req    wire.Request

	gate    gate // guards what follows
	decided bool // the headers are answered
	refused bool // and the body is nothing for anybody
	ended   bool // the body has
	held    []byte
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
func (p *peeking) run() error {
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
			return false, p.refuse(retryFirstEvent, "503")
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
			p.report(health.BadStart)
		} else {
			p.report(health.Success)
		}
		break
	}
	p.decided = p.decided || last || p.req.EndOfStream
	if p.decided {
		p.stop()
	}
	return p.decided
}

// silent is called when the first event is too long in coming.
func (p *peeking) silent() {
	if !p.gate.lockUnless(p.g.Context()) {
		return
	}
	defer p.gate.unlock()
	if p.decided {
		return
	}
	p.decided, p.refused = true, true
	p.report(health.Timeout)
	_ = p.refuse(retrySilence, "503")
}

func (p *peeking) report(how health.Outcome) {
	if p.target.Address != "" {
		p.policy.monitor.Report(p.srv.now(), p.target, how)
	}
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
	return p.srv.sendBody(p.g, wire.Response{EndOfStream: p.req.EndOfStream})
}
