package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// screen shows the demo: on a terminal a table that is drawn over itself,
// elsewhere a row now and then. No line is wider than 80 columns.
type screen struct {
	w        io.Writer
	terminal bool
	drawn    int // lines of the table that stands on the terminal
	shown    time.Time
	rows     int // printed elsewhere
	kills    int // at the last of them
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

const (
	refresh   = 100 * time.Millisecond
	killsARow = 5
)

func (s *screen) progress(kills, of int, plain, behind tally) {
	if !s.terminal {
		if kills >= s.kills+killsARow && kills%killsARow == 0 {
			s.kills = kills
			s.row(kills, plain, behind)
		}
		return
	}
	if now := time.Now(); now.Sub(s.shown) >= refresh {
		s.shown = now
		s.erase()
		s.drawn = s.table(kills, of, plain, behind)
	}
}

// row is one of a table that grows downwards.
func (s *screen) row(kills int, plain, behind tally) {
	if s.rows == 0 {
		s.printf("       ----------- plain Envoy ---------   ------------ Holdfast -----------\n" +
			"kills  events conns errors lost repeated   events conns errors lost repeated\n")
	}
	s.rows++
	cells := func(t tally) string {
		return fmt.Sprintf("%6d %5d %6d %4d %8d", t.events, t.connections, t.errors, t.lost(), t.repeated)
	}
	s.printf("%5d  %s   %s\n", kills, cells(plain), cells(behind))
}

// table says where things stand, and returns how many lines it has.
func (s *screen) table(kills, of int, plain, behind tally) int {
	const width = 40
	full := kills * width / of
	lines := []string{
		fmt.Sprintf("origin killed %*d of %d  [%s%s]", len(fmt.Sprint(of)), kills, of, strings.Repeat("#", full), strings.Repeat("-", width-full)),
		"",
		line("", "plain Envoy", "Holdfast"),
		line("events", plain.events, behind.events),
		line("connections", plain.connections, behind.connections),
		line("errors", plain.errors, behind.errors),
		line("lost", plain.lost(), behind.lost()),
		line("repeated", plain.repeated, behind.repeated),
	}
	for _, l := range lines {
		s.printf("  %s\n", l)
	}
	return len(lines)
}

func line(name string, plain, behind any) string {
	return fmt.Sprintf("%-34s%14v%14v", name, plain, behind)
}

// erase removes the table from the terminal.
func (s *screen) erase() {
	if s.drawn > 0 {
		s.printf("\x1b[%dA\x1b[J", s.drawn) // up, and clear to the end
		s.drawn = 0
	}
}

// report is the end: the figures, what Holdfast itself knows, and what it means.
func (s *screen) report(r result) {
	s.erase()
	if s.rows > 0 {
		s.printf("\n")
	}
	p, h := r.plain, r.behind
	of := func(n int) string { return fmt.Sprintf("%d of %d", n, r.events) }
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	for _, l := range []string{
		line("", "plain Envoy", "Holdfast"),
		line("origin killed", r.kills, r.kills),
		line("events", of(p.events), of(h.events)),
		line("connections", p.connections, h.connections),
		line("errors", p.errors, h.errors),
		line("lost", r.events-p.events, r.events-h.events),
		line("repeated", p.repeated, h.repeated),
		line("longest silence", ms(p.silence), ms(h.silence)),
		line("for a client that never reconnects", of(p.first), of(h.first)),
	} {
		s.printf("  %s\n", l)
	}
	s.printf("\n  Holdfast's own account of the stream, /api/v1/streams on its admin port:\n"+
		"  mode %s, %d resumes, %d repeats dropped\n", r.stream.Mode, r.stream.Resumes, r.stream.Duplicates)
	if r.verdict() == nil {
		s.printf("\n  Through plain Envoy each death of the origin is an error that the client has\n" +
			"  to deal with: connect again, say where it was, put up with what comes twice.\n" +
			"  Through Holdfast it read every event once, in order, over one connection.\n")
	}
}
