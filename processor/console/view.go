package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"holdfast/processor/live"
)

// view is what somebody wants to see of the streams: which, in what order, and
// how many.
type view struct {
	filter
	sort          func(a, b *live.Stream) int // nil: by ID
	offset, limit int
}

// filter chooses streams; an empty part lets everything through.
type filter struct {
	policy, mode, upstream string
	state                  string // live (the default), ended, all, or one of live.Stream.State
	outcome                string
	text                   string // in lower case
}

// viewParameters are those of a view; streams and watch take them all.
func viewParameters() []string {
	return []string{"limit", "policy", "mode", "state", "outcome", "upstream", "q", "sort", "offset"}
}

func filterOf(q url.Values) filter {
	return filter{
		policy: q.Get("policy"), mode: q.Get("mode"), upstream: q.Get("upstream"),
		state: q.Get("state"), outcome: q.Get("outcome"), text: strings.ToLower(q.Get("q")),
	}
}

func (f *filter) takes(s *live.Stream) bool {
	ended := !s.Ended.IsZero()
	switch f.state {
	case "", "live":
		if ended {
			return false
		}
	case "ended":
		if !ended {
			return false
		}
	case "all":
	default:
		if s.State != f.state {
			return false
		}
	}
	return (f.policy == "" || s.Policy == f.policy) && (f.mode == "" || s.Mode == f.mode) &&
		(f.upstream == "" || s.Upstream == f.upstream) && f.takesOutcome(s.Outcome) && f.finds(s)
}

// takesOutcome knows one word that is none: what an operator is paged about.
func (f *filter) takesOutcome(outcome string) bool {
	switch f.outcome {
	case "":
		return true
	case "bad":
		return outcome == "cut" || outcome == "gap"
	}
	return outcome == f.outcome
}

// finds looks for a text in what a person would look for.
func (f *filter) finds(s *live.Stream) bool {
	if f.text == "" {
		return true
	}
	for _, in := range []string{s.Path, s.ID, s.Session, s.Upstream, s.Cursor, s.Policy, s.Method, s.Outcome, s.Trust} {
		if strings.Contains(strings.ToLower(in), f.text) {
			return true
		}
	}
	return false
}

// orders are the ways to sort, by the names of the fields.
func orders() map[string]func(a, b *live.Stream) int {
	text := func(of func(*live.Stream) string) func(a, b *live.Stream) int {
		return func(a, b *live.Stream) int { return strings.Compare(of(a), of(b)) }
	}
	number := func(of func(*live.Stream) uint64) func(a, b *live.Stream) int {
		return func(a, b *live.Stream) int { return cmp.Compare(of(a), of(b)) }
	}
	return map[string]func(a, b *live.Stream) int{
		"id":        nil,
		"policy":    text(func(s *live.Stream) string { return s.Policy }),
		"mode":      text(func(s *live.Stream) string { return s.Mode }),
		"state":     text(func(s *live.Stream) string { return s.State + " " + s.Outcome }),
		"path":      text(func(s *live.Stream) string { return s.Path }),
		"upstream":  text(func(s *live.Stream) string { return s.Upstream }),
		"cursor":    text(func(s *live.Stream) string { return s.Cursor }),
		"trust":     text(func(s *live.Stream) string { return s.Trust }),
		"started":   func(a, b *live.Stream) int { return a.Started.Compare(b.Started) },
		"last_byte": func(a, b *live.Stream) int { return a.LastByte.Compare(b.LastByte) },
		"ended": func(a, b *live.Stream) int {
			// What still runs has, as it were, not ended yet.
			if a.Ended.IsZero() != b.Ended.IsZero() {
				return map[bool]int{true: 1, false: -1}[a.Ended.IsZero()]
			}
			return a.Ended.Compare(b.Ended)
		},
		"events":     number(func(s *live.Stream) uint64 { return s.Events }),
		"duplicates": number(func(s *live.Stream) uint64 { return s.Duplicates }),
		"resumes":    number(func(s *live.Stream) uint64 { return s.Resumes }),
		"bytes":      number(func(s *live.Stream) uint64 { return s.Bytes }),
	}
}

// viewOf reads a view. If there is anything wrong with it, it answers and says
// false.
func viewOf(w http.ResponseWriter, q url.Values, standard, most int) (v view, ok bool) {
	v.filter = filterOf(q)
	if v.limit, ok = limitOf(w, q, standard, most); !ok {
		return v, false
	}
	if states := []string{"", "live", "ended", "all", "opening", "resuming", "draining", "copied"}; !slices.Contains(states, v.state) {
		fail(w, http.StatusBadRequest, "state is %q: write %s", shorten(v.state), strings.Join(states[1:], ", "))
		return v, false
	}
	if text := q.Get("offset"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			fail(w, http.StatusBadRequest, "offset is %q: write how many streams to pass over", shorten(text))
			return v, false
		}
		v.offset = n
	}
	name, down := strings.CutPrefix(q.Get("sort"), "-")
	if name == "" {
		return v, true
	}
	by, known := orders()[name]
	if !known {
		fail(w, http.StatusBadRequest, "sort is %q: write the name of a field, such as started, events or -last_byte", shorten(name))
		return v, false
	}
	v.sort = func(a, b *live.Stream) int {
		n := 0
		if by != nil {
			n = by(a, b)
		}
		if n == 0 { // an order that is the same each time
			n = strings.Compare(a.ID, b.ID)
		}
		if down {
			n = -n
		}
		return n
	}
	return v, true
}

// simple says that paging by ID serves the view: it has no bound on how many
// streams there are.
func (v *view) simple() bool {
	return v.sort == nil && v.offset == 0 && (v.state == "" || v.state == "live")
}

// of returns what the view shows of a picture, and how many streams it would
// show without a limit.
func (v *view) of(p *picture) (page []live.Stream, matched int) {
	var all []*live.Stream
	for _, streams := range [][]live.Stream{p.live, p.ended} {
		for i := range streams {
			if v.takes(&streams[i]) {
				all = append(all, &streams[i])
			}
		}
	}
	if v.sort != nil {
		slices.SortFunc(all, v.sort)
	}
	page = []live.Stream{}
	for _, s := range all[min(v.offset, len(all)):min(v.offset+v.limit, len(all))] {
		page = append(page, *s)
	}
	return page, len(all)
}
