package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"holdfast/processor/config"
)

// A feed that is kept is one whose clients come back to the processor's own log: with
// ids of ours, which name any event, or to a stream that was read on without them.

// drawKept draws such a feed.
func drawKept(t *rapid.T) feed {
	f := feed{Policy: drawPolicy(t), Method: http.MethodGet, Logged: true, Kept: true}
	p := &f.Policy
	p.Mode, p.Via, p.Resume, p.Dedup, p.Replay.Events = "hold", "relay", "auto", "overlap", 1000
	kinds := []idKind{dense, sparse, unordered}
	p.IDs = rapid.SampledFrom([]string{"sealed", "sealed", "origin"}).Draw(t, "ids")
	set := func(d time.Duration) { p.Detach = config.Duration(d) }
	if p.IDs == "sealed" {
		kinds = append(kinds, absent)
		set(rapid.SampledFrom([]time.Duration{0, 20 * time.Second, 5 * time.Minute}).Draw(t, "detach"))
	} else {
		set(rapid.SampledFrom([]time.Duration{20 * time.Second, 5 * time.Minute}).Draw(t, "detach"))
	}
	f.Log = drawJournal(t, p, kinds...)
	f.Log.Forgets = false
	for i := range f.Log.Entries {
		f.Log.Entries[i].unlike(i)
	}
	bad := one(t, 6, "bad origin")
	f.Visits = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) visit { return drawReturn(t, bad) }), 2, 4).Draw(t, "visits")
	return f
}

// drawReturn draws a visit of somebody who leaves in the middle and comes back.
func drawReturn(t *rapid.T, bad bool) visit {
	v := drawVisit(t, bad).honest()
	v.Pause += ms(t, rapid.SampledFrom([]int{0, 10_000, 60_000, 400_000}).Draw(t, "away up to"), "away")
	if v.LeaveAt == 0 && v.LeaveIn == 0 && one(t, 2, "leaves soon") {
		v.LeaveIn = ms(t, 30_000, "leaves in") + 517*time.Microsecond
	}
	if len(v.Attempts) > 0 {
		v.Attempts[0].Replay = 0 // what comes before a client's own cursor is not ours to know
	}
	return v
}

// unlike makes an event different from all others, for a client's place is known by what
// it has.
func (e *entry) unlike(i int) {
	switch {
	case e.Idle || strings.Contains(e.Text, marker):
	case strings.Contains(e.Text, "data: "):
		e.Text = strings.Replace(e.Text, "data: ", fmt.Sprintf("data: %d ", i), 1)
	default:
		e.Text = fmt.Sprintf("data: %d\n%s", i, e.Text)
	}
}

// asked is the Last-Event-ID that the origin has to get for the client's: the one that
// was in force there.
func (v *visiting) asked() (cursor string, has bool) {
	if v.policy.IDs != "sealed" || !v.hasCursor {
		return v.cursor, v.hasCursor
	}
	for _, e := range slices.Backward(v.feed.Log.Entries[:v.from]) {
		if e.named() {
			return e.ID, true
		}
	}
	return "", false
}

// bare is an event without its id, in one form of line ends.
func bare(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var out []string
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		if name, _, _ := strings.Cut(line, ":"); name != "id" && line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// keptRun says where in the log, counted in events, a client is that got this. What has
// no id of the origin's may have come once more.
func (v *visiting) keptRun() (used, total int, ok bool) {
	log, at := v.feed.events()
	got := events(v.heard())
	for k := at[v.from]; k >= 0; k-- {
		n := 0
		for n < len(got) && k+n < len(log) && bare(got[n].raw) == bare(log[k+n].Text) {
			n++
		}
		if n == len(got) {
			return k + n, len(log), true
		}
		if k > 0 && log[k-1].named() {
			break
		}
	}
	return 0, len(log), false
}

// clientPlace is what a client knows of where it is.
type clientPlace struct {
	cursor string
	from   int // in the log's entries
}

// keepPlace is where it is after a visit.
func (v *visiting) keepPlace(p clientPlace) clientPlace {
	id, ok := lastID(v.heard())
	switch used, _, run := v.keptRun(); {
	case v.via() != "relay":
		return clientPlace{} // nobody has sealed what it got
	case !ok || !run:
		return p
	default:
		p.cursor = id
		_, at := v.feed.events()
		for p.from = 0; at[p.from] < used; p.from++ {
		}
	}
	return p
}

// checkKept: the client goes on where it was, whatever its stream was read from.
func (v *visiting) checkKept() {
	if v.via() != "relay" {
		return
	}
	v.checkHeartbeats()
	used, total, ok := v.keptRun()
	if !ok {
		v.w.fail("%s: no run of the log from %d: %q", v.name, v.from, v.got)
	}
	v.reached = used == total
	drained := v.w.drained() > 0 && v.overAt >= v.w.drained()
	if !v.whole() && !drained && !v.feed.everBelieved(v.w) {
		v.w.fail("%s: a clean end, but that was not all", v.name)
	}
	// Who has the end's marker, and asks again, waits in vain for another.
	more := v.from < len(v.feed.Log.Entries) || !v.feed.Log.Marked
	if v.end == aborted && more && v.feed.calm(v.w) && !v.struck() {
		v.w.fail("%s: cut, though nothing was wrong", v.name)
	}
}

// everBelieved is believed of any of the streams that a client may have been given.
func (f *feed) everBelieved(w *world) bool {
	return slices.ContainsFunc(w.visits, func(v *visiting) bool { return v.feed == f && v.believed() })
}

// calm says whether nothing at all goes wrong with a feed.
func (f *feed) calm(w *world) bool {
	if w.drained() > 0 || w.unsteady() || w.s.Crash.At > 0 || !f.Log.Kind.trusty() || w.large(f) {
		return false
	}
	for i := range w.s.Feeds { // they share connections
		for _, v := range w.s.Feeds[i].Visits {
			if slices.ContainsFunc(v.Attempts, func(p plan) bool { return p.Answer != serves || p.End != natural }) {
				return false
			}
		}
	}
	return true
}

// detached is how long streams may go on without anybody.
func (s *schedule) detached() (longest time.Duration) {
	for i := range s.Feeds {
		longest = max(longest, s.Feeds[i].Policy.Detach.Std())
	}
	return longest
}
