package splice

import (
	"fmt"
	"time"
)

// Limits and defaults of a Policy.
const (
	DefaultWindow     = 1000
	MaxWindow         = 1<<15 - 1 // places in the tracker are 16-bit numbers
	DefaultEventBytes = 1 << 20
	DefaultSaveEvery  = 100 * time.Millisecond
)

// Policy is how to treat streams: immutable, shared by many Machines.
type Policy struct {
	Observe    bool          // forward every byte as it came, only watch
	Dedup      Dedup         // zero: DedupOverlap
	Window     int           // tracked events for dedup; zero: 1000; at most 32767
	EventBytes int           // a larger event streams through undivided; zero: 1 MiB
	Heartbeat  time.Duration // silence after which a comment is sent; zero: none
	SaveEvery  time.Duration // least time between two Ready.Save of a stream; zero: 100 ms; negative: none
	Complete   []Completion  // any of these marks the stream complete; empty: any clean end does
}

// Validate reports the first field that is out of range, and what it may be.
// A Machine never refuses a Policy: it brings such fields into range, and an
// invalid Completion matches nothing.
func (p *Policy) Validate() error {
	switch {
	case p.Dedup > DedupOff:
		return fmt.Errorf("dedup: unknown value %d", p.Dedup)
	case p.Window < 0 || p.Window > MaxWindow:
		return fmt.Errorf("window: %d tracked events; must be 1 to %d, or 0 for the default of %d",
			p.Window, MaxWindow, DefaultWindow)
	case p.EventBytes < 0:
		return fmt.Errorf("event bytes: %d; must not be negative (0 means %d)", p.EventBytes, DefaultEventBytes)
	case p.Heartbeat < 0:
		return fmt.Errorf("heartbeat: %v; must not be negative (0 means none)", p.Heartbeat)
	}
	for i := range p.Complete {
		if err := p.Complete[i].Validate(); err != nil {
			return fmt.Errorf("completion marker %d: %w", i+1, err)
		}
	}
	return nil
}

func (p *Policy) window() int {
	if p.Window <= 0 {
		return DefaultWindow
	}
	return min(p.Window, MaxWindow)
}

func (p *Policy) eventBytes() int {
	if p.EventBytes <= 0 {
		return DefaultEventBytes
	}
	return p.EventBytes
}

func (p *Policy) saveEvery() time.Duration {
	if p.SaveEvery == 0 {
		return DefaultSaveEvery
	}
	return p.SaveEvery
}

// heartbeat is none while observing: an observer adds nothing.
func (p *Policy) heartbeat() time.Duration {
	if p.Observe {
		return 0
	}
	return p.Heartbeat
}

// markers makes the completion markers ready for matching. It is done for every
// Machine: most policies have none, and a few small allocations do not show
// beside a request's own.
func (p *Policy) markers() []marker {
	var ms []marker
	for i := range p.Complete {
		if k, err := p.Complete[i].compile(); err == nil {
			ms = append(ms, k)
		}
	}
	return ms
}

// byIDAlone reports whether events are told apart by their ids only. Observing
// never drops anything, so it takes the form that shows more: id and content.
func (p *Policy) byIDAlone() bool { return p.Dedup == DedupAlways && !p.Observe }

// drops reports whether any event may be dropped.
func (p *Policy) drops() bool { return !p.Observe && p.Dedup != DedupOff }
