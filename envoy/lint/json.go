package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readJSON reads one value after another, as from `jq` or a list of answers.
// above is added to the lines.
func readJSON(f *file, data []byte, above int) ([]*node, error) {
	r := &jsonReader{file: f, dec: json.NewDecoder(bytes.NewReader(data)), places: places{data: data, line: above + 1}}
	r.dec.UseNumber()
	var docs []*node
	for {
		tok, err := r.dec.Token()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err == nil {
			var n *node
			if n, err = r.value(tok, r.line(), 0); err == nil {
				docs = append(docs, n)
				continue
			}
		}
		return nil, r.failed(err)
	}
}

type jsonReader struct {
	file   *file
	dec    *json.Decoder
	places places
}

// line is where the token that was read last ends; none is longer than a line.
func (r *jsonReader) line() int { return r.places.of(int(r.dec.InputOffset())) }

func (r *jsonReader) failed(err error) error {
	if e, ok := errors.AsType[*InputError](err); ok {
		return e
	}
	line := r.line()
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		if at := int(e.Offset); at > r.places.at && at <= len(r.places.data) {
			line = r.places.of(at)
		}
	}
	reason := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		reason = "the file ends in the middle of a value"
	}
	return &InputError{File: r.file.name, Line: line, Reason: "not JSON: " + reason + templateHint(r.places.data)}
}

// value reads what begins with tok. line is where one would look for it: at its
// key, if it has one.
func (r *jsonReader) value(tok json.Token, line, depth int) (*node, error) {
	n := &node{file: r.file, line: line}
	if depth > maxDepth {
		return nil, tooDeep(r.file, line)
	}
	switch tok := tok.(type) {
	case json.Delim:
		n.kind = list
		if tok == '{' {
			n.kind = mapping
		}
		if err := r.children(n, depth); err != nil {
			return nil, err
		}
	case nil:
	default:
		n.kind, n.text = scalar, fmt.Sprint(tok)
	}
	return n, nil
}

func (r *jsonReader) children(n *node, depth int) error {
	for {
		tok, err := r.dec.Token()
		if err != nil {
			return err
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			return nil
		}
		name, line := "", r.line()
		if n.kind == mapping {
			name, _ = tok.(string) // the decoder sees to that
			if tok, err = r.dec.Token(); err != nil {
				return err
			}
		}
		v, err := r.value(tok, line, depth+1)
		if err != nil {
			return err
		}
		if n.kind == mapping {
			n.fields = append(n.fields, field{name, v})
		} else {
			n.items = append(n.items, v)
		}
	}
}

func tooDeep(f *file, line int) error {
	return &InputError{File: f.name, Line: line, Reason: fmt.Sprintf("nested more than %d levels deep: no Envoy configuration is", maxDepth)}
}
