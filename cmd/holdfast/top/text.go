package top

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"
)

// columnsOf is how many columns of a terminal a character takes.
func columnsOf(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// clean makes a text from elsewhere one that only prints: sequences for the
// terminal, line ends and marks that turn the direction of writing are shown as
// what they are, something that does not belong there.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.C, r) || r == unicode.ReplacementChar || r == '\u2028' || r == '\u2029' {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
}

// fit cuts or fills a text to a number of columns.
func fit(s string, columns int, right bool) string {
	used, cut := 0, len(s)
	for i, r := range s {
		w := columnsOf(r)
		if used+w > columns {
			cut = i
			break
		}
		used += w
	}
	if cut < len(s) && columns > 0 { // make room for the sign that there is more
		for used > columns-1 {
			r := []rune(s[:cut])
			last := r[len(r)-1]
			used -= columnsOf(last)
			cut -= len(string(last))
		}
		s, used = s[:cut]+"…", used+1
	} else {
		s = s[:cut]
	}
	fill := strings.Repeat(" ", max(0, columns-used))
	if right {
		return fill + s
	}
	return s + fill
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	s := max(0, int64(d/time.Second))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

// number is a count that stays narrow.
func number[T uint64 | int | float64](n T) string {
	v := float64(n)
	for _, unit := range []string{"", "k", "M", "G"} {
		if v < 10_000 || unit == "G" {
			if unit != "" && v < 100 {
				return fmt.Sprintf("%.1f%s", v, unit)
			}
			return fmt.Sprintf("%.0f%s", v, unit)
		}
		v /= 1000
	}
	return ""
}

// spark draws values as a line of bars, the latest at the right; it has at most
// columns of them, each the greatest of those it stands for.
func spark(values []float64, columns int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	if len(values) == 0 || columns <= 0 {
		return ""
	}
	per := (len(values) + columns - 1) / columns
	var tops []float64
	for i := len(values); i > 0; i -= per {
		top := 0.0
		for _, v := range values[max(0, i-per):i] {
			top = max(top, v)
		}
		tops = append([]float64{top}, tops...)
	}
	most := 0.0
	for _, v := range tops {
		most = max(most, v)
	}
	out := make([]rune, len(tops))
	for i, v := range tops {
		out[i] = bars[0]
		if most > 0 {
			out[i] = bars[int(v/most*float64(len(bars)-1)+.5)]
		}
	}
	return string(out)
}
