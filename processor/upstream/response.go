package upstream

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// Response is an answer of which the header has arrived. It has to be closed. It
// may be read by one goroutine at a time; Close may be called from any.
type Response struct {
	Status int
	Header http.Header // canonical names, hop-by-hop fields left out; the caller's to change
	Length int64       // of the body as announced; -1: unknown

	ctx     context.Context
	cancel  context.CancelCauseFunc
	res     *http.Response
	d       *Dialer
	conn    *conn
	uploads bool        // the request's body streams, and may outlast the response
	over    atomic.Bool // the other side has ended the stream, in whatever way
	closed  atomic.Bool
}

// Read reads from the body. At its end the error is io.EOF, unwrapped; any other
// is a *LocalError or a *PeerError and says that the body is incomplete.
func (r *Response) Read(p []byte) (int, error) {
	n, err := r.res.Body.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		r.over.Store(true)
		return n, io.EOF
	}
	if local := localError(r.ctx); local != nil {
		return n, local
	}
	r.over.Store(true)
	return n, peerError(Reset, err)
}

// Wait blocks until a Read would have something to return, and returns the error
// that it would return if the body is over. It is for streams that are silent
// most of the time: whoever waits needs no buffer. It may return early, so Read
// may block after it nevertheless.
func (r *Response) Wait() error {
	// An empty read waits for data as any other, and takes none of it. That is
	// so in today's transport and not promised, so no one relies on it.
	_, err := r.Read(nil)
	return err
}

// Trailer returns the trailers, which are there when Read has returned io.EOF;
// nil if there are none.
func (r *Response) Trailer() http.Header {
	if len(r.res.Trailer) == 0 {
		return nil
	}
	return r.res.Trailer
}

// Close ends the fetch at once if it is not over yet (the other side sees
// RST_STREAM with CANCEL) and makes a Read that is under way return. It always
// returns nil, also the second time.
func (r *Response) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.cancel(errBodyClosed)
	// Gives the window of what was not read back to the connection.
	_ = r.res.Body.Close()
	if r.uploads || !r.over.Load() {
		r.d.pool.reset(r.conn)
	}
	r.d.live.Add(-1)
	return nil
}
