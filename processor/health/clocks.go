package health

import "time"

// Clock names one of the silences of a stream. Each later one is a finer sense:
// a new event is bytes too, but bytes need not be an event.
type Clock uint8

const (
	Bytes    Clock = iota // anything at all, comments and unfinished events included
	Events                // whole events, the origin's heartbeats included
	Useful                // events that are not heartbeats
	Cursor                // events after which a resume would begin later
	clockEnd              // number of Clocks
)

func (c Clock) String() string {
	names := [...]string{"bytes", "events", "useful", "cursor"}
	if int(c) >= len(names) {
		return "unknown"
	}
	return names[c]
}

const (
	// MaxBudget bounds how far an idle budget grows: to this many times
	// Options.IdleTimeout (8 minutes by default).
	MaxBudget = 16
	// Patience is how much longer a stream that still shows signs of life may
	// go without a useful event: this many times its budget.
	Patience = 4

	// longest keeps the products below what a Duration holds.
	longest = 365 * 24 * time.Hour
)

// Clocks watch the silences of one stream's upstream side. What we ourselves
// send to the client never touches them, so our heartbeats cannot hide an
// upstream that died; and the origin's heartbeats keep only the clock of bytes
// (comments) or events (pings), so they cannot hide one whose source has dried
// up behind a proxy that goes on saying hello.
//
// A stream is stalled when
//
//   - not a byte came for the budget, or
//   - bytes came, but no useful event for [Patience] times the budget.
//
// The cursor's clock never decides: a stream of events without ids is alive. It
// is there to be shown.
//
// The budget begins as Options.IdleTimeout. Silence is no proof of death, for
// reasoning models and notification streams are silent for minutes. So whoever
// resumes a stalled stream finds out, and tells by [Clocks.Needless] that
// nothing had been missed: the budget doubles, up to [MaxBudget] times. A useful
// event restores it.
//
// Clocks are a small value without a lock: they belong to whoever owns the
// stream. The zero value is not running; see [StartClocks]. Times that go back
// are taken for the latest time seen.
type Clocks struct {
	start time.Time
	last  [clockEnd]time.Duration // since start
	idle  time.Duration           // Options.Idle; 0: never stalled
	grown uint8                   // the budget is idle × 2^grown
}

// StartClocks returns Clocks for a stream that opened now.
func StartClocks(now time.Time, o Options) Clocks {
	return Clocks{start: now, idle: min(o.Idle(), longest)}
}

// Heard says that bytes came that were no whole event: part of one, or a comment.
func (c *Clocks) Heard(now time.Time) { c.set(now, Bytes) }

// Event says that an event came. useful: it is not a heartbeat of the origin.
// moved: the cursor is now another.
func (c *Clocks) Event(now time.Time, useful, moved bool) {
	through := Events
	if useful {
		through = Useful
		c.grown = 0
	}
	d := c.set(now, through)
	if moved {
		c.last[Cursor] = d
	}
}

// Opened says that a new attempt has taken over: every silence begins anew,
// except the cursor's, for a connection that opens is no progress. The budget
// stays as it is.
func (c *Clocks) Opened(now time.Time) { c.set(now, Useful) }

// Needless says that the resume which a stall led to has shown the upstream was
// fine: what came back was nothing that had been missed. The budget doubles.
func (c *Clocks) Needless() {
	if 1<<(c.grown+1) <= MaxBudget {
		c.grown++
	}
}

// set moves the clocks from Bytes to last to now, and returns that.
func (c *Clocks) set(now time.Time, last Clock) time.Duration {
	// Bytes is the latest of them all.
	d := max(now.Sub(c.start), c.last[Bytes])
	for k := Bytes; k <= last; k++ {
		c.last[k] = d
	}
	return d
}

// Budget returns the silence that is allowed at present; 0: any.
func (c *Clocks) Budget() time.Duration { return c.idle << c.grown }

// Silence returns how long the clock has been silent.
func (c *Clocks) Silence(now time.Time, k Clock) time.Duration {
	return max(now.Sub(c.start), c.last[Bytes]) - c.last[k]
}

// Deadline returns the moment at which the stream will be stalled if nothing
// comes; zero: never.
func (c *Clocks) Deadline() time.Time {
	if c.idle == 0 {
		return time.Time{}
	}
	budget := c.Budget()
	return c.start.Add(min(c.last[Bytes]+budget, c.last[Useful]+Patience*budget))
}

// Stalled reports whether the stream is stalled, and by which clock: Bytes if
// there is nothing at all, Events if only comments come, Useful if only
// heartbeats do.
func (c *Clocks) Stalled(now time.Time) (by Clock, stalled bool) {
	if c.idle == 0 {
		return 0, false
	}
	budget := c.Budget()
	switch {
	case c.Silence(now, Bytes) >= budget:
		return Bytes, true
	case c.Silence(now, Useful) < Patience*budget:
		return 0, false
	case c.Silence(now, Events) >= Patience*budget:
		return Events, true
	}
	return Useful, true
}
