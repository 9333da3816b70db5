package splice

import (
	"time"

	"holdfast/processor/health"
)

// stallState knows when the upstream has been silent for too long. Nothing that
// we send to the client touches it.
type stallState struct {
	clocks  health.Clocks
	idle    time.Duration // as health.Options.IdleTimeout
	by      health.Clock  // which silence it was
	alarmed bool          // it was told, and goes on
	futile  bool          // the origin does not continue this stream, so do not ask again
}

// opened begins to watch an attempt.
func (s *stallState) opened(now time.Time) {
	if s == nil {
		return
	}
	if s.clocks == (health.Clocks{}) {
		s.clocks = health.StartClocks(now, health.Options{IdleTimeout: s.idle})
		return
	}
	s.clocks.Opened(now)
	s.alarmed = false
}

// chunkArrived takes in what came. Of events only those count as useful that
// move the cursor: on a stream that can be resumed, all others are what origins
// and proxies say to keep a connection open, or are worth as much.
func (s *stallState) chunkArrived(now time.Time, events, useful bool) {
	if s == nil {
		return
	}
	switch {
	case useful:
		s.clocks.Event(now, true, true)
	case events:
		s.clocks.Event(now, false, false)
	default:
		s.clocks.Heard(now)
	}
	if useful || s.by == health.Bytes {
		s.alarmed = false
	}
}

// due is when the upstream will have been silent for too long; zero: never.
func (s *stallState) due() time.Time {
	if s == nil || s.alarmed {
		return time.Time{}
	}
	return s.clocks.Deadline()
}

// stalled reports whether it has been.
func (s *stallState) stalled(now time.Time) bool {
	if s == nil || s.alarmed {
		return false
	}
	by, yes := s.clocks.Stalled(now)
	if yes {
		s.by = by
	}
	return yes
}

// cannotResume leaves it at the alarm.
func (s *stallState) cannotResume(now time.Time) {
	s.clocks.Opened(now)
	s.futile, s.alarmed = true, true
}

// upstreamSilent deals with a stall: where the stream can be continued by another
// attempt that one is asked for, and takes over once it is open. The silent one
// is kept until then, for silence is no proof of death. Where it cannot, the
// operator is told, once a silence.
func (m *Machine) upstreamSilent(now time.Time) {
	if _, ok := m.resumeFrom(); !ok || !m.delivered || m.stall.futile || m.drain.atBoundary() {
		m.stall.alarmed = true
		m.note(NoteStalled, m.stall.by.String())
		return
	}
	r := &m.resume
	// Silence is suspicious only after a failure, of an attempt that has not
	// sent a byte, and if no resume of this stream was ever proven.
	silent := !r.unsettled || r.silent || r.heard || r.proven
	r.before = r.tries
	m.failureSeen(now)
	r.silent, r.clean = silent, false
	m.dialLater(now, now, now) // the silence was the wait
}
