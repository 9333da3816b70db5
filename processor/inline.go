package processor

import (
	"errors"
	"io"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/processor/config"
	"holdfast/processor/splice"
	"holdfast/processor/wire"
)

// inlined is a stream whose response Envoy owns: its body comes here chunk by
// chunk, in full-duplex mode, and goes back the same way. What Envoy's response
// does not bring because it ended early or fell silent may be fetched; what an
// upstream's reset has ended is beyond help, for Envoy resets its client.
type inlined struct {
	stream

	g      grpc.ServerStream
	req    wire.Request  // the handler's, with or without the gate
	from   *wire.Request // req while the handler deals with it; nil in every other goroutine
	status error         // what the handler returns once the stream has ended; the handler's own

	begun    bool // a chunk has come: before that Envoy takes none from us
	trailers bool // the origin ended with trailers, which Envoy holds back for us

	uploading bool // so does the request's body
}

// inlineMode is what a policy does with a response that Envoy owns.
func inlineMode(p *config.Policy) config.Mode {
	if p.Mode == config.ModeHold {
		return config.ModeInline // the request could not be held
	}
	return p.Mode
}

// begin makes the stream that follows the headers, with its gate held; ok is false
// if there is to be none.
func (x *exchange) begin(response headers) (_ *inlined, ok bool) {
	st := &inlined{g: x.g, uploading: x.uploading}
	if x.spans != nil {
		x.spans = x.spans.begin(x.spans.since, 0, looksOn)
		x.spans.answered(0, http.StatusOK, x.target.Address)
	}
	st.stream = stream{
		srv: x.srv, policy: x.policy, mode: inlineMode(x.policy.Policy), ctx: x.spans.with(x.g.Context()), out: st,
		method: x.method, path: x.path, upstream: x.upstream, origin: x.origin(response),
	}
	b := beginning{id: &x.id, known: st, returning: x.returns}
	if st.mode != config.ModeObserve && x.srv.keeps(x.policy, &x.id, false) {
		b.header = response.fields()
	}
	ok = st.begin(b)
	return st, ok
}

// run is the handler from the response headers on: it waits for Envoy without
// the gate, and deals with what comes with it.
func (st *inlined) run() error {
	for {
		if st.origin != nil {
			st.origin.waits(st.srv.now())
		}
		err := st.g.RecvMsg(&st.req)
		if st.origin != nil {
			st.origin.got()
		}
		if st.received(err) {
			return st.status
		}
	}
}

// received deals with what Envoy has sent; done says that the handler is to return.
func (st *inlined) received(err error) (done bool) {
	defer func() {
		if r := recover(); r != nil {
			st.cutOff(r)
			done = true
		}
	}()
	st.gate.lock()
	defer st.gate.unlock()
	defer st.req.Free()
	switch {
	case st.ended: // by the timer or a drain; what crossed it on the way is late
	case err != nil:
		st.lost(err)
	default:
		st.from = &st.req
		st.message()
		st.from = nil
	}
	return st.ended
}

func (st *inlined) message() {
	switch {
	case st.req.IsBody:
		st.begun = true
		if len(st.req.Body) > 0 || !st.req.EndOfStream {
			st.chunk(0, st.req.Body, st.req.EndOfStream)
		}
		if st.req.EndOfStream && !st.ended {
			st.perform(st.srv.now(), splice.Ended{Cause: splice.CleanEnd})
		}
	case st.req.Message.GetResponseTrailers() != nil:
		st.begun, st.trailers = true, true
		st.perform(st.srv.now(), splice.Ended{Cause: splice.CleanEnd})
	case st.req.Headers != nil: // a second time
		a := st.srv.answers.request
		if st.req.Headers.Response {
			a = st.srv.answers.response
		}
		_ = st.g.SendMsg(a)
	default:
		if a := letPass(st.req.Message, st.uploading); a != nil {
			_ = st.send(wire.Response{Message: a})
		}
	}
}

// lost deals with the end of what Envoy sends. Envoy drops the stream when its
// client leaves, and just so when the upstream fails; see accesslog.go.
func (st *inlined) lost(err error) {
	in := splice.Input(splice.Gone{})
	switch {
	case !errors.Is(err, io.EOF) && !gone(err):
		in, st.status = splice.Ended{Cause: splice.Reset}, err
	case st.reported():
		st.alarm.stop()
		st.save() // the client may be back before Envoy has told
		if st.awaitVerdict() == verdictUpstream {
			in = splice.Ended{Cause: splice.Reset}
		}
	}
	st.perform(st.srv.now(), in)
	if !st.ended {
		// The response that Envoy was given is no more, whatever else has taken its
		// place: Envoy has reset its client.
		now := st.srv.now()
		if rd, _, ok := st.step(now, splice.Gone{}); ok {
			st.note(rd.Notes) // what comes of an attempt that is under way
		}
		st.finish(now, nil, splice.Close{Outcome: splice.Cut, Abort: true})
	}
}

// write implements sink.
func (st *inlined) write(b []byte) error {
	return st.send(wire.Response{Body: b, From: st.from})
}

func (st *inlined) send(r wire.Response) error { return st.srv.sendBody(st.g, r) }

// took implements sink. Trailers that reached Envoy before it was told to send the
// body wait for the first chunk to be answered (Envoy 1.40), even if all of it is
// held back and they are what would let it go.
func (st *inlined) took() {
	if st.from != nil && !st.from.EndOfStream {
		_ = st.write(nil)
	}
}

// conclude implements sink.
func (st *inlined) conclude(b []byte, abort bool, o splice.Outcome) {
	switch {
	case o == splice.ClientGone || st.ctx.Err() != nil:
	case abort:
		st.abort(b, o)
	default:
		st.end(b, o)
	}
}

// end is a clean end, as the client sees it.
func (st *inlined) end(b []byte, o splice.Outcome) {
	meta := st.metadata(o)
	if !st.trailers {
		_ = st.send(wire.Response{Message: bodyAnswer(b, true, meta)})
		return
	}
	if len(b) > 0 {
		_ = st.send(wire.Response{Body: b})
	}
	_ = st.send(wire.Response{Message: trailersAnswer(meta)})
}

// abort is an end that the client sees as an aborted transfer: Envoy resets it
// when this stream fails after it was given a part of the body.
func (st *inlined) abort(b []byte, o splice.Outcome) {
	if st.begun {
		_ = st.send(wire.Response{Message: bodyAnswer(b, false, st.metadata(o))})
	}
	if st.from != nil {
		st.status = status.Error(codes.Aborted, abortReason)
		return
	}
	_ = st.g.SendMsg(&wire.AbortError{Reason: abortReason})
}

const abortReason = "the event stream was cut"
