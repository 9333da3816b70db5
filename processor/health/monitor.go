package health

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"
)

// Target names an upstream host.
type Target struct {
	Cluster string // Envoy's name of the cluster; may be empty
	Address string // "host:port", or what else Envoy calls it
}

// Outcome is how an attempt on a target went, as far as the target can be
// blamed or praised: that a client left says nothing and is not reported.
type Outcome uint8

const (
	Success   Outcome = iota // a good answer, or a new event on a stream
	Refused                  // no connection
	Reset                    // the transfer was aborted
	Timeout                  // no answer in time
	Stall                    // the stream fell silent and resuming it showed that it should not have
	BadStatus                // an answer that tells of the server's own failure (5xx)
	BadStart                 // a stream that begins with an error
)

func (o Outcome) String() string {
	names := [...]string{"success", "refused", "reset", "timeout", "stall", "bad_status", "bad_start"}
	if int(o) >= len(names) {
		return "unknown"
	}
	return names[o]
}

// State is the verdict on a target, in the words of a circuit breaker.
type State uint8

const (
	Closed   State = iota // in use
	Open                  // ejected
	HalfOpen              // the ejection is served: one attempt at a time shall show
)

func (s State) String() string {
	names := [...]string{"closed", "open", "half_open"}
	if int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Monitor keeps the verdicts on targets. It is safe for concurrent use. It is
// made by [NewMonitor], one for each policy, for a policy's options decide.
//
// The times given to its methods may come from several goroutines and so be
// slightly out of order; a Monitor never goes back in time for a target.
type Monitor struct {
	mu      sync.Mutex
	opts    Options
	targets map[Target]*list.Element // of *target
	recent  *list.List               // most recently reported first
}

// target is what is known of one.
//
//	closed ──(EjectAfter failures in a row)──▶ open
//	open ──(time)──▶ half-open
//	half-open ──(success)──▶ closed
//	half-open ──(failure)──▶ open, for longer
type target struct {
	name     Target
	ejected  bool // open or half-open; which one is a matter of time
	row      int  // failures in a row
	times    int  // ejections that are not forgiven; the factor of the next one
	until    time.Time
	probed   time.Time // when a half-open target was last tried; zero: not yet
	closed   time.Time // when the last ejection ended
	seen     time.Time // latest time heard of
	last     Outcome
	failed   Outcome // last failure, if any
	good     uint64
	bad      uint64
	ejection uint64 // ejections ever
}

// NewMonitor returns a Monitor that knows no target; one it does not know is
// Closed.
func NewMonitor(o Options) *Monitor {
	return &Monitor{opts: o, targets: make(map[Target]*list.Element), recent: list.New()}
}

// Configure replaces the options, from the next call on. What is known of
// targets stays, also how long present ejections last.
func (m *Monitor) Configure(o Options) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opts = o
	m.evict()
}

// Report tells how an attempt went, and returns the target's state after it and
// whether this report has ejected it.
//
// While a target is Open, reports about attempts that began earlier change
// nothing; when it is HalfOpen, the first report decides, whoever made it.
func (m *Monitor) Report(now time.Time, name Target, o Outcome) (state State, ejected bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.reach(name)
	now = t.advance(now)
	t.last = o
	if o == Success {
		t.good++
	} else {
		t.bad++
		t.failed = o
	}
	switch state := t.state(now); {
	case state == Open:
		return Open, false
	case o == Success:
		t.row = 0
		if state == HalfOpen {
			t.ejected, t.closed = false, now
		}
		return Closed, false
	case state == HalfOpen:
		m.eject(now, t)
		return Open, true
	}
	t.row++
	if after := m.opts.ejectAfter(); after == 0 || t.row < after {
		return Closed, false
	}
	m.eject(now, t)
	return Open, true
}

// eject begins an ejection. Each one in close succession is longer than the one
// before; each EjectFor that a target spent in use since the last forgives one.
func (m *Monitor) eject(now time.Time, t *target) {
	each := m.opts.ejectFor()
	if !t.ejected && t.times > 0 {
		t.times -= int(min(now.Sub(t.closed)/each, time.Duration(t.times)))
	}
	t.times = min(t.times+1, MaxEjections)
	t.ejected, t.row, t.probed = true, 0, time.Time{}
	t.until = now.Add(each * time.Duration(t.times))
	t.ejection++
}

// State returns the verdict on a target. It changes nothing.
func (m *Monitor) State(now time.Time, name Target) State {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.targets[name]
	if !ok {
		return Closed
	}
	t := of(e)
	return t.state(later(now, t.seen))
}

// Admit reports whether an attempt on the target may be made now:
//
//   - Closed: always.
//   - Open: no.
//   - HalfOpen: one attempt for each CheckInterval, the probe. Whoever is
//     admitted shall Report; a probe of which nothing is heard is repeated.
//
// Unless there is nobody else: where no other target of the cluster is in use,
// refusing helps no one, and a client is to be no worse off than without us. So
// then an ejected target is admitted too. (Envoy's max_ejection_percent is the
// same thought.)
func (m *Monitor) Admit(now time.Time, name Target) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.targets[name]
	if !ok {
		return true
	}
	t := of(e)
	now = t.advance(now)
	switch t.state(now) {
	case Closed:
		return true
	case HalfOpen:
		if t.probed.IsZero() || now.Sub(t.probed) >= m.opts.Interval() {
			t.probed = now
			return true
		}
	case Open:
	}
	return !m.hasOther(now, name)
}

// hasOther reports whether another target of the same cluster is in use, as far
// as is known: one not heard of for the longest ejection may be gone. It looks
// through all targets, but only when somebody asks for an ejected one.
func (m *Monitor) hasOther(now time.Time, name Target) bool {
	fresh := m.opts.ejectFor() * MaxEjections
	for e := m.recent.Front(); e != nil; e = e.Next() {
		t := of(e)
		if t.name.Cluster == name.Cluster && t.name != name && !t.ejected && now.Sub(t.seen) <= fresh {
			return true
		}
	}
	return false
}

// Status is what a Monitor knows of one target.
type Status struct {
	Target      Target
	State       State
	InARow      int       // failures since the last success
	Until       time.Time // end of the ejection; zero unless Open or HalfOpen
	Successes   uint64
	Failures    uint64
	Ejections   uint64
	Last        Outcome
	LastFailure Outcome   // Success: none so far
	Seen        time.Time // when it was last heard of
}

// Snapshot returns all targets by cluster and address.
func (m *Monitor) Snapshot(now time.Time) []Status {
	m.mu.Lock()
	all := make([]Status, 0, len(m.targets))
	for e := m.recent.Front(); e != nil; e = e.Next() {
		t := of(e)
		s := Status{
			Target: t.name, State: t.state(later(now, t.seen)), InARow: t.row,
			Successes: t.good, Failures: t.bad, Ejections: t.ejection,
			Last: t.last, LastFailure: t.failed, Seen: t.seen,
		}
		if s.State != Closed {
			s.Until = t.until
		}
		all = append(all, s)
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Target.Cluster, b.Target.Cluster), cmp.Compare(a.Target.Address, b.Target.Address))
	})
	return all
}

// reach finds or makes a target and moves it to the front.
func (m *Monitor) reach(name Target) *target {
	if e, ok := m.targets[name]; ok {
		m.recent.MoveToFront(e)
		return of(e)
	}
	t := &target{name: name}
	m.targets[name] = m.recent.PushFront(t)
	m.evict()
	return t
}

func (m *Monitor) evict() {
	for len(m.targets) > m.opts.targets() {
		e := m.recent.Back()
		delete(m.targets, of(e).name)
		m.recent.Remove(e)
	}
}

func of(e *list.Element) *target {
	t, _ := e.Value.(*target) // the list holds nothing else
	return t
}

// advance returns the time for t: not before the latest it has seen.
func (t *target) advance(now time.Time) time.Time {
	t.seen = later(now, t.seen)
	return t.seen
}

func (t *target) state(now time.Time) State {
	switch {
	case !t.ejected:
		return Closed
	case now.Before(t.until):
		return Open
	}
	return HalfOpen
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
