package top

import (
	"fmt"
	"io"
	"strings"
)

// Sequences of xterm and all that came after it:
// https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
const (
	enter = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the other screen, no cursor, no wrapping
	leave = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	// A terminal that knows these shows a frame when it is whole; others ignore
	// them: https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036
	begin = "\x1b[?2026h"
	end   = "\x1b[?2026l"
)

// screen knows what a terminal shows, and sends only what is new.
type screen struct {
	out   io.Writer
	shown []string
}

// draw makes the terminal show lines of its whole width, in one write.
func (s *screen) draw(lines []string) error {
	var b strings.Builder
	for i, l := range lines {
		if i < len(s.shown) && s.shown[i] == l {
			continue
		}
		fmt.Fprintf(&b, "\x1b[%d;1H%s", i+1, l)
	}
	if len(lines) < len(s.shown) {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[J", len(lines)+1)
	}
	s.shown = append(s.shown[:0], lines...)
	if b.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(s.out, begin+b.String()+end)
	return err
}

// forget is for when the terminal's size has changed: it may show anything now.
func (s *screen) forget() {
	s.shown = nil
	_, _ = io.WriteString(s.out, "\x1b[2J") // the next draw will say if it is gone
}
