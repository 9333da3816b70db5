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
	timer  *time.Timer   // runs while nobody reads; the gate's holder's
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

// runLoose is run for a stream that may outlive its client: the handler waits, and
// another goroutine reads.
func (st *relayed) runLoose(res *upstream.Response) {
	st.srv.open.add()
	go func() {
		defer st.srv.open.done()
		defer st.life.cancel()
		st.attend(res, st.done)
	}()
	select {
	case <-st.done:
	case <-st.life.client.Done():
		st.clientLeft()
	}
}

// clientLeft lets the stream go on without its client, if it may.
func (st *relayed) clientLeft() {
	defer st.contain()
	st.gate.lock()
	defer st.gate.unlock()
	if st.ended {
		return
	}
	s := st.srv
	if st.rec == nil || !st.rec.keeps || st.body != nil && !st.body.whole.Load() || s.open.draining.Load() || st.ctx.Err() != nil {
		st.abandon()
		return
	}
	if s.detached.Add(1) > s.maxDetached {
		s.detached.Add(-1)
		st.abandon()
		return
	}
	st.left, st.told = true, true
	st.record(s.now(), splice.ClientGone)
	if st.readers == 0 {
		st.forsaken()
	}
}

// forsaken gives clients time to come back.
func (st *relayed) forsaken() {
	st.life.timer = time.AfterFunc(st.life.spared, func() {
		defer st.contain()
		st.gate.lock()
		defer st.gate.unlock()
		if !st.ended && st.readers == 0 {
			st.srv.log.Debug("nobody came back to a stream", zap.Stringer("stream", st.id), zap.String("policy", st.policy.Name))
			st.perform(st.srv.now(), splice.Gone{})
		}
	})
}

// join keeps the stream running for a reader; false: it is over.
func (st *relayed) join(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	if !st.gate.lockUnless(ctx) {
		return false // its other client does not read, and holds it up
	}
	defer st.gate.unlock()
	if st.ended {
		return false
	}
	st.readers++
	if st.life != nil && st.life.timer != nil {
		st.life.timer.Stop()
	}
	return true
}

// joinPatience is how long a reader waits for a stream that is being written to.
const joinPatience = time.Second

// part is for a reader that leaves.
func (st *relayed) part() {
	st.gate.lock()
	defer st.gate.unlock()
	st.readers--
	if !st.ended && st.readers == 0 && st.left {
		st.forsaken()
	}
}

// loosened ends what is left of a detached stream.
func (st *relayed) loosened() {
	if st.life != nil && st.life.timer != nil {
		st.life.timer.Stop()
	}
	if st.left {
		st.srv.detached.Add(-1)
	}
	st.srv.producers.remove(st)
}
