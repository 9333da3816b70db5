package splice

import "time"

// Defaults of a Backoff.
const (
	DefaultBackoffBase = time.Second
	DefaultBackoffMax  = 30 * time.Second
	DefaultRetries     = 10
)

func (b *Backoff) base() time.Duration {
	if b.Base <= 0 {
		return DefaultBackoffBase
	}
	return b.Base
}

func (b *Backoff) max() time.Duration {
	if b.Max <= 0 {
		return max(DefaultBackoffMax, b.base())
	}
	return max(b.Max, b.base())
}

func (b *Backoff) jitter() float64 { return min(max(b.Jitter, 0), 1) }

// ceiling is the longest wait before jitter, so that none is longer than Max after it.
func (b *Backoff) ceiling() time.Duration {
	return time.Duration(float64(b.max()) / (1 + b.jitter()))
}

func (b *Backoff) retries() int {
	if b.Retries <= 0 {
		return DefaultRetries
	}
	return b.Retries
}

// backoffState says how long to wait before an attempt. Its randomness comes
// from a seed, so that equal Machines wait equally long, and different ones do
// not come back all at once to an origin that restarts.
type backoffState struct {
	policy *Backoff
	random uint64
	hint   time.Duration // the stream's own retry field; zero: none
}

// hinted takes in a retry field:
//
// "If the field value consists of only ASCII digits, then interpret the field
// value as an integer in base ten, and set the event stream's reconnection time
// to that integer."
// (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation)
//
// It is a wish of the origin, and the longest wait is the operator's decision.
func (b *backoffState) hinted(d time.Duration) { b.hint = min(d, b.policy.ceiling()) }

// wait returns how long to wait after so many attempts in a row without
// progress. After none it is nothing at all.
func (b *backoffState) wait(tries int32) time.Duration {
	if tries == 0 {
		return 0
	}
	d := b.policy.max()
	if shift := tries - 1; shift < 32 && b.policy.base() <= d>>shift {
		d = b.policy.base() << shift
	}
	d = min(d, b.policy.ceiling())
	return d + time.Duration(b.policy.jitter()*float64(d)*(2*b.next()-1))
}

// later adds jitter to a time that the server asked for, which is never undercut.
func (b *backoffState) later(d time.Duration) time.Duration {
	return d + time.Duration(b.policy.jitter()*float64(min(d, b.policy.max()))*b.next())
}

// next returns a number in [0, 1) (SplitMix64).
func (b *backoffState) next() float64 {
	b.random += 0x9e3779b97f4a7c15
	z := b.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// RetryHint returns the origin's last wish for how long a client should wait before it
// comes back, as far as the policy follows it; zero if there was none.
func (m *Machine) RetryHint() time.Duration { return m.resume.backoff.hint }
