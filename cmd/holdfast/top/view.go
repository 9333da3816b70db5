package top

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"holdfast/processor/live"
)

// style is how a part of a line looks; the zero style is plain.
type style uint8

const (
	plain style = iota
	bold
	dim
	good
	warn
	bad
	inverse
)

// sequence is SGR: https://ecma-international.org/publications-and-standards/standards/ecma-48/
func (s style) sequence() string {
	return [...]string{"", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31;1m", "\x1b[7m"}[s]
}

// line is built of parts, and counts their columns.
type line struct {
	b       strings.Builder
	columns int
	color   bool
}

func (l *line) add(s style, text string) {
	for _, r := range text {
		l.columns += columnsOf(r)
	}
	if s == plain || !l.color || text == "" {
		l.b.WriteString(text)
		return
	}
	l.b.WriteString(s.sequence() + text + "\x1b[0m")
}

// View is how a picture becomes lines.
type View struct {
	At     string // the address that is watched
	Query  Query
	Color  bool
	Lost   string // why there is no connection; "": there is one
	Since  string // when there last was
	Paused bool
	Typing bool // the user types Query.Text
}

// column is one of the table.
type column struct {
	key, title string
	width      int
	right      bool
	drop       int // the order in which columns go when there is no room; 0: never
	text       func(s *live.Stream, now time.Time) (string, style)
}

func columns() []column {
	text := func(of func(*live.Stream) string) func(*live.Stream, time.Time) (string, style) {
		return func(s *live.Stream, _ time.Time) (string, style) { return clean(of(s)), plain }
	}
	count := func(of func(*live.Stream) uint64) func(*live.Stream, time.Time) (string, style) {
		return func(s *live.Stream, _ time.Time) (string, style) {
			if n := of(s); n > 0 {
				return number(n), plain
			}
			return "", plain
		}
	}
	return []column{
		{"state", "STATE", 11, false, 0, state},
		{"policy", "POLICY", 14, false, 4, text(func(s *live.Stream) string { return s.Policy })},
		{"mode", "MODE", 7, false, 6, text(func(s *live.Stream) string { return s.Mode })},
		{"upstream", "HOST", 21, false, 7, text(func(s *live.Stream) string { return s.Upstream })},
		{"started", "AGE", 7, true, 0, age},
		{"last_byte", "SILENT", 7, true, 9, silent},
		{"events", "EVENTS", 7, true, 0, func(s *live.Stream, _ time.Time) (string, style) { return number(s.Events), plain }},
		{"duplicates", "REPEATS", 7, true, 5, count(func(s *live.Stream) uint64 { return s.Duplicates })},
		{"resumes", "RESUMES", 7, true, 8, count(func(s *live.Stream) uint64 { return s.Resumes })},
		{"trust", "IDS", 10, false, 3, text(func(s *live.Stream) string { return s.Trust })},
		{"cursor", "CURSOR", 16, false, 2, text(func(s *live.Stream) string { return s.Cursor })},
		{"id", "ID", 16, false, 1, text(func(s *live.Stream) string { return s.ID })},
		{"path", "REQUEST", 22, false, 0, text(func(s *live.Stream) string { return s.Method + " " + s.Path })},
	}
}

func state(s *live.Stream, _ time.Time) (string, style) {
	word := s.State
	if s.Outcome != "" {
		word = s.Outcome
	}
	how := plain
	switch word {
	case "cut", "gap", "copied":
		how = bad
	case "resuming", "draining", "passed":
		how = warn
	case "live", "resumed":
		how = good
	case "complete", "client_gone", "drained":
		how = dim
	}
	return clean(word), how
}

func age(s *live.Stream, now time.Time) (string, style) {
	if !s.Ended.IsZero() {
		now = s.Ended
	}
	return span(now.Sub(s.Started)), plain
}

func silent(s *live.Stream, now time.Time) (string, style) {
	if !s.Ended.IsZero() {
		return "", plain
	}
	d := now.Sub(s.LastByte)
	if d > time.Minute {
		return span(d), warn
	}
	return span(d), plain
}

// fixed is how many lines are not streams.
const fixed = 6

// Rows is how many streams there is room for.
func Rows(height int) int { return max(1, height-fixed) }

// Lines draws a picture: exactly height lines of width columns.
func (v *View) Lines(p *Picture, now time.Time, width, height int) []string {
	width, height = max(width, 1), max(height, 1)
	parts := [][]part{v.title(p, now), v.verdict(p), v.course(p, width), nil, v.heads(width)}
	for i := range p.Streams {
		if i == Rows(height) {
			break
		}
		parts = append(parts, v.row(&p.Streams[i], now, width))
	}
	if len(p.Streams) == 0 && p.Summary != nil {
		parts = append(parts, []part{{dim, "no stream is like that"}})
	}
	for len(parts) < height-1 {
		parts = append(parts, nil)
	}
	parts = append(parts[:max(0, min(len(parts), height-1))], v.foot(p, height))
	lines := make([]string, len(parts))
	for i := range parts {
		lines[i] = v.render(parts[i], width)
	}
	return lines
}

// part is a text in a style.
type part struct {
	style style
	text  string
}

// render cuts and fills parts to a width: what is not written over stays. (An
// erasure behind a full line would take its last character along.)
func (v *View) render(parts []part, width int) string {
	l := line{color: v.Color}
	for _, p := range parts {
		room := width - l.columns
		if room <= 0 {
			break
		}
		n := 0
		for _, r := range p.text {
			n += columnsOf(r)
		}
		if n > room {
			p.text = fit(p.text, room, false)
		}
		l.add(p.style, p.text)
	}
	l.add(plain, strings.Repeat(" ", max(0, width-l.columns)))
	return l.b.String()
}

func (v *View) title(p *Picture, now time.Time) []part {
	parts := []part{{bold, "holdfast"}}
	if p.Summary == nil {
		return append(parts, part{dim, "  " + clean(v.At)})
	}
	parts = append(parts, part{dim, " " + clean(p.Summary.Version) + "  " + clean(v.At) + "  "})
	if p.Summary.Ready {
		parts = append(parts, part{good, "ready"})
	} else {
		parts = append(parts, part{bad, "not ready"})
	}
	var modes []string
	for mode, n := range p.Summary.Modes {
		modes = append(modes, fmt.Sprintf("%s %d", clean(mode), n))
	}
	sort.Strings(modes)
	text := fmt.Sprintf("  %d streams", p.Summary.Live)
	if len(modes) > 0 {
		text += " (" + strings.Join(modes, ", ") + ")"
	}
	return append(parts, part{plain, text}, part{dim, "  " + now.Format(time.TimeOnly)})
}

// verdict says what is wrong, the worst first.
func (v *View) verdict(p *Picture) []part {
	var parts []part
	say := func(s style, format string, args ...any) {
		if len(parts) > 0 {
			parts = append(parts, part{plain, "  "})
		}
		parts = append(parts, part{s, fmt.Sprintf(format, args...)})
	}
	if v.Lost != "" {
		say(bad, "no connection since %s: %s", v.Since, clean(v.Lost))
	}
	s := p.Summary
	if s == nil {
		return parts
	}
	if !s.Ready {
		say(bad, "gets no new streams: %s", clean(s.Reason))
	}
	var out []string
	for _, t := range s.Targets {
		if t.State != "closed" {
			out = append(out, clean(t.Address))
		}
	}
	if len(out) > 0 {
		say(bad, "out of use: %s", strings.Join(out, ", "))
	}
	if n := sum(p.Points, func(p Point) float64 { return p.Bad }); n > 0 {
		say(bad, "%.0f ended cut or with a gap in 15 min", n)
	}
	if n := s.States["copied"]; n > 0 {
		say(bad, "%d only copied, after a fault", n)
	}
	if n := s.States["resuming"]; n > 0 {
		say(warn, "%d being resumed", n)
	}
	if n := sum(p.Points, func(p Point) float64 { return p.Unresumed }); n > 0 {
		say(warn, "%.0f resumes failed in 15 min", n)
	}
	if len(parts) == 0 {
		say(good, "nothing is wrong")
	}
	return parts
}

func sum(points []Point, of func(Point) float64) (n float64) {
	for _, p := range points {
		n += of(p)
	}
	return n
}

// course draws the last quarter of an hour.
func (v *View) course(p *Picture, width int) []part {
	if len(p.Points) == 0 {
		return []part{{dim, "the course of things begins in a few seconds"}}
	}
	const labels = 66
	room := max(0, min(40, (width-labels)/2))
	var active, events []float64
	for _, pt := range p.Points {
		active, events = append(active, pt.Active), append(events, pt.Events)
	}
	perSecond := events[len(events)-1] / max(p.Step, 1)
	return []part{
		{dim, "streams "},
		{plain, number(active[len(active)-1])},
		{good, " " + spark(active, room)},
		{dim, "  events/s "},
		{plain, number(perSecond)},
		{good, " " + spark(events, room)},
		{dim, "  resumed "},
		{plain, number(sum(p.Points, func(p Point) float64 { return p.Resumed }))},
		{dim, "  repeats dropped "},
		{plain, number(sum(p.Points, func(p Point) float64 { return p.Duplicates }))},
	}
}

// chosen are the columns that there is room for, with the width of the last.
func chosen(width int) []column {
	all := columns()
	for {
		need, worst := 0, -1
		for i, c := range all {
			need += c.width + 1
			if c.drop > 0 && (worst < 0 || c.drop < all[worst].drop) {
				worst = i
			}
		}
		if need-1 <= width || worst < 0 {
			last := &all[len(all)-1]
			last.width = max(1, last.width+width-(need-1))
			return all
		}
		all = append(all[:worst], all[worst+1:]...)
	}
}

func (v *View) heads(width int) []part {
	var parts []part
	key, down := strings.CutPrefix(v.Query.Sort, "-")
	for _, c := range chosen(width) {
		title := c.title
		if c.key == key {
			mark := "▲"
			// The youngest of ages is the greatest of beginnings.
			if down != (c.key == "started" || c.key == "last_byte") {
				mark = "▼"
			}
			title += mark
			parts = append(parts, part{bold, fit(title, c.width, c.right)})
		} else {
			parts = append(parts, part{dim, fit(title, c.width, c.right)})
		}
		parts = append(parts, part{plain, " "})
	}
	return parts[:len(parts)-1]
}

func (v *View) row(s *live.Stream, now time.Time, width int) []part {
	var parts []part
	for _, c := range chosen(width) {
		text, how := c.text(s, now)
		parts = append(parts, part{how, fit(text, c.width, c.right)}, part{plain, " "})
	}
	return parts[:len(parts)-1]
}

func (v *View) foot(p *Picture, height int) []part {
	if v.Typing {
		return []part{{inverse, "find: " + clean(v.Query.Text) + "_"}, {dim, "  Enter keeps, Esc clears"}}
	}
	last := min(v.Query.Offset+min(len(p.Streams), Rows(height)), p.Matched)
	where := fmt.Sprintf("%d-%d of %d", min(v.Query.Offset+1, last), last, p.Matched)
	what := map[string]string{"live": "running", "resuming": "resuming", "ended": "ended", "all": "all"}[v.Query.State]
	if v.Query.Bad {
		what = "ended badly"
	}
	key, _ := strings.CutPrefix(v.Query.Sort, "-")
	parts := []part{{inverse, " " + where + ", " + what + ", by " + clean(key) + " "}}
	if v.Query.Text != "" {
		parts = append(parts, part{inverse, "with " + clean(v.Query.Text) + " "})
	}
	if v.Paused {
		parts = append(parts, part{warn, " paused "})
	}
	return append(parts, part{dim, " q quit  <> sort  r reverse  f which  / find  jknp move  space pause"})
}
