package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	Path    string // the key, such as "policies[1].mode"; "" for the file as a whole
	Subject string // the key as a user would call it, such as `policy "llm": mode`
	Message string // what is wrong and what to write instead
	Line    int    // from 1; 0 if the value did not come from a file
	Column  int    // from 1, in characters
	Snippet string // the lines around it with a mark; "" without a Line
}

// Error is everything that is wrong with a configuration.
type Error struct {
	Name     string // the file's name; "" if it was not a file
	Problems []Problem
}

// maxShown bounds the text of an Error: whoever has more to mend will run the
// check again anyway.
const maxShown = 20

// Error lists the problems in file order, one paragraph each:
//
//	holdfast.yaml:12:9: policy "llm": mode: "holds" is not one of off, observe, inline, auto
//	  11 | - name: llm
//	> 12 |   mode: holds
//	     |         ^
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == maxShown {
			fmt.Fprintf(&b, "\n… and %d more problems", len(e.Problems)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		if p.Line > 0 {
			fmt.Fprintf(&b, "%s:%d:%d: ", e.Name, p.Line, p.Column)
		} else if e.Name != "" {
			fmt.Fprintf(&b, "%s: ", e.Name)
		}
		if p.Subject != "" {
			b.WriteString(p.Subject + ": ")
		}
		b.WriteString(p.Message)
		if p.Snippet != "" {
			b.WriteString("\n" + p.Snippet)
		}
	}
	return b.String()
}

// source is the text of a file, for quoting. The parser has a printer of its own,
// but it quotes passwords, control characters and lines of any length.
type source struct {
	name  string
	lines []string
}

func newSource(name, text string) *source {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return &source{name: name, lines: lines}
}

const (
	snippetBefore = 2   // lines shown above the one meant
	snippetWidth  = 100 // characters shown of a line
)

// snippet quotes a line with a mark under the column, and the lines above it.
func (s *source) snippet(line, column int) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	// A very long line is shown from a little before the mark.
	from := 0
	if column > snippetWidth {
		from = column - snippetWidth/2
	}
	var b strings.Builder
	digits := len(fmt.Sprint(line))
	for n := max(1, line-snippetBefore); n <= line; n++ {
		mark := ' '
		if n == line {
			mark = '>'
		}
		text := printable(window(s.lines[n-1], from, snippetWidth))
		b.WriteString(strings.TrimRight(fmt.Sprintf("%c %*d | %s", mark, digits, n, text), " "))
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "  %*s | %s^", digits, "", strings.Repeat(" ", max(0, column-1-from)))
	return b.String()
}

func window(line string, from, width int) string {
	runes := []rune(hidePasswords(line))
	if from >= len(runes) {
		return ""
	}
	return string(runes[from:min(len(runes), from+width)])
}

// printable keeps a hostile file from writing to the reader's terminal; every
// character stays one column wide, so that the mark stays right.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '�'
		}
		return r
	}, s)
}

// hidePasswords blanks the user and password of every URL in a text, for errors
// end up in logs. A password may hold a slash that should have been escaped. The
// length stays the same.
func hidePasswords(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return regexp.MustCompile(`://[^\s"']*@`).ReplaceAllStringFunc(s, func(m string) string {
		return "://" + strings.Repeat("*", len([]rune(m))-len("://@")) + "@"
	})
}
