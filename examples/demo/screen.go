package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// screen shows the demo: on a terminal a table that is drawn over itself,
// elsewhere a line now and then.
type screen struct {
	w        io.Writer
	terminal bool
	drawn    int // lines of the table that stands on the terminal
	lastLine time.Time
}

func newScreen(w io.Writer, terminal bool) *screen { return &screen{w: w, terminal: terminal} }

// isTerminal says whether a table may be drawn over itself on f.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

func (s *screen) printf(format string, args ...any) {
	fmt.Fprintf(s.w, format, args...)
}

const plainEvery = 2 * time.Second

func (s *screen) progress(direct, through tally) {
	if !s.terminal {
		if now := time.Now(); now.Sub(s.lastLine) >= plainEvery {
			s.lastLine = now
			s.printf("  direct: %s | through Holdfast: %s\n", brief(direct), brief(through))
		}
		return
	}
	lines := []string{
		fmt.Sprintf("%-12s%-34s%s", "", "direct", "through Holdfast"),
		fmt.Sprintf("%-12s%-34s%s", "events", bar(direct), bar(through)),
		row("repeats", direct.repeats, through.repeats),
		row("lost", direct.lost, through.lost),
		row("reconnects", direct.reconnects, through.reconnects),
	}
	s.erase()
	for _, l := range lines {
		s.printf("  %s\n", l)
	}
	s.drawn = len(lines)
}

// erase removes the table from the terminal.
func (s *screen) erase() {
	if s.drawn > 0 {
		s.printf("\x1b[%dA\x1b[J", s.drawn) // up, and clear to the end
		s.drawn = 0
	}
}

func brief(t tally) string {
	return fmt.Sprintf("%3d events, %2d repeats, %d lost, %d reconnects", t.events, t.repeats, t.lost, t.reconnects)
}

func row(name string, direct, through int) string {
	return fmt.Sprintf("%-12s%-34d%d", name, direct, through)
}

// bar shows how far a client is.
func bar(t tally) string {
	const width = 20
	full := min(width, t.events*width/max(1, t.total))
	return fmt.Sprintf("%-4d [%s%s]", t.events, strings.Repeat("#", full), strings.Repeat("-", width-full))
}

// report is the end: the figures, what Holdfast itself knows, and what it means.
func (s *screen) report(r result) {
	s.erase()
	if !s.terminal {
		s.printf("\n")
	}
	line := func(name string, direct, through any) {
		s.printf("  %-14s%10v%20v\n", name, direct, through)
	}
	line("", "direct", "through Holdfast")
	line("events", r.direct.events, r.through.events)
	line("repeats", r.direct.repeats, r.through.repeats)
	line("lost", r.events-r.direct.events, r.events-r.through.events)
	line("reconnects", r.direct.reconnects, r.through.reconnects)

	last, dropped, trust := r.session.newest()
	s.printf("\n  The session as Holdfast's admin API shows it:\n  %s\n", r.session.url)
	for _, f := range [][2]string{
		{"session key", r.session.Session},
		{"last event id", last},
		{"duplicates dropped", strconv.Itoa(dropped)},
		{"event ids are", trust},
	} {
		s.printf("    %-20s%s\n", f[0], f[1])
	}
	if r.verdict() == nil {
		s.printf("\n  The origin sent %d of its %d events a second time. The direct client had to put up with them;\n"+
			"  through Holdfast the same client saw every event exactly once, in order.\n",
			r.sentThrough.Repeats, r.events)
	}
}
