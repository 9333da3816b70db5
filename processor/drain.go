package processor

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"holdfast/processor/live"
)

// DrainOptions say how much time there is.
type DrainOptions struct {
	Deadline time.Duration // from now until Drain returns, whatever is left then
	Spread   time.Duration // over which streams are told, so that not all clients return at once
}

// Drain ends the streams in good order, before the process goes away. Health
// turns to NOT_SERVING and new requests are left to Envoy at once. Each running
// stream is told at a random moment of the spread, and ends at its next event
// boundary if its client can come back, at the deadline otherwise.
//
// It returns nil when no stream is left, an error that says how many are when
// the deadline has passed, or ctx's. It is to be called once, and followed by
// grpc.Server.Stop: GracefulStop would wait for hour-long streams.
func (s *Server) Drain(ctx context.Context, o DrainOptions) error {
	s.open.draining.Store(true)
	s.health.Shutdown()
	by := s.now().Add(o.Deadline)
	spread := min(max(o.Spread, 0), o.Deadline)

	var told []*time.Timer
	defer func() {
		for _, t := range told {
			t.Stop()
		}
	}()
	s.live.Each(func(_ live.ID, source live.Source) {
		if st, ok := source.(interface{ drain(by time.Time) }); ok {
			told = append(told, time.AfterFunc(s.jitter(spread), func() { st.drain(by) }))
		}
	})

	// The streams' own deadline comes first, so that it is they who end.
	deadline := time.NewTimer(o.Deadline + drainGrace)
	defer deadline.Stop()
	for s.open.n.Load() > 0 {
		select {
		case <-s.open.none:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("processor: drain: %d requests were still open at the deadline", s.open.n.Load())
		}
	}
	return nil
}

// drainGrace is how long Envoy has, after the deadline, to take in the ends of
// the last streams.
const drainGrace = 500 * time.Millisecond

// A client that is sent away would come back after the time that its origin, or its
// maker, has thought of, which is the same for all. It is told a time of its own:
//
//	"If the field value consists of only ASCII digits, then interpret the field value
//	as an integer in base ten, and set the event stream's reconnection time to that
//	integer."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

// sentAway is how long a client waits, on average, whose origin has said nothing.
const sentAway = 2 * time.Second

// appendRetry appends the block that says when to come back: half of the usual time at
// the earliest, and as much more than it at the latest.
func (s *Server) appendRetry(dst []byte, usual time.Duration) []byte {
	if usual <= 0 {
		usual = sentAway
	}
	wait := usual/2 + s.jitter(usual)
	dst = strconv.AppendInt(append(dst, "retry: "...), wait.Milliseconds(), 10)
	return append(dst, "\n\n"...)
}

// retryHint is the origin's wish, if it has any.
func (st *stream) retryHint() (d time.Duration) {
	st.inspect(func(m machine) {
		if m, ok := m.(interface{ RetryHint() time.Duration }); ok {
			d = m.RetryHint()
		}
	})
	return d
}

// jitter is a random part of d.
func (s *Server) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(s.random() % uint64(d))
}

// openCount counts the requests that are being served, and says when there are
// none, to whom waits for that.
type openCount struct {
	n        atomic.Int64
	draining atomic.Bool
	none     chan struct{} // one slot
}

func (c *openCount) add() { c.n.Add(1) }

func (c *openCount) done() {
	if c.n.Add(-1) == 0 && c.draining.Load() {
		select {
		case c.none <- struct{}{}:
		default:
		}
	}
}
