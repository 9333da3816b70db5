package sim

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// excuse says why a stream of this feed may be cut; empty: there is no reason.
func (v *visiting) excuse(at time.Duration) string {
	f, p := v.feed, v.policy
	got := events(v.heard())
	named := slices.ContainsFunc(got, func(b block) bool { return b.hasID })
	nameless := slices.ContainsFunc(f.Log.Entries, func(e entry) bool { return e.ID == "" && !e.Idle })
	last, _ := lastID(v.heard())
	attempts := v.seen.attempts
	first := attempts[0]
	inline := v.via() == "inline"
	switch {
	case !v.resumable():
		return "it cannot be resumed"
	case inline && first.end != "done" && first.end != "early" && first.end != "":
		return "Envoy resets its client"
	case inline && !named:
		return "Envoy's response brought no cursor"
	case !named && len(got) > 0:
		return "no cursor"
	case f.Protocol != eventSource && f.Method == http.MethodPost && v.reached:
		return "there is nothing more to ask for"
	case len(got) == 0 && v.method() != http.MethodGet:
		return "it is not to be made again"
	case slices.ContainsFunc(f.Log.Entries[:v.from], func(e entry) bool {
		return slices.ContainsFunc(got, func(b block) bool { return same(b, e) })
	}):
		return "the client got what is older than its cursor, and nobody knows where it is"
	case v.hasCursor && nameless && last == v.cursor:
		return "the client's own cursor came again, and nobody knows its place"
	case p.Replay.Events < 64 && (nameless || f.Log.Kind == unordered || v.hasCursor):
		return "the window is too small"
	}
	for _, a := range attempts {
		_, rest := read(a.wrote.String())
		switch {
		case len(rest) > 0 && v.w.large(f):
			return "in a large event"
		case a.n == 0:
		case a.plan.Lapse != honest:
			return "the origin lies"
		case !a.plan.Answer.passing() && a.plan.Answer != serves && (a.plan.Answer != noContent || len(p.CompleteWhen) > 0):
			return "the origin refuses"
		}
	}
	// Where the last progress was, and when.
	progress, since := 0, v.began
	for _, b := range slices.Backward(got) {
		if !b.hasID {
			continue
		}
		progress = slices.IndexFunc(attempts, func(a *attempt) bool { return strings.Contains(a.wrote.String(), b.raw) })
		since = v.arrived(b)
		break
	}
	// A client that reads slowly has it long after the upstream was lost.
	a := attempts[progress]
	lost := min(since, max(v.began, a.wroteAt))
	if a.end != "" && a.plan.End != stalls && a.plan.End != hums {
		lost = min(a.endedAt, at)
	}
	if tries := len(attempts) - 1 - progress + v.w.origin.refusedSince(min(lost, since)); tries >= p.Backoff.Retries {
		return "too many tries"
	}
	wait := time.Duration(float64(max(p.Backoff.Max.Std(), 20*time.Second)) * (1 + p.Backoff.Jitter))
	if at-lost+wait >= p.HoldFor.Std() {
		return "too long"
	}
	return ""
}

// arrived is when a block that the client got was there.
func (v *visiting) arrived(b block) time.Duration {
	i := strings.LastIndex(string(v.got), b.raw) + len(b.raw)
	for _, a := range v.arrivals {
		if a.size >= i {
			return a.at
		}
	}
	return v.began
}

// large says whether the log has events that are too large to be held back.
func (w *world) large(f *feed) bool {
	return slices.ContainsFunc(f.Log.Entries, func(e entry) bool { return len(e.Text) > int(w.s.Limits.EventBytes) })
}
