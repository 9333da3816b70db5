package splice

import "time"

// saveState spaces out Ready.Save. A State is as large as its window, so saving
// it with every chunk would cost more than all other work on the chunk. What a
// crash loses for it is at most one interval of ids, and that shows only as
// repeats that are not recognised.
type saveState struct {
	every time.Duration
	dirty bool      // something worth keeping has changed since the last save
	next  time.Time // not before
}

func (s *saveState) changed() { s.dirty = true }

// take reports whether to save now. The first change is saved at once: from
// then on the session is known to others.
func (s *saveState) take(now time.Time) bool {
	if !s.dirty || now.Before(s.next) {
		return false
	}
	s.dirty = false
	s.next = now.Add(s.every)
	return true
}

// due is when an unsaved change has to be saved; zero: there is none.
func (s *saveState) due() time.Time {
	if !s.dirty {
		return time.Time{}
	}
	return s.next
}
