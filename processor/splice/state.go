package splice

import "slices"

// State is what outlives one stream of a line: enough to recognise, when the
// client comes back, what it already has. The zero State knows nothing.
type State struct {
	Acked    string    // the client's own Last-Event-ID: the only real acknowledgement
	LastSent string    // id in force after the last block that was handed to Envoy
	Window   []uint64  // tracker entries, oldest first
	Key      [2]uint64 // key of the tracker's hash; zero: none chosen yet
	Epoch    uint32    // restarts of the origin's ids seen so far
	Trust    Trust

	Events, Duplicates uint64 // totals over all streams of the line
}

// State returns a copy of what is to be kept of the stream.
func (m *Machine) State() State {
	var s State
	m.AppendState(&s)
	return s
}

// AppendState is State into s, whose Window is used again if it is large
// enough. Unless the last event ID has changed, nothing else allocates.
func (m *Machine) AppendState(s *State) {
	s.Acked = m.acked
	if s.LastSent != string(m.cursor.id) {
		s.LastSent = string(m.cursor.id)
	}
	s.Window = m.window.appendTo(s.Window[:0])
	if m.ackedAgain {
		// Is it the event that the client has, or a new one under its id? If there
		// is no telling, the window must not claim to know its place: the client may
		// get nothing of this stream and return with the same cursor, and would be
		// taken to have all that came before.
		acked := m.nameOf([]byte(m.acked))
		s.Window = slices.DeleteFunc(s.Window, func(e uint64) bool { return (e^acked)&m.window.key == 0 })
	}
	s.Key = m.key
	s.Epoch = m.epoch
	s.Trust = m.trust.verdict
	s.Events = m.earlier.events + m.counts.Events
	s.Duplicates = m.earlier.duplicates + m.counts.Duplicates
}
