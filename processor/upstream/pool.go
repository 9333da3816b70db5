package upstream

import (
	"context"
	"fmt"
	"net/http"
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
// decide. And it tells a connection that cannot be made from a request that
// failed.
type pool struct {
	open   func(context.Context) (*http.ClientConn, error)
	within time.Duration // bound of one dial
	spread int           // streams on each connection before there is another one
	want   int           // connections to spread over

	ctx  context.Context // of all dials; ends with the pool
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	conns  []*http.ClientConn // open; some may take no more streams
	under  *dialing           // the dial that is under way, or nil
	dials  uint64
	closed bool
}

// maxConns bounds the connections where the listener allows few streams on each.
const maxConns = 256

// dialing is one attempt at a connection, for all that wait for it.
type dialing struct {
	done chan struct{} // closed at the end; then the rest is set
	conn *http.ClientConn
	err  error
}

// take returns a connection on which one stream is reserved: exactly one
// RoundTrip has to follow.
func (p *pool) take(ctx context.Context) (*http.ClientConn, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, &LocalError{Cancelled, ErrClosed}
		}
		conn, load, usable := p.reserve()
		full := conn == nil && len(p.conns) >= maxConns
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

// reserve takes a stream on the connection that carries the fewest, and returns
// how many it carries now and how many connections could have been taken. mu is
// held.
func (p *pool) reserve() (best *http.ClientConn, load, usable int) {
	open := p.conns[:0]
	for _, c := range p.conns {
		if c.Err() != nil {
			continue // closed; one that only drains stays, so that Close finds it
		}
		open = append(open, c)
	}
	clear(p.conns[len(open):])
	p.conns = open
	for {
		best, load, usable = nil, 0, 0
		for _, c := range p.conns {
			if c.Available() <= 0 {
				continue
			}
			usable++
			if n := c.InFlight(); best == nil || n < load {
				best, load = c, n
			}
		}
		// Between the question and this the connection may have closed or been
		// told to go away: ask again, for then it is not available any more.
		if best == nil || best.Reserve() == nil {
			return best, load + 1, usable
		}
	}
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
		d.conn, d.err = p.open(ctx)
		p.mu.Lock()
		p.under = nil
		switch {
		case d.err != nil:
		case p.closed:
			d.err = ErrClosed
			_ = d.conn.Close()
		default:
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
