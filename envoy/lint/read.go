package lint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	// MaxBytes is the size of the largest file that is read. The trees of one take
	// some ten times as much.
	MaxBytes = 64 << 20
	// maxDepth bounds the nesting, and with it the stack.
	maxDepth = 500
	// moreVisits is how many more values are looked at than the file has bytes: a few
	// aliases of aliases are billions of values.
	moreVisits = 500_000
)

// InputError says why a file cannot be looked at, and what would help.
type InputError struct {
	File   string
	Line   int // 0: the whole file
	Reason string
}

func (e *InputError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Source is a file to look at.
type Source struct {
	Name string // as findings cite it
	Data []byte
}

// ReadFile reads a source from a file, or from stdin if its name is "-".
func ReadFile(name string, stdin io.Reader) (Source, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return Source{}, notReadable(name, err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return Source{}, &InputError{File: name, Reason: "this is a directory: name the files in it"}
		}
		in = f
	} else {
		name = "stdin"
	}
	data, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	if err != nil {
		return Source{}, notReadable(name, err)
	}
	if len(data) > MaxBytes {
		return Source{}, &InputError{File: name, Reason: fmt.Sprintf("more than %d MiB: give it in parts, each with the whole of a listener or cluster", MaxBytes>>20)}
	}
	return Source{Name: name, Data: data}, nil
}

func notReadable(name string, err error) *InputError {
	reason := err.Error()
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		reason = "cannot be read: " + pe.Err.Error()
	}
	return &InputError{File: name, Reason: reason}
}

// file is a source that was read.
type file struct {
	name string
	data []byte
	docs []*node

	marks map[int]string // comments that silence rules, by line; nil: not looked for yet
}

// parse makes the trees of a source's documents.
func parse(s Source) (*file, error) {
	f := &file{name: s.Name, data: bytes.TrimPrefix(s.Data, []byte("\xef\xbb\xbf"))}
	if reason := notText(f.data); reason != "" {
		return nil, &InputError{File: s.Name, Reason: reason}
	}
	var err error
	switch first := bytes.TrimLeft(f.data, " \t\r\n"); {
	case len(first) == 0:
		return nil, &InputError{File: s.Name, Reason: "the file is empty"}
	case first[0] == '{' || first[0] == '[':
		// YAML may begin like this as well, and forgives what JSON does not: comments,
		// commas too many, a second document behind ---.
		var strict error
		if f.docs, strict = readJSON(f, f.data, 0); strict == nil {
			break
		}
		if f.docs, err = readYAML(f, f.data, 0); err != nil && strings.HasSuffix(s.Name, ".json") {
			err = strict
		}
	default:
		f.docs, err = readYAML(f, f.data, 0)
	}
	return f, err
}

// notText says what is in the way of reading data as text.
func notText(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte("\x1f\x8b")):
		return "this is compressed by gzip: unpack it first"
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "this is UTF-16: convert it to UTF-8"
	case bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data):
		return "this is binary, not text: if it is Envoy's protobuf (.pb), print it as YAML or JSON, as /config_dump does"
	}
	return ""
}

// places counts lines while somebody reads on.
type places struct {
	data []byte
	at   int // up to where lines are counted
	line int
}

// of returns the line of a byte, which is not before the one asked for last.
func (p *places) of(offset int) int {
	p.line += bytes.Count(p.data[p.at:offset], []byte("\n"))
	p.at = offset
	return p.line
}
