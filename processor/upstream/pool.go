package upstream

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// pool keeps the connections to the loopback listener.
//
// The transport has a pool of its own; this one is here for four things that one
// does not do. It makes one connection at a time, where many streams that begin
// at once (after a restart of Envoy) would each make their own. It spreads
// streams over a few connections before the first is full, because a connection
// belongs to one of Envoy's worker threads and so does all that it carries. It
// never repeats a request that may have been processed, nor waits before it
// repeats one: what to do about a failure is for the stream's own machine to
// decide. It tells a connection that cannot be made from a request that failed.
// And it knows how many resets a connection bears (see resetBurst).
type pool struct {
	open   func(context.Context) (*http.ClientConn, error)
	now    func() time.Time
	within time.Duration // bound of one dial
	spread int           // streams on each connection before there is another one
	want   int           // connections to spread over

	ctx  context.Context // of all dials; ends with the pool
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	conns  []*conn  // open; some may take no more streams
	under  *dialing // the dial that is under way, or nil
	dials  uint64
	closed bool
}

// maxConns bounds the connections where the listener allows few streams on each. One
// that has borne all it can does not count: it is there for as long as its streams,
// and every new stream would be refused for its sake.
const maxConns = 256

// Each client that leaves is one RST_STREAM on the connection that carried its
// stream, and Envoy takes many of them for an attack ("rapid reset",
// CVE-2023-44487). It has two limits for a connection, and whoever goes beyond
// one loses the connection with all other streams on it:
//
//   - nghttp2 bears 1000 resets and 33 a second more, then it answers GOAWAY with
//     INTERNAL_ERROR. Envoy has no setting for that.
//     https://nghttp2.org/documentation/nghttp2_option_set_stream_reset_rate_limit.html
//   - Envoy itself bears 250 requests that were reset before their response, half
//     of the runtime key overload.premature_reset_total_stream_count.
//     https://www.envoyproxy.io/docs/envoy/v1.28.0/version_history/v1.24/v1.24.11
//
// So both are counted here in the same way, a little more strictly, and a
// connection takes a new stream only if all that it carries could be reset at
// once. That cannot go beyond a limit. Another connection takes over: until the
// count has recovered where it is the first, for good where it is the second.
const (
	resetBurst = 900
	resetRate  = 30 // a second
	earlyBurst = 240
)

// conn is a connection and what it still bears.
type conn struct {
	*http.ClientConn
	left    float64 // resets, at the time
	at      time.Time
	early   int // resets before the response
	waiting int // streams that have no response yet
}

// refill brings the count of resets up to date.
func (c *conn) refill(now time.Time) {
	if d := now.Sub(c.at); d > 0 {
		c.left = min(c.left+resetRate*d.Seconds(), resetBurst)
		c.at = now
	}
}

// bears reports whether one more stream, on top of n, could be reset with all
// the others.
func (c *conn) bears(n int) bool {
	return c.left >= float64(n+1) && c.early+c.waiting < earlyBurst
}

// worn reports whether it will never take another stream.
func (c *conn) worn() bool { return c.early >= earlyBurst }

// fresh counts the connections that may take streams, now or later. mu is held.
func (p *pool) fresh() (n int) {
	for _, c := range p.conns {
		if !c.worn() {
			n++
		}
	}
	return n
}

// dialing is one attempt at a connection, for all that wait for it.
type dialing struct {
	done chan struct{} // closed at the end; then the rest is set
	conn *conn
	err  error
}

// take returns a connection on which one stream is reserved: exactly one
// RoundTrip has to follow.
func (p *pool) take(ctx context.Context) (*conn, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, &LocalError{Cancelled, ErrClosed}
		}
		conn, load, usable := p.reserve()
		full := conn == nil && p.fresh() >= maxConns
		if !full && (conn == nil || load > p.spread && usable < p.want) {
			p.dial()
		}
		d := p.under
		p.mu.Unlock()
		switch {
		case conn != nil:
			return conn, nil
		case full:
			return nil, &PeerError{Cause: Refused, Unprocessed: true, Err: fmt.Errorf(
				"%d connections and no free stream: raise max_concurrent_streams of the listener", maxConns)}
		}
		select {
		case <-d.done:
		case <-ctx.Done():
			return nil, localError(ctx)
		}
		err := d.err
		if err == nil {
			err = d.conn.Err() // made, and gone before it could be used
		}
		if err != nil {
			return nil, &PeerError{Cause: Refused, Unprocessed: true, Err: err}
		}
	}
}

// reach returns when there is a connection, or says why there is none.
func (p *pool) reach(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return &LocalError{Cancelled, ErrClosed}
	}
	if slices.ContainsFunc(p.conns, func(c *conn) bool { return c.Err() == nil && c.Available() > 0 }) {
		p.mu.Unlock()
		return nil
	}
	p.dial()
	d := p.under
	p.mu.Unlock()
	var err error
	select {
	case <-d.done:
		err = d.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return &PeerError{Cause: Refused, Unprocessed: true, Err: err}
	}
	return nil
}

// reserve takes a stream on the connection that carries the fewest, and returns
// how many it carries now and how many connections could have been taken. mu is
// held.
func (p *pool) reserve() (best *conn, load, usable int) {
	now := p.now()
	p.conns = slices.DeleteFunc(p.conns, func(c *conn) bool {
		c.refill(now)
		if c.InFlight() == 0 && !c.bears(0) {
			_ = c.Close() // a fresh one is worth more
		}
		return c.Err() != nil // one that only drains stays, so that close finds it
	})
	for {
		best, load, usable = nil, 0, 0
		for _, c := range p.conns {
			n := c.InFlight()
			if c.Available() <= 0 || !c.bears(n) {
				continue
			}
			usable++
			if best == nil || n < load {
				best, load = c, n
			}
		}
		// Between the question and this the connection may have closed or been
		// told to go away: ask again, for then it is not available any more.
		if best == nil {
			return nil, 0, 0
		}
		if best.Reserve() == nil {
			best.waiting++
			return best, load + 1, usable
		}
	}
}

// answered says that a stream of take has its response, or never will: then early
// says whether it was we who reset it.
func (p *pool) answered(c *conn, early bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.waiting--
	if early {
		c.early++
		c.refill(p.now())
		c.left--
	}
}

// reset counts a stream with a response that we have ended before its end.
func (p *pool) reset(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.refill(p.now())
	c.left--
}

// dial begins a dial if none is under way. mu is held.
func (p *pool) dial() {
	if p.under != nil {
		return
	}
	d := &dialing{done: make(chan struct{})}
	p.under = d
	p.dials++
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, p.within)
		defer cancel()
		opened, err := p.open(ctx)
		p.mu.Lock()
		p.under = nil
		switch {
		case err != nil:
			d.err = err
		case p.closed:
			d.err = ErrClosed
			_ = opened.Close()
		default:
			d.conn = &conn{ClientConn: opened, left: resetBurst, at: p.now()}
			p.conns = append(p.conns, d.conn)
		}
		p.mu.Unlock()
		close(d.done)
	})
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	p.stop()
	for _, c := range conns {
		_ = c.Close()
	}
	p.wg.Wait()
}

// count returns the connections that are open and those ever begun.
func (p *pool) count() (open int, dials uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if c.Err() == nil {
			open++
		}
	}
	return open, p.dials
}
