package splice

import (
	"fmt"
	"time"
)

// Limits and defaults of a Policy.
const (
	DefaultWindow     = 1000
	MaxWindow         = 1<<15 - 1 // slot numbers of the tracker are 16 bits, one more than half of them in use
	DefaultEventBytes = 1 << 20
	DefaultSaveEvery  = 100 * time.Millisecond
)

// Policy is how to treat streams: compiled, immutable, shared by many Machines.
// Make it with Compile; a Policy literal works too, but is then compiled anew
// for every Machine.
type Policy struct {
	Observe    bool          // forward every byte as it came, only watch
	Dedup      Dedup         // zero: DedupOverlap
	Window     int           // tracked events for dedup; zero: 1000; at most 32767
	EventBytes int           // a larger event streams through undivided; zero: 1 MiB
	Heartbeat  time.Duration // silence after which a comment is sent; zero: none
	SaveEvery  time.Duration // least time between two Ready.Save of a stream; zero: 100 ms; negative: no limit
	Complete   []Completion  // any of these marks the stream complete; empty: any clean end does

	compiled bool
	markers  []marker // Complete, ready for matching
}

// Compile checks p and returns the form that Machines share: defaults filled in
// and completion markers compiled. The error names the field and what it may be.
func (p Policy) Compile() (*Policy, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	return p.compile(), nil
}

func (p Policy) validate() error {
	switch {
	case p.Dedup > DedupOff:
		return fmt.Errorf("dedup: unknown value %d", p.Dedup)
	case p.Window < 0 || p.Window > MaxWindow:
		return fmt.Errorf("window: %d tracked events; must be 1 to %d, or 0 for the default of %d", p.Window, MaxWindow, DefaultWindow)
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

// compile never fails, so that New never does: what validate would refuse is
// brought into range, and an invalid marker matches nothing.
func (p Policy) compile() *Policy {
	if p.Window <= 0 {
		p.Window = DefaultWindow
	}
	p.Window = min(p.Window, MaxWindow)
	if p.EventBytes <= 0 {
		p.EventBytes = DefaultEventBytes
	}
	if p.SaveEvery == 0 {
		p.SaveEvery = DefaultSaveEvery
	}
	p.markers = nil
	for i := range p.Complete {
		if k, err := p.Complete[i].compile(); err == nil {
			p.markers = append(p.markers, k)
		}
	}
	p.compiled = true
	return &p
}

// byIDAlone reports whether events are told apart by their ids only. Observing
// never drops anything, so it takes the form that shows more: id and content.
func (p *Policy) byIDAlone() bool { return p.Dedup == DedupAlways && !p.Observe }

// drops reports whether any event may be dropped.
func (p *Policy) drops() bool { return !p.Observe && p.Dedup != DedupOff }
