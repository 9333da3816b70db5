package main

import (
	"context"
	"fmt"
	"time"
)

// compare runs both clients while the origin dies again and again, and collects
// what there is to know.
func (s *stage) compare(ctx context.Context, o options, scr *screen) (r result, err error) {
	ctx, cancel := context.WithCancel(ctx)
	// The same request but for the name.
	plain := subscribe(ctx, s.plain.url+"/events?client=plain", o)
	behind := subscribe(ctx, s.gatewayURL+"/events?client=holdfast", o)
	defer plain.wait()
	defer behind.wait()
	defer cancel() // before the waits: deferred calls run last in, first out

	show := func() { scr.progress(r.kills, o.kills, plain.tally(), behind.tally()) }
	for {
		// Both have got over the last kill, and read a little, before the next: so each
		// of them lives through each one.
		plainHas, behindHas := plain.tally().events+o.between, behind.tally().events+o.between
		err := s.until(ctx, show, plain, behind, func() bool {
			return plain.tally().events >= plainHas && behind.tally().events >= behindHas
		})
		if err != nil {
			return r, err
		}
		if r.kills == o.kills {
			break
		}
		if err := s.killOrigin(ctx); err != nil {
			return r, err
		}
		r.kills++
	}
	// While the stream runs there is something to see of it.
	if r.stream, err = lookUp(ctx, s.adminURL); err != nil {
		return r, err
	}
	r.events = max(plain.tally().newest, behind.tally().newest) + o.between
	plain.leaveAfter(r.events)
	behind.leaveAfter(r.events)
	err = s.until(ctx, show, plain, behind, func() bool { return plain.left() && behind.left() })
	r.plain, r.behind = plain.tally(), behind.tally()
	return r, err
}

// until waits for a condition, and fails if it does not come true in reasonable
// time, or if a client or a program ends without being asked to.
func (s *stage) until(ctx context.Context, show func(), plain, behind *subscription, met func() bool) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !met() {
		select {
		case <-tick.C:
			show()
		case <-plain.failed:
			return fmt.Errorf("the client behind plain Envoy: %w", plain.err)
		case <-behind.failed:
			return fmt.Errorf("the client behind Holdfast: %w", behind.err)
		case <-s.origin.exited:
			return s.origin.died()
		case <-s.plain.exited:
			return s.plain.died()
		case <-s.gateway.exited:
			return s.gateway.died()
		case <-late.C:
			return fmt.Errorf("nothing new for %v: through plain Envoy a client has %d events, through Holdfast %d",
				patience, plain.tally().events, behind.tally().events)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	show()
	return nil
}
