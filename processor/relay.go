package processor

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/live"
	"holdfast/processor/pass"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
)

// Relay is the handler of relay.listen: Envoy's way to the responses that we hold.
// It serves requests with a ticket, which the filter's answer has put there, and
// fetches each through Envoy's loopback listener. An event stream is held from
// then on; any other answer is relayed as it is.
func (s *Server) Relay() http.Handler { return http.HandlerFunc(s.relay) }

// RelayServer returns the server for relay.listen: HTTP/2 without TLS and without
// negotiation, as Envoy's cluster speaks it. Close it after [Server.Drain].
func (s *Server) RelayServer() *http.Server {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	log, err := zap.NewStdLogAt(s.log.Named("relay"), zap.WarnLevel)
	if err != nil {
		log = zap.NewStdLog(s.log) // a level that does not exist; warn does
	}
	return &http.Server{ //nolint:gosec // Envoy sends headers at once, and ReadHeaderTimeout is for HTTP/1 only
		Handler:   s.Relay(),
		Protocols: &h2c,
		ErrorLog:  log,
		// OPTIONS * is the upstream's to answer.
		DisableGeneralOptionsHandler: true,
		HTTP2: &http.HTTP2Config{
			// Envoy keeps a bound of its own; ours must not be the lower one.
			MaxConcurrentStreams: 1 << 20,
			// These are for requests' bodies. An upload that its upstream does not
			// take fills its stream's window and then stands still. As many as the
			// configuration of run and bootstrap lets Envoy have on a connection, 256, do
			// not fill the connection's, which would stop everybody else's. It can be no
			// larger.
			MaxReceiveBufferPerStream:     16<<10 - 1,
			MaxReceiveBufferPerConnection: 4<<20 - 1,
			// An Envoy that is gone without a word would keep its streams here.
			SendPingTimeout: 30 * time.Second,
			PingTimeout:     20 * time.Second,
		},
	}
}

// relay serves one request.
func (s *Server) relay(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == RelayHealthPath && r.Header[ticketHeader] == nil {
		s.relayHealth(w)
		return
	}
	s.open.add()
	defer s.open.done()
	st := s.relayHeaders(w, r)
	if st == nil {
		return
	}
	// What the headers took of the goroutine's memory is given back by now.
	if st.run() {
		abortHandler()
	}
}

// relaying is the body of a response that goes out as that of a relayed request. abort
// says that the client is to see that it is not whole.
type relaying interface{ run() (abort bool) }

// RelayHealthPath is where the relay listener says, by 200 or 503, whether it takes
// on streams. A request with a ticket for such a path is the upstream's.
const RelayHealthPath = "/holdfast/ready"

func (s *Server) relayHealth(w http.ResponseWriter) {
	if s.open.draining.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// abortHandler resets the response's stream.
//
//	"To abort a handler so the client sees an interrupted response but the server
//	doesn't log an error, panic with the value ErrAbortHandler."
//	https://pkg.go.dev/net/http#Handler
func abortHandler() {
	panic(http.ErrAbortHandler) //nolint:forbidigo // there is no other way
}

// relayHeaders deals with everything but the body of an event stream. It returns
// that, or nil if the request is done.
func (s *Server) relayHeaders(w http.ResponseWriter, r *http.Request) (begun relaying) {
	name, ok := s.admit(r)
	if !ok {
		http.Error(w, "This listener serves requests that Holdfast's filter has sent here.", http.StatusForbidden)
		return nil
	}
	ends := wantsEnd(r)
	policy := s.policies.Load().named(name)
	var id identity
	var back returning
	if policy != nil {
		view := requestOf(r)
		id = identify(policy.Policy, &view)
		cursor, has := view.Header("last-event-id")
		back = s.returns(policy, &id, cursor, has)
		s.lookUp(r.Context(), &id, &back)
		back.rewrite(r.Header)
	}
	if policy != nil && !s.open.draining.Load() {
		switch rd := s.comeBack(r.Context(), &comeback{policy, &id, &back, r.Method, withoutQuery(r.RequestURI), r.Header}); {
		case rd == nil:
		case rd.over:
			w.WriteHeader(http.StatusNoContent)
			return nil
		default:
			flush, _ := w.(http.Flusher)
			rd.client = &relayedReplay{w: w, flush: flush, ends: ends}
			return rd
		}
	}
	req := fetchRequest(r, name)
	st := &relayed{w: w, ends: ends, held: held{done: make(chan struct{})}}
	spans := s.spansOfRelayed(policy, r)
	defer func() {
		if begun == nil {
			spans.finish(s.now())
		}
	}()
	ctx := spans.with(r.Context())
	if policy != nil {
		ctx = st.keptFor(ctx, s.detaches(policy, &req), &req)
	}
	early := &informational{w: w}
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: early.relay})
	sent := req
	sent.Header = spans.outgoing(0, req.Header)
	res, err := s.fetch.Fetch(traced, sent)
	early.end()
	if err != nil {
		spans.fail(s.now(), 0, errorType(err))
		s.relayFailure(w, r, err)
		return nil
	}
	target := takeTarget(res.Header)
	spans.answered(0, res.Status, target.Address)
	if policy != nil && id.closedBy(r.Method, res.Status) {
		s.store.drop(r.Context(), id.session())
	}
	if policy == nil || s.open.draining.Load() {
		s.relayPlain(w, res)
		return nil
	}
	if why := judgeResponse(r.Method, res); why != bypassNone {
		s.metrics.bypassed[why].Inc()
		s.relayPlain(w, res)
		return nil
	}
	id.assigned(headersOf(res.Header))
	st.flush, _ = w.(http.Flusher)
	st.first = res
	st.stream = stream{
		srv: s, policy: policy, mode: config.ModeHold, ctx: ctx, out: st,
		method: r.Method, path: withoutQuery(r.RequestURI), upstream: target.Address,
		origin: s.newOrigin(policy, req, target, req.Body == nil),
	}
	st.origin.hold(s.now(), res, target)
	b := beginning{id: &id, known: st, returning: back, owned: true}
	if s.keeps(policy, &id, st.life != nil) {
		b.header = res.Header
	}
	ok = st.begin(b)
	defer st.gate.unlock()
	if !ok {
		s.relayPlain(w, res)
		return nil
	}

	res.Header.Del("Content-Length") // what the client gets is not bound to it
	copyHeader(w.Header(), res.Header)
	w.WriteHeader(res.Status)
	st.flush.Flush()
	st.begun(b.header != nil)
	return st
}

// admit verifies a request's ticket, and removes it. It returns the name of the
// policy that the ticket was made out for.
func (s *Server) admit(r *http.Request) (policy string, ok bool) {
	tickets := r.Header[ticketHeader]
	delete(r.Header, ticketHeader)
	if len(tickets) == 1 {
		policy, err := s.tickets.Verify(s.now(), pass.Ticket, tickets[0], pass.Claims{
			Method: r.Method, Authority: r.Host, Path: r.RequestURI,
		})
		if err == nil {
			return policy, true
		}
	}
	s.metrics.bypassed[bypassTicket].Inc()
	if s.complain.noTicket.allow(s.now()) {
		s.log.Warn("a request came to the relay listener without a valid ticket and was refused (403); "+
			"only the filter's answer should lead here, within 10 s and once: "+
			"look for a route to the relay cluster that does not ask for the header "+pass.TicketHeader+
			", a retry policy or a rewrite on that route, or clients that can reach the listener",
			zap.Bool("ticket", len(tickets) > 0), zap.String("path", withoutQuery(r.RequestURI)))
	}
	return "", false
}

var peekHeader = textproto.CanonicalMIMEHeaderKey(upstream.PeekHeader) //nolint:gochecknoglobals // a constant

var ticketHeader = textproto.CanonicalMIMEHeaderKey(pass.TicketHeader) //nolint:gochecknoglobals // a constant

// fetchRequest is the request as the client made it.
func fetchRequest(r *http.Request, policy string) upstream.Request {
	req := upstream.Request{
		Method: r.Method, Path: r.RequestURI, Authority: r.Host,
		Header: r.Header, Policy: policy, Peek: r.Header[peekHeader] != nil,
	}
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		req.Body, req.Length, req.Trailer = r.Body, r.ContentLength, r.Trailer
	}
	return req
}

// relayFailure answers a request whose fetch got no answer. An upstream's failure
// is an answer of Envoy's; this is one of the way to it.
func (s *Server) relayFailure(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody is there to be answered
	}
	s.unreachable(err)
	code := http.StatusServiceUnavailable
	switch upstream.CauseOf(err) { //nolint:exhaustive // the others leave it at that
	case upstream.Reset, upstream.NoAnswer:
		code = http.StatusBadGateway
	case upstream.TimedOut:
		code = http.StatusGatewayTimeout
	case upstream.Malformed:
		code = http.StatusBadRequest
	case upstream.Looped:
		code = http.StatusLoopDetected
	}
	http.Error(w, http.StatusText(code), code)
}

// informational passes 1xx answers on, which come on a goroutine of the transport.
type informational struct {
	mu sync.Mutex
	w  http.ResponseWriter // nil: the final answer is there
}

// relay passes one on. 100 (Continue) is between neighbours, and 101 changes to a
// protocol that HTTP/2 does not have.
func (i *informational) relay(code int, h textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.w == nil || code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil
	}
	upstream.StripHopByHop(http.Header(h))
	maps.Copy(i.w.Header(), http.Header(h))
	i.w.WriteHeader(code)
	clear(i.w.Header())
	return nil
}

func (i *informational) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.w = nil
}

// relayPlain relays an answer that is no event stream, as it is.
func (s *Server) relayPlain(w http.ResponseWriter, res *upstream.Response) {
	defer func() { _ = res.Close() }()
	copyHeader(w.Header(), res.Header)
	w.WriteHeader(res.Status)
	flush, _ := w.(http.Flusher)
	if res.Length != 0 {
		flush.Flush() // the header does not wait for a body that may be slow
	}
	for {
		err := s.copyChunk(w, flush, res)
		switch {
		case err == nil:
			continue
		case err != io.EOF: //nolint:errorlint // a wrapped EOF is no clean end
			abortHandler()
		}
		copyTrailer(w.Header(), res.Trailer())
		return
	}
}

// copyChunk passes on what has arrived, when it arrives.
func (s *Server) copyChunk(w http.ResponseWriter, flush http.Flusher, res *upstream.Response) error {
	if err := res.Wait(); err != nil {
		return err
	}
	buf := s.buffers.get()
	defer s.buffers.put(buf)
	n, err := res.Read(buf[:])
	if n > 0 {
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		flush.Flush()
	}
	return err
}

// copyHeader puts the fields of an answer into the one to be sent.
func copyHeader(to, from http.Header) {
	maps.Copy(to, from)
	// The server adds these where they are missing; the origin did not.
	for _, name := range [...]string{"Date", "Content-Type"} {
		if _, ok := to[name]; !ok {
			to[name] = nil
		}
	}
}

// copyTrailer is for after the body: their names need not be known before it.
func copyTrailer(to, from http.Header) {
	for name, values := range from {
		if name != endHeader { // which is ours to say
			to[http.TrailerPrefix+name] = values
		}
	}
}

// relayed is a held stream whose response goes out as that of a relayed request.
type relayed struct {
	held

	w     http.ResponseWriter
	flush http.Flusher
	ends  bool // a clean end says how it was, for Envoy's access log
}

// run implements relaying.
func (st *relayed) run() (abort bool) { return st.hold() && st.aborted }

// took implements sink.
func (st *relayed) took() {}

// write implements sink.
func (st *relayed) write(b []byte) error {
	if st.unheard(len(b)) {
		return nil
	}
	if _, err := st.w.Write(b); err != nil {
		if st.life != nil {
			return nil // as its handler will say
		}
		return err
	}
	st.flush.Flush()
	return nil
}

// conclude implements sink.
func (st *relayed) conclude(b []byte, abort bool, o splice.Outcome) {
	defer close(st.done)
	st.loosened()
	if o == splice.ClientGone || st.gone() {
		return
	}
	st.aborted = abort
	if len(b) > 0 && st.write(b) != nil {
		return
	}
	if !abort {
		copyTrailer(st.w.Header(), st.origin.trailer)
		if st.ends {
			st.w.Header().Set(http.TrailerPrefix+endHeader, ending(st.endFields(o)))
		}
	}
}

// relayedReplay is the response of a relayed request that is served from the log.
type relayedReplay struct {
	w     http.ResponseWriter
	flush http.Flusher
	ends  bool // as of a relayed stream
}

func (c *relayedReplay) begin(_ *boundPolicy, _ live.ID, h http.Header) error {
	copyHeader(c.w.Header(), h)
	c.w.WriteHeader(http.StatusOK)
	c.flush.Flush()
	return nil
}

func (c *relayedReplay) write(_ *Server, b []byte) error {
	if _, err := c.w.Write(b); err != nil {
		return err
	}
	c.flush.Flush()
	return nil
}

// run implements relaying.
func (rd *reader) run() (abort bool) {
	o, abort := rd.serve()
	if c, ok := rd.client.(*relayedReplay); ok && c.ends && !abort {
		c.w.Header().Set(http.TrailerPrefix+endHeader, ending(rd.endFields(o)))
	}
	return abort
}
