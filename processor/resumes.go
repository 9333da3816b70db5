package processor

import (
	"context"
	"sync"
	"time"
)

// resuming bounds how many streams ask one upstream for their continuation at the
// same time. When a host with ten thousand streams dies, its successor gets them
// one handful after the other; each takes a millisecond when all is well. The
// zero value is ready for use.
type resuming struct {
	mu     sync.Mutex
	queues map[string]*queue // by upstream
}

type queue struct {
	slots chan struct{}
	users int // that hold a slot or wait; guarded by resuming.mu
}

const (
	// resumesAtOnce is how many requests may be waiting for their answers.
	resumesAtOnce = 64
	// resumeSpread is the time over which those that have to wait spread out, so
	// that they do not arrive in the order, and the step, in which they failed.
	resumeSpread = 50 * time.Millisecond
)

// enter waits for a slot; the returned function gives it back.
func (r *resuming) enter(ctx context.Context, upstream string, jitter func(time.Duration) time.Duration) (leave func(), err error) {
	q := r.join(upstream)
	leave = func() {
		<-q.slots
		r.part(upstream, q)
	}
	select {
	case q.slots <- struct{}{}:
		return leave, nil
	default:
	}
	pause := time.NewTimer(jitter(resumeSpread))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		r.part(upstream, q)
		return nil, ctx.Err()
	}
	select {
	case q.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		r.part(upstream, q)
		return nil, ctx.Err()
	}
}

func (r *resuming) join(upstream string) *queue {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[upstream]
	if q == nil {
		q = &queue{slots: make(chan struct{}, resumesAtOnce)}
		if r.queues == nil {
			r.queues = make(map[string]*queue)
		}
		r.queues[upstream] = q
	}
	q.users++
	return q
}

func (r *resuming) part(upstream string, q *queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(r.queues, upstream)
	}
}

// retry is a reason of envoy_retries_total: why Envoy is asked for a response
// again.
type retry uint8

const (
	retryStall    retry = iota // silence
	retryReset                 // the transfer was aborted
	retryEarlyEnd              // a clean end that may not be the end
	retryRefused               // no answer came
	retryStatus                // an answer that was no continuation, but may be followed by one

	// In upstream position: why another host is to be tried.

	retryFirstEvent // the policy's retry_when
	retryBadStatus  // 5xx
	retryNotStream  // something else, for a client that wants an event stream
	retrySilence    // no first event in time
	retryEjected    // by the health monitor
	retryReasons    // how many there are
)

func (r retry) String() string {
	return [...]string{
		"stall", "reset", "early_end", "no_answer", "status",
		"first_event", "bad_status", "not_event_stream", "silence", "ejected",
	}[r]
}
