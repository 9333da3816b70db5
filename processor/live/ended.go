package live

import (
	"sync"
	"time"
)

const (
	// MaxEnded is how many ended streams are remembered, and EndedFor for how long:
	// who is paged about a stream finds it over.
	MaxEnded = 1000
	EndedFor = 15 * time.Minute
)

// History is a stream with what happened to it.
type History struct {
	Stream
	Timeline []Moment `json:"timeline"` // oldest first
	Lost     int      `json:"lost"`     // moments before that, which are forgotten
}

// Teller is a Source that knows what happened to it.
type Teller interface {
	Source
	Moments() (all []Moment, lost int)
}

// ended are the streams that ended last.
type ended struct {
	mu   sync.Mutex
	ring []History
	next int
}

func (e *ended) add(h History) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) < MaxEnded {
		e.ring = append(e.ring, h)
		return
	}
	e.ring[e.next] = h
	e.next = (e.next + 1) % MaxEnded
}

// each calls f for what ended since, latest first, until it says false.
func (e *ended) each(since time.Time, f func(*History) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.ring {
		h := &e.ring[(e.next+len(e.ring)-1-i)%len(e.ring)]
		if !h.Ended.Before(since) && !f(h) {
			return
		}
	}
}

// Retire replaces a running stream by what it was when it ended.
func (r *Registry) Retire(id ID, last History) {
	r.Remove(id)
	r.ended.add(last)
}

// Ended returns streams that ended lately, the latest first; at most limit.
func (r *Registry) Ended(now time.Time, limit int) []Stream {
	var out []Stream
	r.ended.each(now.Add(-EndedFor), func(h *History) bool {
		if len(out) < limit {
			out = append(out, h.Stream)
		}
		return len(out) < limit
	})
	return out
}

// Find returns a stream that runs or ended lately.
func (r *Registry) Find(now time.Time, id ID) (h History, ok bool) {
	if s := r.Get(id); s != nil {
		h.Stream = s.Snapshot()
		if t, tells := s.(Teller); tells {
			h.Timeline, h.Lost = t.Moments()
		}
		return h, true
	}
	text := id.String()
	r.ended.each(now.Add(-EndedFor), func(e *History) bool {
		if ok = e.ID == text; ok {
			h = *e
		}
		return !ok
	})
	return h, ok
}
