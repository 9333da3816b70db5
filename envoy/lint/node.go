package lint

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// kind is what a value is written as.
type kind uint8

const (
	null kind = iota
	scalar
	list
	mapping
)

// node is one value of a document. Its methods may be called on nil, which is a
// value that is not there.
type node struct {
	file *file
	line int // of its key or of the list's item, from 1: where one looks for it
	kind kind

	text    string  // of a scalar
	literal bool    // a scalar whose text begins on the next line, line for line
	items   []*node // of a list
	fields  []field // of a mapping, in order
}

type field struct {
	name  string
	value *node
}

// get returns a field, by its name in Envoy's documentation. As Envoy's own
// parser does, it takes lowerCamelCase for the same
// (https://protobuf.dev/programming-guides/json/). A null is a field that is not
// set.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.fields {
		if f := &n.fields[i]; sameName(f.name, name) && f.value.kind != null {
			return f.value
		}
	}
	return nil
}

// at follows a path of names.
func (n *node) at(path ...string) *node {
	for _, name := range path {
		n = n.get(name)
	}
	return n
}

// has says whether a field is set.
func (n *node) has(name string) bool { return n.get(name) != nil }

// sameName compares a key as written with a field's name in snake_case.
func sameName(written, name string) bool {
	if written == name {
		return true
	}
	i, up := 0, false
	for j := range len(name) {
		c := name[j]
		if c == '_' {
			up = true
			continue
		}
		if up && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		up = false
		if i == len(written) || written[i] != c {
			return false
		}
		i++
	}
	return i == len(written)
}

// list returns a list's items. A single value where a list belongs is not taken
// for a list of one; Envoy does not either.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.items
}

// string returns a scalar's text, or "".
func (n *node) string() string {
	if n == nil {
		return ""
	}
	return n.text
}

// isTrue says that it is set and true.
func (n *node) isTrue() bool { return n.string() == "true" }

// number returns an integer, be it written as a number or as a string of one.
func (n *node) number() (uint64, bool) {
	text := n.string()
	if v, err := strconv.ParseUint(text, 10, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseFloat(text, 64) // 1e6, 1024.0
	if err != nil || v < 0 || v > math.MaxInt64 || v != math.Trunc(v) {
		return 0, false
	}
	return uint64(v), true
}

// duration returns a google.protobuf.Duration: "decimal seconds with the suffix s".
func (n *node) duration() (time.Duration, bool) {
	digits, ok := strings.CutSuffix(n.string(), "s")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.Abs(v) > math.MaxInt64/1e9 {
		return 0, false
	}
	return time.Duration(math.Round(v * 1e9)), true
}

// typeName is what a value says it is, without the package's version of the API:
// "ExternalProcessor" for
// "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor".
func (n *node) typeName() string {
	name := n.get("@type").string()
	return name[strings.LastIndexAny(name, "./")+1:]
}

// unwrapped looks into the boxes that extensions come in.
func (n *node) unwrapped() *node {
	for range 4 { // boxes in boxes
		switch n.typeName() {
		case "TypedStruct":
			n = n.get("value").typed(n.get("type_url"))
		case "ExtensionWithMatcher":
			n = n.at("extension_config", "typed_config")
		default:
			return n
		}
	}
	return n
}

// typed is a value with its type in the place where it usually is.
func (n *node) typed(name *node) *node {
	if n == nil || name == nil || n.has("@type") {
		return n
	}
	t := *n
	t.fields = append([]field{{"@type", name}}, n.fields...)
	return &t
}
