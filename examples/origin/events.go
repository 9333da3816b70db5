package main

import (
	"context"
	"net/http"
	"time"
)

// events serves one response of the feed: from the client's cursor, or a little
// before it, to the end or to where this origin fails.
func (o *origin) events(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f, err := o.feed.with(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := query.Get("client")
	c, err := o.update(name, func(c *client) { c.Connections++ })
	if err != nil {
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}

	has := f.ids.position(r.Header.Get("Last-Event-ID"))
	if f.ids != monotonic && f.ids != uuid {
		// Such ids are no cursor. A server that uses them goes on from what it has
		// sent, and what was lost on the way is lost.
		has = c.Newest
	}
	if has >= f.events {
		// The standard's way to say that a client need not come back:
		// https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model
		w.WriteHeader(http.StatusNoContent)
		return
	}
	// Over-replay is the failure that this server exists for: real ones count in
	// batches, seconds or buffers, and send a little too much rather than too little.
	first := has + 1
	if has > 0 {
		first = max(1, first-f.overReplay)
	}

	out := newStream(w, f.crlf)
	if f.retry > 0 && out.retry(f.retry) != nil {
		return
	}
	pace := newPace(r.Context(), f.rate)
	failures := f.failures()
	for n := first; n <= f.events; n++ {
		isNew := n > has
		if isNew && !pace.wait() { // repeats come at once, as from a buffer
			return
		}
		if out.event(f.ids.id(n, n-first+1), f.data(n)) != nil {
			return
		}
		_, _ = o.update(name, func(c *client) {
			c.Events++
			if n <= c.Newest {
				c.Repeats++
			}
			c.Newest = max(c.Newest, n)
		})
		if f.comments > 0 && n%f.comments == 0 && out.comment("still here") != nil {
			return
		}
		if !isNew || n == f.events {
			continue
		}
		for _, failure := range failures {
			if failure.every > 0 && (n-has)%failure.every == 0 {
				failure.happen(r.Context())
				return
			}
		}
	}
}

// failure is a way in which a response stops before its time.
type failure struct {
	every  int                   // new events of a response before it happens; 0: never
	happen func(context.Context) // the response is over when it returns
}

func (f feed) failures() []failure {
	return []failure{
		{every: f.endEvery, happen: func(context.Context) {}}, // a clean end, as a server's time limit makes it
	}
}

// pace lets events out at an even rate.
type pace struct {
	ctx   context.Context
	every time.Duration
	next  time.Time
}

// newPace lets the first event out at once; rate 0 lets all of them.
func newPace(ctx context.Context, rate float64) *pace {
	p := &pace{ctx: ctx, next: time.Now()}
	if rate > 0 {
		p.every = time.Duration(float64(time.Second) / rate)
	}
	return p
}

// wait until the next event is due; false: the client or the origin is leaving.
func (p *pace) wait() bool {
	if p.every > 0 {
		t := time.NewTimer(time.Until(p.next))
		defer t.Stop()
		p.next = p.next.Add(p.every)
		select {
		case <-t.C:
		case <-p.ctx.Done():
		}
	}
	return p.ctx.Err() == nil
}
