package processor

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/splice"
	"holdfast/processor/upstream"
	"holdfast/sessionstore"
)

// A detached stream is one whose client has left and whose upstream is read on, into
// the log, until the client is back or the time for that is over. Who comes back
// reads the log, and keeps the stream running for as long as it does.

// mcpDetach is how long the answer to an MCP client's request is kept without being
// asked for.
//
//	"Disconnection MAY occur at any time (e.g., due to network conditions).
//	Therefore: Disconnection SHOULD NOT be interpreted as the client cancelling its
//	request."
//	https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server
const mcpDetach = time.Minute

// detaches is how long a stream that begins with this request is read on without its
// client; 0: not at all.
func (s *Server) detaches(p *boundPolicy, first *upstream.Request) time.Duration {
	if p.Replay.Events <= 0 || s.store.records == nil || s.maxDetached <= 0 {
		return 0
	}
	switch mcp, cancels := upstream.LeavingCancels(first); {
	case cancels:
		return 0
	case mcp && p.Detach == 0 && first.Method == http.MethodPost:
		return mcpDetach
	}
	return p.Detach
}

// lifetime is the context of a stream that may outlive its client. Until it is
// loosened it ends with the client's.
type lifetime struct {
	context.Context

	cancel context.CancelFunc
	stop   func() bool
	client context.Context
	spared time.Duration // how long the stream lives without a client
	body   *sentBody     // of the request; nil: none, or it is no matter
	left   bool          // the client has left, and the stream goes on; the gate's holder's

	audience audience
}

func newLifetime(client context.Context, spared time.Duration) *lifetime {
	l := &lifetime{client: client, spared: spared}
	l.Context, l.cancel = context.WithCancel(context.WithoutCancel(client))
	l.stop = context.AfterFunc(client, l.cancel)
	return l
}

// sentBody is a request's body, and whether all of it has been sent on.
type sentBody struct {
	io.ReadCloser

	whole atomic.Bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.whole.Store(true)
	}
	return n, err
}

// held is a stream whose response is ours, whichever way it goes out.
type held struct {
	stream

	first *upstream.Response
	done  chan struct{} // closed when the stream has ended
	life  *lifetime     // nil: it ends with its client

	// Of the client's side, set before done is closed.
	finished bool // it has its end from us
	aborted  bool // and is to see that it is not whole
}

// hold reads one attempt after the other until the stream ends, in the handler's
// goroutine. A stream that may outlive its client has a goroutine of its own, and the
// handler waits; false: it goes on without the handler.
func (st *held) hold() (ended bool) {
	if st.life == nil {
		st.attend(st.first, st.done)
		return true
	}
	st.srv.open.add()
	go func() {
		defer st.srv.open.done()
		defer st.life.cancel()
		st.attend(st.first, st.done)
	}()
	select {
	case <-st.done:
		return true
	case <-st.life.client.Done():
		return st.clientLeft()
	}
}

// gone says whether there is no client to write to.
func (st *held) gone() bool {
	if st.life != nil {
		return st.life.left || st.life.client.Err() != nil
	}
	return st.ctx.Err() != nil
}

// keptFor makes st outlive its client by d, if that is any time. It returns the
// context for the fetch.
func (st *held) keptFor(client context.Context, d time.Duration, req *upstream.Request) context.Context {
	if d <= 0 {
		return client
	}
	st.life = newLifetime(client, d)
	if req.Body != nil {
		st.life.body = &sentBody{ReadCloser: req.Body}
		req.Body = st.life.body
	}
	return st.life
}

// begun says that the client has the response's header.
func (st *held) begun(kept bool) {
	if kept {
		st.srv.producers.add(st)
	}
	st.opened()
	if st.life != nil {
		st.life.stop() // what the client's leaving means is the handler's to say
	}
}

// clientLeft lets the stream go on without its client, if it may.
func (st *held) clientLeft() (ended bool) {
	defer st.contain()
	st.gate.lock()
	defer st.gate.unlock()
	if st.ended {
		return true
	}
	s := st.srv
	if st.rec == nil || !st.rec.keeps || st.life.body != nil && !st.life.body.whole.Load() || s.open.draining.Load() || st.ctx.Err() != nil {
		st.abandon()
		return true
	}
	if s.detached.Add(1) > s.maxDetached {
		s.detached.Add(-1)
		st.abandon()
		return true
	}
	st.life.left, st.told = true, true
	st.record(s.now(), splice.ClientGone)
	if st.life.audience.clientLeft() {
		st.forsaken()
	}
	return false
}

// forsaken gives clients time to come back, to this process or another.
func (st *held) forsaken() { st.waitFor(st.life.spared) }

func (st *held) waitFor(d time.Duration) {
	st.life.audience.waitFor(d, func() {
		defer st.contain()
		elsewhere := st.srv.store.attended(st.ctx, st.lease)
		st.gate.lock()
		defer st.gate.unlock()
		switch {
		case st.ended || !st.life.audience.empty():
		case elsewhere:
			st.waitFor(sessionstore.ReaderLife)
		default:
			st.srv.log.Debug("nobody came back to a stream", zap.Stringer("stream", st.id), zap.String("policy", st.policy.Name))
			st.perform(st.srv.now(), splice.Gone{})
		}
	})
}

// unheard says whether there is no client to write so many bytes to: the log has them,
// for who comes back. A stream that another process has taken over has nobody at all,
// and ends.
func (st *held) unheard(bytes int) bool {
	if st.life == nil || !st.gone() {
		return false
	}
	switch r := st.rec; {
	case !st.life.left:
	case r == nil || !r.keeps:
		st.life.cancel()
	default:
		limits := st.policy.Replay
		st.life.audience.wait(st.life, sending{seq: r.seq, bytes: bytes},
			&logLimits{events: uint64(limits.Events) / 2, bytes: limits.Bytes / 2})
	}
	return true
}

// join keeps the stream running for a reader; false: it is over.
func (st *held) join(rd *reader) bool { return st.life == nil || st.life.audience.join(rd) }

// given takes note of what a reader has.
func (st *held) given(rd *reader) {
	if st.life != nil {
		st.life.audience.given(rd, rd.at.Seq)
	}
}

// part is for a reader that leaves.
func (st *held) part(rd *reader) {
	if st.life != nil && st.life.audience.part(rd) {
		st.forsaken()
	}
}

// loosened ends what is left of a detached stream.
func (st *held) loosened() {
	if st.life != nil && st.life.audience.end() {
		st.srv.detached.Add(-1)
	}
	st.srv.producers.remove(st)
}
