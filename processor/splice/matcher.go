package splice

import "holdfast/processor/sse"

// Matcher recognises events by the same rules as a Policy's completion markers,
// for those who look for other events than the last. It is not safe for
// concurrent use.
type Matcher struct{ state completionState }

// NewMatcher returns a Matcher that recognises an event if any of cs does. An
// invalid Completion matches nothing.
func NewMatcher(cs []Completion) *Matcher {
	p := Policy{Complete: cs}
	return &Matcher{completionState{markers: p.markers()}}
}

// Matches reports whether ev is one that is looked for.
func (m *Matcher) Matches(ev *sse.Event) bool {
	m.state.reached = false
	m.state.blockDispatched(ev)
	return m.state.reached
}
