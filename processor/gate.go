package processor

import (
	"context"
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

// alarm is a stream's one timer. Deadlines mostly move later, with every event:
// the timer is then left alone, fires early, and is set for the deadline of that
// time. So a busy stream touches its timer once per interval, not once per event.
// It is used by the gate's holder only.
type alarm struct {
	timer *time.Timer
	set   time.Time // when it fires; zero: it does not
	want  time.Time // the newest deadline; zero: none
}

// at asks for f to be called at want or earlier, once.
func (a *alarm) at(now, want time.Time, f func()) {
	a.want = want
	if want.IsZero() || !a.set.IsZero() && !want.Before(a.set) {
		return
	}
	a.set = want
	d := want.Sub(now)
	if a.timer == nil {
		a.timer = time.AfterFunc(d, f)
		return
	}
	a.timer.Reset(d)
}

// fired is to be called when f is.
func (a *alarm) fired() { a.set = time.Time{} }

// due says whether the newest deadline has passed.
func (a *alarm) due(now time.Time) bool { return !a.want.IsZero() && !now.Before(a.want) }

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	*a = alarm{timer: a.timer}
}
