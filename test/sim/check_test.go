package sim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"holdfast/processor/config"
)

// outcome is what the processor says of a stream, in its log.
type outcome struct {
	name, mode, stream string
	at                 time.Duration
}

// check compares what clients got with what the origin had to say, and both with
// what the processor says of it.
func (w *world) check() {
	ends := w.outcomes()
	for i := range w.s.Feeds {
		f := &w.s.Feeds[i]
		var held []*visiting
		for _, v := range w.visits {
			if v.feed != f {
				continue
			}
			v.checkAnswer()
			switch {
			case !v.held():
				v.checkPlain()
			case f.Kept:
				v.checkKept()
			case v.struck():
				v.checkBytes()
				v.checkRun()
				v.checkStruck()
			default:
				held = append(held, v)
			}
		}
		if f.Kept {
			continue // streams and connections are not the same
		}
		said := ends[f.path()]
		// Those who have left may have seen any end, so they come last.
		slices.SortStableFunc(held, func(a, b *visiting) int { return cmp.Compare(a.end.own(), b.end.own()) })
		for _, v := range held {
			v.checkBytes()
			v.checkRun()
			n := slices.IndexFunc(said, func(o outcome) bool { return o.stream == v.stream })
			if v.stream == "" && len(f.Twin) == 0 {
				n = v.find(said, held)
			}
			switch {
			case n >= 0:
				v.checkEnd(said[n])
				said = slices.Delete(said, n, n+1)
			case len(f.Twin) == 0:
				w.fail("%s: nothing was said of its end", v.name)
			case len(said) == 0:
				w.fail("%s: nothing was said of its end", v.name)
			default:
				said = said[1:] // which of them is its own, nobody knows
			}
		}
		// Of a stream that began just when its client left, the client knows nothing.
		if unseen := w.unseen(f); len(said) > unseen {
			w.fail("feed %d: the ends of %d more streams than there were: %v", i, len(said)-unseen, said)
		}
	}
	w.checkRest()
}

// unseen is how many of a feed's clients have left before there was an answer, or have
// lost their processor, which may have told of their end before.
func (w *world) unseen(f *feed) (n int) {
	for _, v := range w.visits {
		if v.feed == f && (v.status == 0 || v.struck()) {
			n++
		}
	}
	return n
}

// find looks for the end of a response that the relay holds, which has no name on
// the way. It is told of while the client is there, unless a slow store holds it up.
func (v *visiting) find(said []outcome, held []*visiting) int {
	late := time.Duration(0)
	if v.w.unsteady() {
		late = time.Second
	}
	first := -1
	for n, o := range said {
		switch {
		case o.at < v.headAt || o.at > v.overAt+late:
		case slices.ContainsFunc(held, func(v *visiting) bool { return v.stream == o.stream }):
		case v.possible(o):
			return n
		case first < 0:
			first = n
		}
	}
	return first
}

// outcomes are the ends of streams by path, in their order.
func (w *world) outcomes() map[string][]outcome {
	all := map[string][]outcome{}
	for _, l := range w.said() {
		if l.Level >= zapcore.ErrorLevel && strings.Contains(l.Message, "fault") {
			w.fail("%s: %v", l.Message, l.ContextMap())
		}
		if l.Message != "stream ended" {
			continue
		}
		m := l.ContextMap()
		path := fmt.Sprint(m["path"])
		all[path] = append(all[path], outcome{
			fmt.Sprint(m["outcome"]), fmt.Sprint(m["mode"]), fmt.Sprint(m["stream"]), l.Time.Sub(w.start),
		})
	}
	return all
}

// held says whether the response went through the core.
func (v *visiting) held() bool {
	switch v.via() {
	case "relay", "immediate", "inline", letGo:
	default:
		return false
	}
	return v.status == http.StatusOK && v.header.Get("Content-Type") == "text/event-stream" &&
		v.header.Get("Content-Encoding") == "" && (v.w.drained() == 0 || v.headAt < v.w.drained())
}

// checkAnswer checks that the client sees the status that the origin sent.
func (v *visiting) checkAnswer() {
	if len(v.seen.attempts) == 0 || v.status == 0 {
		return
	}
	var possible []int
	for _, a := range v.seen.attempts {
		switch a.plan.Answer {
		case serves, wrongType, encoded:
			possible = append(possible, http.StatusOK)
		case resetEarly, killed, hangs, unreachable:
			possible = append(possible, http.StatusBadGateway, http.StatusServiceUnavailable)
		default:
			var n int
			fmt.Sscan(string(a.plan.Answer), &n)
			possible = append(possible, n)
		}
		if !a.plan.Answer.broken() && a.end != "cancelled" {
			break
		}
	}
	// Somebody else's request may have cost the connection.
	possible = append(possible, http.StatusBadGateway, http.StatusServiceUnavailable)
	if !slices.Contains(possible, v.status) {
		v.w.fail("%s: status %d, want one of %v", v.name, v.status, possible)
	}
}

// broken says whether there is no answer at all.
func (a answer) broken() bool {
	switch a {
	case resetEarly, killed, hangs, unreachable:
		return true
	default:
		return false
	}
}

// checkPlain checks a response that nobody has touched.
func (v *visiting) checkPlain() {
	if v.status != http.StatusOK || v.header.Get("Content-Type") != "text/event-stream" || v.header.Get("Content-Encoding") != "" {
		return
	}
	a := v.seen.attempts[len(v.seen.attempts)-1]
	wrote := a.wrote.String()
	if !strings.HasPrefix(wrote, string(v.got)) || v.end == ended && wrote != string(v.got) {
		v.w.fail("%s: not held, and got %q of %q", v.name, v.got, wrote)
	}
}

// checkBytes checks what has to hold for each byte.
func (v *visiting) checkBytes() {
	heard := v.heard()
	_, rest := read(heard)
	if i := strings.LastIndex(strings.TrimSuffix(heard, rest), "\ufeff"); i > 0 {
		v.w.fail("%s: a byte order mark at %d of %q", v.name, i, heard)
	}
	v.checkHeartbeats()
	v.checkUntouched(heard)
}

// checkHeartbeats: they are between blocks and nowhere else.
func (v *visiting) checkHeartbeats() {
	got := string(v.got)
	if v.policy.Heartbeat == 0 || v.policy.Mode == "observe" {
		if strings.Contains(got, heartbeat) {
			v.w.fail("%s: a heartbeat that nobody wants", v.name)
		}
		return
	}
	for at := 0; ; {
		i := strings.Index(got[at:], heartbeat)
		if i < 0 {
			return
		}
		at += i
		if _, rest := read(got[:at]); strings.Trim(rest, "\ufeff") != "" {
			v.w.fail("%s: a heartbeat after %q", v.name, rest)
		}
		at += len(heartbeat)
	}
}

// checkUntouched: with no failure, the bytes are the origin's.
func (v *visiting) checkUntouched(heard string) {
	if len(v.seen.attempts) == 0 || v.hasCursor && v.policy.Mode != "observe" {
		return // repeats may have been left out
	}
	a := v.seen.attempts[0]
	for _, b := range v.seen.attempts[1:] {
		if b.wrote.Len() > 0 {
			return
		}
	}
	if a.plan.Answer.broken() || v.policy.Dedup == "always" {
		return
	}
	wrote := a.wrote.String()
	if strings.HasPrefix(string(v.got), heartbeat) {
		wrote = strings.TrimPrefix(wrote, "\ufeff") // after a comment it would be none
	}
	switch {
	case !strings.HasPrefix(wrote, heard):
		v.w.fail("%s: the origin sent %q, the client got %q", v.name, wrote, heard)
	case v.end == ended && heard != wrote && v.w.drained() == 0 && a.end == "done":
		v.w.fail("%s: the origin sent %q, the client got %q, and a clean end", v.name, wrote, heard)
	}
}

// same compares a block with an entry. The LF of the last CRLF may have been lost
// with the rest of its response, and a lone CR is joined by the LF that comes next.
func same(b block, e entry) bool {
	return b.raw == e.Text || b.raw+"\n" == e.Text && strings.HasSuffix(b.raw, "\r") || b.raw == e.Text+"\n" && strings.HasSuffix(e.Text, "\r")
}

// log is what of the journal is events.
func (f *feed) events() (all []entry, at map[int]int) {
	at = map[int]int{}
	for i, e := range f.Log.Entries {
		at[i] = len(all)
		if !e.Idle {
			all = append(all, e)
		}
	}
	at[len(f.Log.Entries)] = len(all)
	return all, at
}

// run says how far got is a run of the log: how many of its events it has used
// up, and how many of got belong to the run.
func (f *feed) run(got []block, log []entry) (used, taken int) {
	for taken < len(got) {
		for f.Log.Forgets && used < len(log) && log[used].ID == "" && !same(got[taken], log[used]) {
			used++
		}
		if used == len(log) || !same(got[taken], log[used]) {
			break
		}
		used++
		taken++
	}
	for f.Log.Forgets && taken == len(got) && used < len(log) && !slices.ContainsFunc(log[used:], entry.named) {
		used++
	}
	return used, taken
}

// checkRun: what the client got is a run of the log, without a gap and without a
// repeat, that begins where the client was.
func (v *visiting) checkRun() {
	used, total, wrong := v.position()
	if wrong != "" {
		v.w.fail("%s: no run of the log: %s", v.name, wrong)
	}
	v.reached = used == total
}

func (v *visiting) position() (used, total int, wrong string) {
	f := v.feed
	if v.policy.Dedup == "always" && !f.Log.Kind.trusty() || v.skipped() {
		return 0, 0, ""
	}
	log, at := f.events()
	from := at[v.from]
	got := events(v.heard())
	if !f.Log.Kind.trusty() && v.hasCursor {
		return 0, 0, "" // nobody knows where in the log such a cursor is
	}
	repeats := 0
	if !v.strict() {
		repeats = len(got)
	}
	best, taken := 0, -1
	for k := 0; k <= repeats; k++ {
		if k > 0 && !v.older(got[:k], log[:from]) {
			break
		}
		n, m := f.run(got[k:], log[from:])
		if k+m == len(got) {
			return from + n, len(log), ""
		}
		if k+m > taken {
			best, taken = from+n, k+m
		}
	}
	want := "the end"
	if best < len(log) {
		want = fmt.Sprintf("%.80q", log[best].Text)
	}
	return best, len(log), fmt.Sprintf("event %d is %.80q, want %s", taken, got[taken].raw, want)
}

// believed says whether the origin has ended cleanly, too early, and could not be
// asked for more. Without a marker such an end stands.
func (v *visiting) believed() bool {
	early := false
	for _, a := range v.seen.attempts {
		early = a.end == "early" || early && !a.fresh
	}
	return early && len(v.policy.CompleteWhen) == 0
}

// skipped says whether the origin has left out events that it had. Only of a
// counter can anybody know.
func (v *visiting) skipped() bool {
	return slices.ContainsFunc(v.seen.attempts, func(a *attempt) bool {
		return a.plan.Lapse == skips && a.n > 0 && a.cursor != v.cursor && a.wrote.Len() > 0
	})
}

// paced is how long an event may be on its way at the pace of via: immediate.
func (w *world) paced() time.Duration {
	if l := w.s.Limits; l.StreamBytesPerSecond > 0 && l.StreamBytesPerSecond < config.MiB {
		return time.Minute
	}
	return 0
}

// marked says whether the client has all of the last event but its blank line.
func (v *visiting) marked() bool {
	got, log := events(v.heard()+"\n\n"), v.feed.Log.Entries
	return len(got) > 0 && same(got[len(got)-1], log[len(log)-1])
}

// older says whether events are of those before the client's cursor, in their order. Of
// an answer that is asked for by GET, nothing is known of what went by POST, and so not
// where in the log they are.
func (v *visiting) older(got []block, log []entry) bool {
	if v.feed.Protocol == mcp && v.feed.Method != v.method() {
		return !slices.ContainsFunc(got, func(b block) bool { return !subsequence([]block{b}, log) })
	}
	return subsequence(got, log)
}

func subsequence(got []block, log []entry) bool {
	for _, b := range got {
		i := slices.IndexFunc(log, func(e entry) bool { return same(b, e) })
		if i < 0 {
			return false
		}
		log = log[i+1:]
	}
	return true
}

// strict says whether a returning client gets nothing twice even from an origin
// that repeats more than it was asked for.
func (v *visiting) strict() bool {
	f := v.feed
	if !v.hasCursor {
		return true
	}
	if v.via() == letGo || v.w.unsteady() || v.policy.Dedup == "off" || v.policy.Mode == "observe" || len(f.Twin) > 0 || v.policy.Replay.Events < 64 || v.afterCrash() || f.Method == http.MethodPost {
		return false
	}
	ids := 0
	for _, e := range f.Log.Entries[:v.from] {
		if e.ID != "" {
			ids++
		}
	}
	if v.untracked() {
		return false
	}
	for _, e := range f.Log.Entries {
		if e.ID == "" && !e.Idle || len(e.Text) > int(v.w.s.Limits.EventBytes) {
			return false
		}
	}
	for _, u := range v.w.visits {
		if u == v {
			break
		}
		if u.feed == f && (!u.held() && len(u.got) > 0 || u.policy != v.policy || u.misled()) {
			return false // what went by unwatched, or was watched in another way, nobody knows
		}
	}
	return ids > 1
}

// misled says whether a visit's origin has said other things under the same ids.
func (v *visiting) misled() bool {
	return slices.ContainsFunc(v.seen.attempts, func(a *attempt) bool { return a.plan.Lapse == another && a.wrote.Len() > 0 })
}

// untracked says whether the log has blocks that dedup: always does not drop: those
// that are no event.
func (v *visiting) untracked() bool {
	return v.policy.Dedup == "always" && slices.ContainsFunc(v.feed.Log.Entries, func(e entry) bool {
		return e.named() && !strings.Contains(e.Text, "data")
	})
}

// checkEnd: the end that the client saw, and what is said of it, are true.
func (v *visiting) checkEnd(o outcome) {
	wrong := func(format string, args ...any) {
		args = append([]any{v.name, o.mode, o.name, v.end}, args...)
		v.w.fail("%s: %s %s, the client saw %s: "+format, args...)
	}
	if v.via() == letGo {
		if o.name != "drained" {
			wrong("but Envoy was told to go on alone")
		}
		return
	}
	if !v.possible(o) {
		wrong("it cannot be both")
	}
	switch o.name {
	case "complete", "resumed":
		if !v.whole() {
			wrong("but that was not all")
		}
		if o.name == "resumed" && len(v.seen.attempts) < 2 {
			wrong("but nothing was asked for again")
		}
	case "cut":
		if why := v.excuse(o.at); why == "" {
			wrong("there was no need for it")
		}
	case "gap":
		if !slices.ContainsFunc(v.seen.attempts, func(a *attempt) bool { return a.plan.Lapse == skips }) {
			wrong("but nothing was left out")
		}
	case "drained":
		d := v.w.s.Drain
		if v.w.drained() == 0 || o.at < v.w.drained() || o.at > v.w.drained()+d.Deadline+v.w.paced()+time.Second {
			wrong("at %v", o.at)
		}
	case "passed":
		wrong("why?")
	}
	if v.end == stayed && v.resumable() {
		v.checkAlive(wrong)
	}
}

// whole says whether a clean end was that of the origin.
func (v *visiting) whole() bool {
	_, rest := read(v.heard())
	f := v.feed
	all := v.reached && rest == "" || f.Log.Marked && v.marked()
	return v.end != ended || all && (f.Log.Ends || f.Log.Marked) || !f.Log.Kind.trusty() || v.believed()
}

// checkStruck: of a processor that was killed, nothing is known but what its clients
// have seen. None of them has seen a clean end that was none.
func (v *visiting) checkStruck() {
	if !v.whole() {
		v.w.fail("%s: its processor was killed, and its client saw a clean end", v.name)
	}
}

// possible says whether the client can have seen that end of it.
func (v *visiting) possible(o outcome) bool {
	switch v.end {
	case ended:
		return o.name == "complete" || o.name == "resumed" || o.name == "drained"
	case aborted:
		switch o.name {
		case "client_gone":
			return o.mode != "hold" && !v.feed.Logged
		case "complete", "resumed":
			// Envoy has reset its client, but after the last event.
			return o.mode != "hold" && v.feed.Log.Marked && v.reached
		}
	default: // its own decision, and what it would have seen nobody knows
	}
	return o.name != "passed"
}

// checkAlive: a client that has stayed to the last has everything that happened.
func (v *visiting) checkAlive(wrong func(string, ...any)) {
	last := v.seen.attempts[len(v.seen.attempts)-1]
	switch {
	case v.reached, v.excuse(v.overAt) != "":
	case last.plan.Answer == serves && (last.plan.End == stalls || last.plan.End == hums) &&
		(v.policy.Health.IdleTimeout == 0 || v.overAt-last.at < 80*v.policy.Health.IdleTimeout.Std()):
	default:
		wrong("it has waited in vain")
	}
}

// horizon is how long a client stays that has nothing else in mind: until
// everything has happened, and long enough to find out that something is wrong.
func (w *world) horizon(v *visiting) time.Duration {
	d := 10*time.Minute + 619*time.Microsecond // never in the instant of anything else
	for _, e := range v.feed.Log.Entries {
		d = max(d, e.At-v.began+10*time.Minute+619*time.Microsecond)
		if v.visit.Read > 0 {
			d += time.Duration(len(e.Text)/v.visit.Read+1) * v.visit.Every
		}
	}
	for _, p := range v.visit.Attempts {
		d += p.Delay + p.Linger + time.Duration(p.After)*time.Second + time.Minute
	}
	return d + v.visit.StopFor
}
