package console

import (
	"sync"
	"time"

	"holdfast/processor/live"
)

const (
	// maxPicture bounds the running streams that are looked at for a view. Paging
	// by ID has no such bound.
	maxPicture = 20_000
	// pictureFor is how long a picture serves everybody who asks: a little less
	// than the interval at which watchers do.
	pictureFor = watchInterval - 100*time.Millisecond
)

// picture is all streams at one moment. It is shared, and not changed any more.
type picture struct {
	at     time.Time
	live   []live.Stream // in the order of their IDs
	ended  []live.Stream // latest first
	hidden int           // running streams beyond maxPicture
}

// camera takes pictures, not more often than somebody can tell the difference.
type camera struct {
	streams Streams
	mu      sync.Mutex
	last    *picture
}

func (c *camera) picture() *picture {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := now()
	if c.last != nil && t.Sub(c.last.at) < pictureFor {
		return c.last
	}
	p := &picture{at: t, live: c.streams.Snapshot(0, maxPicture), ended: c.streams.Ended(t, live.MaxEnded)}
	p.hidden = max(0, c.streams.Len()-len(p.live))
	c.last = p
	return p
}

// forget gives the memory back when somebody stops watching.
func (c *camera) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = nil
}
