package sim

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// faulty is a store in memory of which some calls are slow, or fail.
type faulty struct {
	*memory.Store

	faults storeFaults
	dead   *atomic.Bool // nothing is done any more
	calls  atomic.Int64
	struck atomic.Bool // one has gone wrong
}

var errStore = errors.New("the store is away")

// call is what happens before the call itself.
func (f *faulty) call(ctx context.Context) error {
	if f.dead.Load() {
		return errStore
	}
	n := int(f.calls.Add(1)) - 1
	if n < f.faults.From || n >= f.faults.To {
		return nil
	}
	f.struck.Store(true)
	if err := pause(ctx, f.faults.Slow); err != nil {
		return err
	}
	if f.faults.Fail {
		return errStore
	}
	return nil
}

// Claim implements sessionstore.Store.
func (f *faulty) Claim(ctx context.Context, k sessionstore.Key) (sessionstore.Lease, []sessionstore.Stream, error) {
	if err := f.call(ctx); err != nil {
		return sessionstore.Lease{}, nil, err
	}
	return f.Store.Claim(ctx, k)
}

// Save implements sessionstore.Store.
func (f *faulty) Save(ctx context.Context, l sessionstore.Lease, s *sessionstore.State) error {
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Store.Save(ctx, l, s)
}

// Release implements sessionstore.Store.
func (f *faulty) Release(ctx context.Context, l sessionstore.Lease) error {
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Store.Release(ctx, l)
}

// Append implements sessionstore.Log.
func (f *faulty) Append(ctx context.Context, l sessionstore.Lease, now time.Time, recs []sessionstore.Record) error {
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Store.Append(ctx, l, now, recs)
}

// Finish implements sessionstore.Log.
func (f *faulty) Finish(ctx context.Context, l sessionstore.Lease, end sessionstore.End) error {
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Store.Finish(ctx, l, end)
}

// pause lets time pass, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
