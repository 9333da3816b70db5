package lint

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Severity is how bad it is.
type Severity uint8

const (
	// Info is worth knowing; it breaks nothing by itself.
	Info Severity = iota
	// Warning breaks streams under circumstances that the text names.
	Warning
	// Error breaks streams, or keeps Holdfast from doing anything for them.
	Error
)

func (s Severity) String() string {
	names := [...]string{"info", "warning", "error"}
	if int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that is wrong in one place.
type Finding struct {
	File     string   `json:"file"`
	Line     int      `json:"line"` // from 1
	Severity Severity `json:"severity"`
	Rule     string   `json:"rule"`
	Message  string   `json:"message"` // what breaks, and what to set
}

// String is the finding on one line, as compilers have it.
func (f *Finding) String() string {
	return fmt.Sprintf("%s:%d: %s %s: %s", f.File, f.Line, f.Severity, f.Rule, f.Message)
}

// Options say what the files alone do not. The zero value guesses.
type Options struct {
	// Processor is the name of the cluster that is Holdfast. Empty: whatever has
	// "holdfast" in its name, its address or its metadata; and if nothing has, every
	// ext_proc filter could be.
	Processor string
	// ProcessorAddress and LoopbackAddress are listen and fetch.url of Holdfast's
	// configuration, as host:port or unix:/path. Empty: not known.
	ProcessorAddress, LoopbackAddress string
	// Heartbeat is the longest of Holdfast's policies. Zero: 15 s, the default.
	Heartbeat time.Duration
	// Ignore are rules that do not apply.
	Ignore []string
	// Least is the lowest severity that is reported.
	Least Severity
}

const defaultHeartbeat = 15 * time.Second

// patience is the shortest idle timeout that heartbeats defeat with certainty:
// one of them may be late, and one may be lost in a pause.
func (o *Options) patience() time.Duration { return 3 * o.heartbeat() }

func (o *Options) heartbeat() time.Duration { return cmp.Or(o.Heartbeat, defaultHeartbeat) }

// Report is what came of looking at some files.
type Report struct {
	Findings   []Finding     // by file in the order given, then by line
	Unreadable []*InputError // files that could not be looked at
	Seen       Seen
	// Missed says that Options.Processor is a cluster that no ext_proc filter asks.
	Missed bool
}

// Seen counts what was looked at, so that nobody takes "nothing found" for a
// clean bill of something that was not recognised.
type Seen struct {
	Files     int `json:"files"`
	Listeners int `json:"listeners"`
	Routes    int `json:"routes"`
	Clusters  int `json:"clusters"`
	Filters   int `json:"ext_proc_filters"`
}

// Count returns how many findings are of a severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Severity == s {
			n++
		}
	}
	return n
}

// maxPerRule bounds the findings of one rule in one file. A file with a thousand
// routes is not read finding by finding.
const maxPerRule = 100

// Run looks at files together: what one refers to may be in another.
func Run(sources []Source, o Options) Report {
	var r Report
	var surveys []*survey
	for _, src := range sources {
		s, err := open(src, &o)
		if err != nil {
			r.Unreadable = append(r.Unreadable, err)
			continue
		}
		surveys = append(surveys, s)
	}
	for i, s := range surveys {
		s.others = slices.Concat(surveys[:i], surveys[i+1:])
	}
	for _, s := range surveys {
		s.link()
	}
	r.Missed = o.Processor != ""
	for _, s := range surveys {
		r.Findings = append(r.Findings, s.findings()...)
		r.Seen.add(s)
		r.Missed = r.Missed && !slices.ContainsFunc(s.processors, func(p *processor) bool { return p.sure == ours })
	}
	return r
}

func open(src Source, o *Options) (*survey, *InputError) {
	f, err := parse(src)
	if err != nil {
		return nil, inputError(src.Name, err)
	}
	s, err := take(f, o)
	if err != nil {
		return nil, inputError(src.Name, err)
	}
	switch {
	case s.found():
	case s.spoilt != nil:
		return nil, s.spoilt
	default:
		return nil, &InputError{File: src.Name, Reason: "no Envoy configuration found: there is no bootstrap (static_resources), listener, " +
			"HttpConnectionManager, route or cluster in it"}
	}
	return s, nil
}

func inputError(name string, err error) *InputError {
	if e, ok := err.(*InputError); ok { //nolint:errorlint // never wrapped in here
		return e
	}
	return &InputError{File: name, Reason: err.Error()}
}

func (n *Seen) add(s *survey) {
	n.Files++
	n.Listeners += len(s.listeners)
	n.Routes += len(s.routes)
	n.Clusters += len(s.clusters)
	n.Filters += len(s.processors)
}

// findings applies all rules to one file.
func (s *survey) findings() []Finding {
	var all []Finding
	for _, rule := range Rules() {
		if slices.Contains(s.options.Ignore, rule.ID) {
			continue
		}
		c := check{survey: s, rule: &rule, seen: map[Finding]bool{}}
		rule.Check(&c)
		all = append(all, c.done()...)
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return all
}

// check is one rule's look at one file.
type check struct {
	*survey
	rule  *Rule
	found []Finding
	seen  map[Finding]bool // what is merged into many places is said once
	more  int
}

// report is a finding at a value.
func (c *check) report(at *node, severity Severity, format string, args ...any) {
	f := Finding{File: at.file.name, Line: at.line, Severity: severity, Rule: c.rule.ID, Message: fmt.Sprintf(format, args...)}
	if severity < c.options.Least || c.seen[f] || at.file.ignores(at.line, c.rule.ID) {
		return
	}
	if len(c.found) == maxPerRule {
		c.more++
		return
	}
	c.seen[f] = true
	c.found = append(c.found, f)
}

func (c *check) done() []Finding {
	if c.more > 0 {
		last := c.found[len(c.found)-1]
		last.Severity, last.Message = Info, fmt.Sprintf("and %d more of these below; they are not listed", c.more)
		c.found = append(c.found, last)
	}
	return c.found
}

// ignoreMark, in a comment on a finding's line or the line above, with names of
// rules behind it, says that somebody knows.
const ignoreMark = "holdfast-lint: ignore "

func (f *file) ignores(line int, rule string) bool {
	if f.marks == nil {
		f.marks = map[int]string{}
		if bytes.Contains(f.data, []byte(ignoreMark)) {
			for i, text := range bytes.Split(f.data, []byte("\n")) {
				if _, rules, ok := bytes.Cut(text, []byte("# "+ignoreMark)); ok {
					f.marks[i+1] = string(rules)
				}
			}
		}
	}
	for _, at := range []int{line, line - 1} {
		if slices.Contains(strings.FieldsFunc(f.marks[at], func(c rune) bool { return c == ',' || c == ' ' || c == '\r' }), rule) {
			return true
		}
	}
	return false
}
