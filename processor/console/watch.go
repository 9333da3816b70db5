package console

import (
	"encoding/json"
	"net/http"
	"time"

	"holdfast/processor/live"
)

const (
	// maxWatchers bounds how many clients follow at once; each costs a look at
	// its streams every second.
	maxWatchers = 16
	// watchLimit is how many streams a client follows unless it says; watchMost
	// is how many it may ask for.
	watchLimit = 1000
	watchMost  = 10_000

	watchInterval  = time.Second
	watchKeepAlive = 15 * time.Second
	// watchWrite is how long one message may take before the client counts as gone.
	watchWrite = 10 * time.Second
)

// snapshot is the first message of the watch stream: everything.
type snapshot struct {
	Time    time.Time     `json:"time"`
	Total   int           `json:"total"` // of all streams; those followed may be fewer
	Streams []live.Stream `json:"streams"`
}

// changes is every other message: what is new since the one before. A stream
// that is in neither list is as it was.
type changes struct {
	Time    time.Time     `json:"time"`
	Total   int           `json:"total"`
	Changed []live.Stream `json:"changed"` // new ones too
	Gone    []string      `json:"gone"`    // IDs
}

// watch sends a snapshot event, and then, each second in which something
// changed, a changes event. A comment keeps silence from looking like a dead
// connection. The stream ends when Serve's context does; an EventSource comes
// back a second later and begins with a new snapshot.
func (c *console) watch(w http.ResponseWriter, r *http.Request) {
	q, ok := parameters(w, r, "limit", "policy", "mode")
	if !ok {
		return
	}
	limit, ok := limitOf(w, q, watchLimit, watchMost)
	if !ok {
		return
	}
	select {
	case c.watchers <- struct{}{}:
		defer func() { <-c.watchers }()
	default:
		fail(w, http.StatusServiceUnavailable, "%d clients watch already: close one of them", maxWatchers)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for a proxy in between
	if r.Method == http.MethodHead {
		return
	}
	v := &viewer{w: w}
	followed := c.matching(r, filterOf(q), 0, limit)
	v.send("retry: 1000\nevent: snapshot\n", snapshot{now(), c.Streams.Len(), followed})

	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for v.err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-stopping(r):
			return
		case <-tick.C:
		}
		// Asking every second, rather than being told, costs the streams nothing
		// while nobody watches.
		next := c.matching(r, filterOf(q), 0, limit)
		if d := difference(followed, next); d != nil {
			d.Time, d.Total = now(), c.Streams.Len()
			v.send("event: changes\n", d)
		} else {
			v.keepAlive()
		}
		followed = next
	}
}

// difference says how to get from one list to the other; both are in the order
// of IDs. nil: they are the same.
func difference(before, after []live.Stream) *changes {
	d := &changes{Changed: []live.Stream{}, Gone: []string{}}
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(before) == 0 || len(after) > 0 && after[0].ID < before[0].ID:
			d.Changed = append(d.Changed, after[0])
			after = after[1:]
		case len(after) == 0 || before[0].ID < after[0].ID:
			d.Gone = append(d.Gone, before[0].ID)
			before = before[1:]
		default:
			if before[0] != after[0] {
				d.Changed = append(d.Changed, after[0])
			}
			before, after = before[1:], after[1:]
		}
	}
	if len(d.Changed) == 0 && len(d.Gone) == 0 {
		return nil
	}
	return d
}

// viewer writes to one client of the watch stream.
type viewer struct {
	w    http.ResponseWriter
	last time.Time // of the last write
	err  error     // the client is gone
}

func (v *viewer) send(fields string, data any) {
	body, err := json.Marshal(data) // on one line, as a data field must be
	if err != nil {
		v.err = err
		return
	}
	v.write(append(append([]byte(fields+"data: "), body...), "\n\n"...))
}

func (v *viewer) keepAlive() {
	if now().Sub(v.last) >= watchKeepAlive {
		v.write([]byte(":\n"))
	}
}

func (v *viewer) write(p []byte) {
	setWriteDeadline(v.w, watchWrite)
	if _, v.err = v.w.Write(p); v.err == nil {
		v.err = http.NewResponseController(v.w).Flush()
	}
	v.last = now()
}
