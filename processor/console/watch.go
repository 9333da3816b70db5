package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
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
	Total   int           `json:"total"`             // of all streams that run; those followed may be fewer
	Matched *int          `json:"matched,omitempty"` // of the view, whatever its limit
	Streams []live.Stream `json:"streams"`
}

// changes is every other message about streams: what is new since the one
// before. A stream that is in neither list is as it was.
type changes struct {
	Time    time.Time     `json:"time"`
	Total   int           `json:"total"`
	Matched *int          `json:"matched,omitempty"`
	Changed []live.Stream `json:"changed"`         // new ones too
	Gone    []string      `json:"gone"`            // IDs; of a view, also what is out of sight
	Order   []string      `json:"order,omitempty"` // IDs of the whole view, if it is sorted and the order is new
}

// past is a message with points of the history: first all, then those that came
// after.
type past struct {
	Step   float64 `json:"step"` // seconds
	Length int     `json:"length"`
	Points []point `json:"points"`
}

// watch sends a snapshot event, and then, each second in which something
// changed, a changes event; with ?with=summary also the summary of everything,
// when it changed, and the history, a point at a time. A comment keeps silence
// from looking like a dead connection. The stream ends when Serve's context
// does; an EventSource comes back a second later and begins with a new snapshot.
func (c *console) watch(w http.ResponseWriter, r *http.Request) {
	q, ok := parameters(w, r, append(viewParameters(), "with")...)
	if !ok {
		return
	}
	f, ok := c.followerOf(w, r, q)
	if !ok {
		return
	}
	select {
	case c.watchers <- struct{}{}:
		defer func() { c.camera.forget(); <-c.watchers }()
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
	f.begin()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for f.err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-stopping(r):
			return
		case <-tick.C:
		}
		// Asking every second, rather than being told, costs the streams nothing
		// while nobody watches.
		f.goOn()
	}
}

// follower is one client of the watch stream, and what it knows.
type follower struct {
	viewer

	c       *console
	r       *http.Request
	view    view
	matched *int          // of what was sent last
	known   []live.Stream // what the client has, as it is in its order
	summary []byte        // nil: it wants none
	pointed time.Time     // the last point of the history that it has
}

func (c *console) followerOf(w http.ResponseWriter, r *http.Request, q url.Values) (*follower, bool) {
	v, ok := viewOf(w, q, watchLimit, watchMost)
	if !ok {
		return nil, false
	}
	f := &follower{viewer: viewer{w: w}, c: c, r: r, view: v}
	switch with := q.Get("with"); with {
	case "":
	case "summary":
		f.summary = []byte{}
	default:
		fail(w, http.StatusBadRequest, "with is %q: write summary, or leave it out", shorten(with))
		return nil, false
	}
	return f, true
}

// look returns what is to be seen now.
func (f *follower) look() ([]live.Stream, *int) {
	if f.view.simple() {
		return f.c.matching(f.r, f.view.filter, 0, f.view.limit), nil
	}
	page, matched := f.view.of(f.c.camera.picture())
	return page, &matched
}

func (f *follower) begin() {
	f.known, f.matched = f.look()
	f.send("retry: 1000\nevent: snapshot\n", snapshot{now(), f.c.Streams.Len(), f.matched, f.known})
	if f.summary != nil {
		f.summarize()
		f.points(true)
	}
}

func (f *follower) goOn() {
	page, matched := f.look()
	sent := false
	d := difference(f.known, page, f.view.sort != nil)
	if d != nil || matched != nil && *matched != *f.matched {
		if d == nil {
			d = &changes{Changed: []live.Stream{}, Gone: []string{}}
		}
		d.Time, d.Total, d.Matched = now(), f.c.Streams.Len(), matched
		f.send("event: changes\n", d)
		sent = true
	}
	f.known, f.matched = page, matched
	if f.summary != nil {
		sent = f.summarize() || sent
		sent = f.points(false) || sent
	}
	if !sent {
		f.keepAlive()
	}
}

// summarize sends the summary if anything but the time is new in it.
func (f *follower) summarize() bool {
	s := f.c.summary(f.c.camera.picture())
	at := s.Time
	s.Time = time.Time{}
	body, err := json.Marshal(s)
	if err != nil || bytes.Equal(body, f.summary) {
		f.err = err
		return false
	}
	f.summary = body
	s.Time = at
	f.send("event: summary\n", s)
	return true
}

func (f *follower) points(first bool) bool {
	points := f.c.history.after(f.pointed)
	if len(points) == 0 && !first {
		return false
	}
	if len(points) > 0 {
		f.pointed = points[len(points)-1].Time
	}
	f.send("event: history\n", past{historyStep.Seconds(), historyLength, append([]point{}, points...)})
	return true
}

// difference says how to get from one list to the other. nil: they are the same.
func difference(before, after []live.Stream, sorted bool) *changes {
	d := &changes{Changed: []live.Stream{}, Gone: []string{}}
	was := make(map[string]*live.Stream, len(before))
	for i := range before {
		was[before[i].ID] = &before[i]
	}
	moved := len(before) != len(after)
	for i := range after {
		s := &after[i]
		if old, ok := was[s.ID]; !ok || *old != *s {
			d.Changed = append(d.Changed, *s)
		}
		delete(was, s.ID)
		moved = moved || before[i].ID != s.ID
	}
	for i := range before {
		if _, gone := was[before[i].ID]; gone {
			d.Gone = append(d.Gone, before[i].ID)
		}
	}
	if sorted && moved {
		d.Order = ids(after)
	}
	if len(d.Changed) == 0 && len(d.Gone) == 0 && len(d.Order) == 0 {
		return nil
	}
	return d
}

func ids(streams []live.Stream) []string {
	all := make([]string, len(streams))
	for i := range streams {
		all[i] = streams[i].ID
	}
	return slices.Clip(all)
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
