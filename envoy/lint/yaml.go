package lint

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML reads every document. above is added to the lines.
func readYAML(f *file, data []byte, above int) ([]*node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var docs []*node
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, notYAML(f, data, above, err)
		}
		r := yamlReader{file: f, above: above, anchored: map[*yaml.Node]*node{}}
		n, err := r.value(&doc, 0)
		if err != nil {
			return nil, err
		}
		docs = append(docs, n)
	}
}

// lineOf is how the library says where it gave up.
var lineOf = regexp.MustCompile(`^yaml: line (\d+): `)

func notYAML(f *file, data []byte, above int, err error) error {
	if strings.Contains(err.Error(), "exceeded max depth") {
		return tooDeep(f, 0) // and too deep for the library
	}
	e := &InputError{File: f.name, Reason: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1]) // digits
		e.Line, e.Reason = above+line, "not YAML: "+strings.TrimPrefix(err.Error(), m[0])
	}
	e.Reason += templateHint(data)
	return e
}

// templateHint is for what is no YAML or JSON yet.
func templateHint(data []byte) string {
	if bytes.Contains(data, []byte("{{")) || bytes.Contains(data, []byte("{%")) {
		return "; it looks like a template: lint what it renders to"
	}
	return ""
}

type yamlReader struct {
	file     *file
	above    int
	anchored map[*yaml.Node]*node
}

// value makes a node of what the library read. The lines of keys are set by
// their mapping.
func (r *yamlReader) value(y *yaml.Node, depth int) (*node, error) {
	n := &node{file: r.file, line: r.above + y.Line}
	if depth > maxDepth {
		return nil, tooDeep(r.file, n.line)
	}
	switch y.Kind {
	case yaml.DocumentNode:
		return r.value(y.Content[0], depth)
	case yaml.AliasNode:
		return r.alias(y, n.line)
	case yaml.ScalarNode:
		if y.Tag == "!!null" {
			return n, nil
		}
		n.kind, n.text, n.literal = scalar, y.Value, y.Style&yaml.LiteralStyle != 0
	case yaml.SequenceNode:
		n.kind = list
		for _, c := range y.Content {
			v, err := r.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, v)
		}
	case yaml.MappingNode:
		n.kind = mapping
		if err := r.mapping(n, y, depth); err != nil {
			return nil, err
		}
	}
	if y.Anchor != "" {
		r.anchored[y] = n
	}
	return n, nil
}

// alias is a copy of what the anchor is at, said in another place. What is below
// it is shared, and has the lines of where it is written.
func (r *yamlReader) alias(y *yaml.Node, line int) (*node, error) {
	to, ok := r.anchored[y.Alias]
	if !ok {
		return nil, &InputError{File: r.file.name, Line: line, Reason: "not YAML: *" + y.Value + " is inside of what it stands for"}
	}
	n := *to
	n.line = line
	return &n, nil
}

func (r *yamlReader) mapping(n *node, y *yaml.Node, depth int) error {
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		v, err := r.value(value, depth+1)
		if err != nil {
			return err
		}
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			if v.kind == list {
				merged = append(merged, v.items...)
			} else {
				merged = append(merged, v)
			}
			continue
		}
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		v.line = r.above + y.Content[i].Line
		n.fields = append(n.fields, field{key.Value, v})
	}
	// "Keys in mapping nodes earlier in the sequence override keys specified in
	// later mapping nodes", and the mapping's own override all:
	// https://yaml.org/type/merge.html
	if len(merged) == 0 {
		return nil
	}
	own := make(map[string]bool, len(n.fields))
	for i := range n.fields {
		own[n.fields[i].name] = true
	}
	for _, m := range merged {
		for _, fd := range m.fields {
			if !own[fd.name] {
				own[fd.name] = true
				n.fields = append(n.fields, fd)
			}
		}
	}
	return nil
}
