package processor

import (
	"context"
	"time"
)

// pace is a token bucket: it says how long to wait before bytes may be sent, such
// that no more than rate of them go out in a second, and burst at once. More than
// burst at a time waits for all of it. The time is passed in.
type pace struct {
	rate, burst float32 // bytes; a rate of 0 or less lets everything through
	level       float64 // what may be sent now; negative while a large piece is paid off
	at          time.Time
}

func newPace(rate, burst int) pace {
	return pace{rate: float32(rate), burst: float32(burst), level: float64(burst)}
}

// take returns how long to wait before the next n bytes, which are then sent.
func (p *pace) take(now time.Time, n int) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	if !p.at.IsZero() {
		p.level = min(float64(p.burst), p.level+float64(p.rate)*now.Sub(p.at).Seconds())
	}
	p.at = now
	p.level -= float64(n)
	if p.level >= 0 {
		return 0
	}
	return time.Duration(-p.level / float64(p.rate) * float64(time.Second))
}

// wait takes for n bytes and waits, or returns ctx's error.
func (p *pace) wait(ctx context.Context, now time.Time, n int) error {
	d := p.take(now, n)
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
