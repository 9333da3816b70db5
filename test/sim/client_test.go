package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/processor/config"
)

// visiting is one connection of a client, and what came of it.
type visiting struct {
	w      *world
	feed   *feed
	policy *config.PolicyConfig // the one that it began under
	visit  *visit
	name   string // for people: feed, client, visit
	number int
	who    string // its credential

	cursor    string // its Last-Event-ID, if hasCursor
	hasCursor bool
	from      int // where in the log that is

	seen seen

	began    time.Duration
	way      atomic.Pointer[string] // how the response came: relay, immediate, inline, plain
	status   int
	header   http.Header
	headAt   time.Duration
	reached  bool   // the end of the log
	stream   string // the processor's ID of it, where Envoy is told; empty: it is not known
	got      []byte
	arrivals []arrival
	end      finish
	overAt   time.Duration
	over     atomic.Bool
	err      error
}

// arrival is when how much was there.
type arrival struct {
	at   time.Duration
	size int
}

// finish is how a response ended for the client.
type finish string

const (
	ended   finish = "end"   // cleanly
	aborted finish = "abort" // the transfer was aborted
	left    finish = "left"  // the client left, as it had in mind
	stayed  finish = "stayed"
)

// own is 1 if it was the client's decision.
func (f finish) own() int {
	if f == left || f == stayed {
		return 1
	}
	return 0
}

func (v *visiting) isOver() bool { return v.over.Load() }

func (v *visiting) via() string {
	if p := v.way.Load(); p != nil {
		return *p
	}
	return ""
}

// path of a feed; those of its clients are the same.
func (f *feed) path() string {
	if f.Protocol == responses {
		return f.Policy.Match.PathPrefix + "v1/responses"
	}
	return f.Policy.Match.PathPrefix + "events"
}

// authority of all requests.
const authority = "example.test"

// attend makes a client's visits, one after the other.
func (w *world) attend(f *feed, number int, visits []visit) {
	who := fmt.Sprintf("%d.%d", w.feedNumber(f), number)
	// No two clients do anything in the same instant as each other, or as the
	// processor's clocks.
	if pause(w.ctx, time.Duration(1+10*w.feedNumber(f)+number)*137*time.Microsecond) != nil {
		return
	}
	cursor := ""
	var place clientPlace // if the feed is kept
	for i := range visits {
		v := &visiting{w: w, feed: f, visit: &visits[i], name: fmt.Sprintf("%s.%d", who, i), number: i, who: who}
		switch {
		case v.visit.Forgets:
		case f.Kept && place.cursor != "":
			v.cursor, v.hasCursor, v.from = place.cursor, true, place.from
		case !f.Kept && cursor != "":
			v.cursor, v.hasCursor = cursor, true
			for j, e := range f.Log.Entries {
				if e.ID == cursor {
					v.from = j + 1
				}
			}
		}
		if pause(w.ctx, v.visit.Pause) != nil {
			return
		}
		w.add(v)
		v.go_()
		place = v.keepPlace(place)
		if id, ok := lastID(v.heard()); ok {
			cursor = id
		} else if v.visit.Forgets {
			cursor = ""
		}
	}
}

// go_ is the visit.
func (v *visiting) go_() {
	ctx, leave := context.WithCancel(v.w.ctx)
	defer leave()
	v.began, v.policy = v.w.now(), v.w.policy(v.feed)
	v.w.note(v.name, "%s, cursor %q", v.method(), v.cursor)
	var mine atomic.Bool // it was the client's own plan to leave
	stay := v.w.horizon(v)
	if v.visit.LeaveIn > 0 && v.visit.LeaveIn < stay {
		stay = v.visit.LeaveIn
		mine.Store(true)
	}
	timer := time.AfterFunc(stay, leave)
	defer timer.Stop()
	res, err := v.w.envoy.ask(ctx, v)
	if err != nil {
		v.err, v.end = err, aborted
	} else {
		v.status, v.header, v.headAt = res.status, res.header, v.w.now()
		v.w.note(v.name, "status %d %s, by %s", res.status, res.header.Get("Content-Type"), v.via())
		v.read(ctx, res.body, leave, &mine)
	}
	if ctx.Err() != nil {
		v.end = stayed
		if mine.Load() {
			v.end = left
		}
	}
	leave()
	v.overAt = v.w.now()
	v.over.Store(true)
	v.w.note(v.name, "%s with %d bytes (%v)", v.end, len(v.got), v.err)
}

// read takes the body in as the client's plan has it.
func (v *visiting) read(ctx context.Context, body io.Reader, leave func(), mine *atomic.Bool) {
	size := 32 << 10
	if v.visit.Read > 0 {
		size = v.visit.Read
	}
	buf, stopped := make([]byte, size), v.visit.StopFor == 0
	for {
		n, err := body.Read(buf)
		if ctx.Err() != nil {
			return
		}
		if n > 0 {
			v.got = append(v.got, buf[:n]...)
			v.arrivals = append(v.arrivals, arrival{v.w.now(), len(v.got)})
			v.w.noteBytes(v)
		}
		switch {
		case errors.Is(err, io.EOF):
			v.end = ended
			return
		case err != nil:
			v.end, v.err = aborted, err
			return
		case v.visit.LeaveAt > 0 && len(v.got) >= v.visit.LeaveAt:
			mine.Store(true)
			leave()
			return
		case !stopped && len(v.got) >= v.visit.StopAt:
			stopped = true
			_ = pause(ctx, v.visit.StopFor)
		}
		_ = pause(ctx, v.visit.Every)
	}
}

// heartbeat is the comment that the processor puts into silences.
const heartbeat = ": keep-alive\n\n"

// sentAway is what a client gets last that a drain sends away.
var sentAway = regexp.MustCompile(`retry: \d+\n\n$`)

// heard is what the client got of the origin's.
func (v *visiting) heard() string {
	s := strings.ReplaceAll(string(v.got), heartbeat, "")
	switch {
	case v.end == ended && v.w.drained() != 0:
		return sentAway.ReplaceAllString(s, "") // it is told when to come back
	case v.end == ended:
		return s
	}
	for n := len(heartbeat) - 1; n > 0; n-- { // it may have left in the middle of one
		if part := heartbeat[:n]; strings.HasSuffix(s, part) {
			return strings.TrimSuffix(s, part)
		}
	}
	return s
}
