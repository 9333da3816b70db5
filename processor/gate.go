package processor

import (
	"context"
	"sync/atomic"
	"time"
)

// gate is a lock: whoever put the token in owns the stream. It is a channel and
// no mutex because waiting for it can be given up, and is held while a Send
// waits for a client that does not read.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) lock() { g <- struct{}{} }

// lockUnless is lock until ctx is done; it says whether it got the gate.
func (g gate) lockUnless(ctx context.Context) bool {
	select {
	case g <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g gate) unlock() { <-g }

// turn is a lock that is held while a store is asked. Waiting for it can be given
// up, as for a gate, but it costs no channel while nobody waits. The zero turn is
// ready for use.
type turn struct {
	holder atomic.Pointer[holder] // nil: it is free
}

// holder is whoever has the turn, with those who wait for its end.
type holder struct{ over chan struct{} }

// alone stands for a holder that nobody waits for.
var alone = new(holder) //nolint:gochecknoglobals // a constant

// take waits for the turn until ctx is done; it says whether it got it.
func (t *turn) take(ctx context.Context) bool {
	for {
		over := t.tryTake()
		if over == nil {
			return true
		}
		select {
		case <-over:
		case <-ctx.Done():
			return false
		}
	}
}

// tryTake takes the turn, or returns what to wait for.
func (t *turn) tryTake() (over <-chan struct{}) {
	for {
		h := t.holder.Load()
		switch h {
		case nil:
			if t.holder.CompareAndSwap(nil, alone) {
				return nil
			}
		case alone:
			waiting := &holder{make(chan struct{})}
			if t.holder.CompareAndSwap(alone, waiting) {
				return waiting.over
			}
		default:
			return h.over
		}
	}
}

func (t *turn) give() {
	if h := t.holder.Swap(nil); h != alone {
		close(h.over)
	}
}

// alarm is a stream's one timer. Deadlines mostly move later, with every event:
// the timer is then left alone, fires early, and is set for the deadline of that
// time. So a busy stream touches its timer once per interval, not once per event.
// It is used by the gate's holder only.
//
// Times are since the stream began, a third of a time.Time's size; there may be
// a hundred thousand idle streams.
type alarm struct {
	timer *time.Timer
	set   time.Duration // when it fires; 0: it does not
	want  time.Duration // the newest deadline; 0: none
}

// at asks for st to be woken at want or earlier, once; 0 asks for nothing.
func (a *alarm) at(now, want time.Duration, st *stream) {
	a.want = want
	if want == 0 || a.set != 0 && want >= a.set {
		return
	}
	a.set = want
	if a.timer == nil {
		a.timer = time.AfterFunc(want-now, st.wake)
		return
	}
	a.timer.Reset(want - now)
}

// fired is to be called when the stream was woken.
func (a *alarm) fired() { a.set = 0 }

// due says whether the newest deadline has passed.
func (a *alarm) due(now time.Duration) bool { return a.want != 0 && now >= a.want }

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	*a = alarm{timer: a.timer}
}
