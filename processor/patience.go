package processor

import (
	"context"
	"sync"
	"time"
)

// patience is a context with a deadline that costs nothing until somebody waits
// on it. context.WithTimeout makes a timer and an entry in its parent at once,
// some 600 bytes that outlive the call, for stores that mostly do not wait.
type patience struct {
	context.Context // for its values, and its end

	deadline time.Time

	mu     sync.Mutex
	timed  context.Context // nil: nobody has waited yet
	cancel context.CancelFunc
}

var _ context.Context = (*patience)(nil)

func newPatience(ctx context.Context, d time.Duration) *patience {
	return &patience{Context: ctx, deadline: time.Now().Add(d)}
}

// renew makes it good for another call. Nobody is to wait on it meanwhile.
func (p *patience) renew(ctx context.Context, deadline time.Time) {
	p.Context, p.deadline, p.timed, p.cancel = ctx, deadline, nil, nil
}

// Deadline implements context.Context.
func (p *patience) Deadline() (time.Time, bool) { return p.watched().Deadline() }

// Done implements context.Context.
func (p *patience) Done() <-chan struct{} { return p.watched().Done() }

// Err implements context.Context.
func (p *patience) Err() error { return p.watched().Err() }

func (p *patience) watched() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timed == nil {
		p.timed, p.cancel = context.WithDeadline(p.Context, p.deadline)
	}
	return p.timed
}

// over ends whatever waits still. The context is not to be used after it.
func (p *patience) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}
