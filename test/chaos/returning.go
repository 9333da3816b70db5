package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// viaInline is for streams that Envoy itself gets from the origin.
const viaInline = "inline"

// aloneHeader marks what passed through Envoy without anybody holding it.
const aloneHeader = "x-alone"

// kinds of origins, by the first part of a stream's path behind the way it is held.
const (
	kindExact   = "exact"   // goes on behind the client's cursor
	kindOverlap = "overlap" // begins some events before it, as far as Holdfast is there to see
	kindSealed  = "sealed"  // goes on behind it; the client sees ids of ours, and Envoy alone is refused
)

// groups are how streams are held, and by which kind of origin they are served. What
// inline streams get has passed through Envoy anyway, so that nobody can tell who else
// has seen it.
func (s *stage) groups() (all []string) {
	for _, via := range s.o.vias {
		all = append(all, via+"/"+kindExact, via+"/"+kindOverlap)
	}
	return append(all, viaInline+"/"+kindExact, "relay/"+kindSealed)
}

// overlapping is how many events an origin repeats, at most.
const overlapping = 20

// steadyOrigin serves streams, /VIA/KIND/NAME, and never dies.
type steadyOrigin struct{ o *options }

func (h *steadyOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	if len(parts) != 3 {
		http.NotFound(w, r)
		return
	}
	kind, name := parts[1], parts[2]
	alone := r.Header.Get(aloneHeader) != ""
	if alone {
		w.Header().Set(aloneHeader, "1")
		if kind == kindSealed {
			http.Error(w, "my ids are not for clients", http.StatusServiceUnavailable)
			return
		}
	}
	last := 0
	if id := r.Header.Get("last-event-id"); id != "" {
		var err error
		if last, err = strconv.Atoi(id); err != nil || last > h.o.events {
			http.Error(w, "not one of my ids", http.StatusBadRequest)
			return
		}
	}
	if last == h.o.events {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if kind == kindOverlap && !alone {
		last = max(last-1-rand.IntN(overlapping), 0)
	}
	w.Header().Set("content-type", "text/event-stream")
	rc := http.NewResponseController(w)
	pace := time.NewTicker(h.o.pace)
	defer pace.Stop()
	var b []byte
	for n := last + 1; n <= h.o.events; n++ {
		b = appendEvent(b[:0], name, n)
		if _, err := w.Write(b); err != nil || rc.Flush() != nil {
			return
		}
		if n <= last+overlapping {
			continue // what is repeated comes at once
		}
		select {
		case <-pace.C:
		case <-r.Context().Done():
			return
		}
	}
}

// retry is how long a client waits before it connects again, on average.
const retry = 30 * time.Millisecond

// stuckAfter is how long a client may be without an event.
const stuckAfter = 30 * time.Second

// play reads a stream to its end, over as many connections as it takes.
func (s *stage) play(ctx context.Context, client *http.Client, group, name string) {
	c := newComparer(name, s.o.events)
	c.sealed = strings.HasSuffix(group, "/"+kindSealed)
	why := ""
	for progress := time.Now(); c.next <= c.all; {
		if ctx.Err() != nil {
			return // it is over, and says nothing
		}
		if time.Since(progress) > stuckAfter {
			why = cmp.Or(why, "nothing") + "; nothing new came for " + stuckAfter.String()
			break
		}
		before := c.next
		err := s.connect(ctx, client, group, name, c)
		if c.next > before {
			progress = time.Now()
		}
		c.broken()
		if c.next <= c.all {
			s.tally.broke(group)
			why = err.Error()
			_ = sleep(ctx, time.Duration(rand.Int64N(int64(2*retry))))
			// Most clients take longer to come back than a processor does; some find Envoy
			// alone. One with an id of ours has nothing to say to anybody else.
			if c.sealed || rand.IntN(4) > 0 {
				s.awaitServing(ctx)
			}
		}
	}
	if c.next > c.all {
		why = ""
	}
	s.tally.finished(group, name, c, why)
}

// awaitServing waits until all processors serve.
func (s *stage) awaitServing(ctx context.Context) {
	select {
	case <-*s.up.Load():
	case <-ctx.Done():
	}
}

// connect reads one response to its end, whatever that is.
func (s *stage) connect(ctx context.Context, client *http.Client, group, name string, c *comparer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.envoy.url+"/"+group+"/"+name, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("accept", "text/event-stream")
	req.Header.Set("x-client", name)
	switch {
	case c.next == 1:
	case c.sealed:
		req.Header.Set("last-event-id", c.lastID)
	default:
		req.Header.Set("last-event-id", strconv.Itoa(c.next-1))
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	s.tally.answered(group, res.Header.Get(aloneHeader) != "")
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it was answered %s", res.Status)
	}
	buf := make([]byte, 32<<10)
	for last := time.Now(); ; {
		n, err := res.Body.Read(buf)
		if c.took(buf[:n]) > 0 {
			now := time.Now()
			s.tally.waited(group, now.Sub(last))
			last = now
		}
		switch {
		case err == io.EOF:
			return fmt.Errorf("it ended behind event %d", c.next-1)
		case err != nil:
			return fmt.Errorf("it broke off behind event %d: %w", c.next-1, err)
		}
	}
}
