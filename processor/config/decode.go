package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder fills a Config from a syntax tree. It goes on after a problem, so
// that one run tells everything; a value it cannot read keeps its default.
//
// It exists because yaml.Unmarshal stops at the first error, cannot give each
// element of a list its defaults, and forgets where the values it accepted came
// from, which validation needs to point at them.
type decoder struct {
	src      *source
	problems []Problem
	places   map[string]place  // of every key and list entry that was read
	failed   map[string]bool   // of those, what could not be
	names    map[string]string // of policies, by path
}

type place struct{ line, column int }

func newDecoder(src *source) *decoder {
	return &decoder{
		src:    src,
		places: map[string]place{"": {1, 1}},
		failed: map[string]bool{},
		names:  map[string]string{},
	}
}

// fail reports a problem at a token.
func (d *decoder) fail(path string, t *token.Token, format string, args ...any) {
	p := Problem{Path: path, Subject: subject(path, d.names), Message: fmt.Sprintf(format, args...)}
	p.Line, p.Column = t.Position.Line, t.Position.Column
	d.problems = append(d.problems, p)
	d.failed[path] = true
}

// found takes over what validation says of the values that were read. What it
// says of a default that stands in for an unreadable value would only confuse.
func (d *decoder) found(ps []Problem) {
	for _, p := range ps {
		if d.failed[p.Path] || p.Path != "" && d.failed[parent(p.Path)] {
			continue
		}
		at := d.position(p.Path)
		p.Line, p.Column = at.line, at.column
		d.problems = append(d.problems, p)
	}
}

// sorted returns the problems in file order, with snippets.
func (d *decoder) sorted() []Problem {
	for i := range d.problems {
		p := &d.problems[i]
		p.Snippet = d.src.snippet(p.Line, p.Column)
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return d.problems
}

// position is the place of a key, or of the nearest section around it that is
// in the file.
func (d *decoder) position(path string) place {
	for {
		if at, ok := d.places[path]; ok {
			return at
		}
		path = parent(path)
	}
}

// parent takes the last step off a path: "policies[1].mode", "policies[1]",
// "policies", "".
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func (d *decoder) root(n ast.Node, cfg *Config) {
	if n == nil {
		return
	}
	d.section("", n, reflect.ValueOf(cfg).Elem())
}

// value decodes n into v, which holds the default.
func (d *decoder) value(path string, n ast.Node, v reflect.Value) {
	t := start(n)
	d.places[path] = place{t.Position.Line, t.Position.Column}
	switch n := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		d.fail(path, t, "anchors, aliases and merge keys are not supported: write the value out")
		return
	case *ast.TagNode:
		d.fail(path, t, "YAML tags are not supported: remove %s", n.Start.Value)
		return
	}
	if c, ok := reflect.TypeAssert[*CompletionConfig](v.Addr()); ok {
		if name, ok := n.(*ast.StringNode); ok {
			c.Detector = name.Value
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		d.section(path, n, v)
	case reflect.Slice:
		d.list(path, n, v)
	case reflect.Map:
		d.table(path, n, v)
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(path, n, p.Elem())
		v.Set(p)
	default:
		d.scalar(path, n, v)
	}
}

// section decodes a mapping with known keys. A key with nothing behind it is an
// error for a value, which may have been lost in editing, and fine for a
// section, whose keys are then all commented out.
func (d *decoder) section(path string, n ast.Node, v reflect.Value) {
	if _, ok := n.(*ast.NullNode); ok {
		if strings.HasSuffix(path, "]") {
			d.fail(path, start(n), "this entry is empty: write it, or remove the dash")
		}
		return
	}
	fields := fieldsOf(v.Type())
	d.entries(path, n, "keys and values: "+strings.Join(fieldNames(fields), ", "), func(key string, k *token.Token, val ast.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		if i < 0 {
			d.fail(path, k, "%s", unknownKey(path, key, fieldNames(fields)))
			return
		}
		d.value(join(path, key), val, v.Field(fields[i].index))
	})
}

// list decodes a sequence. What is written replaces the default: to add to a
// default list one would have to know it, and could take nothing away. What the
// list leaves open within a policy is filled in.
func (d *decoder) list(path string, n ast.Node, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(path, start(n), "%s: write a list, such as [a, b], or [] for none", describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		elem := out.Index(i)
		policy, ok := reflect.TypeAssert[*PolicyConfig](elem.Addr())
		if ok {
			*policy = defaultPolicy()
			d.names[at] = nameIn(item)
		}
		d.value(at, item, elem)
		if ok && (d.failed[at] || d.failed[at+".name"]) {
			policy.Name = "" // not known, so not the same as any other
		}
	}
	v.Set(out)
}

// table decodes a mapping whose keys are the user's.
func (d *decoder) table(path string, n ast.Node, v reflect.Value) {
	out := reflect.MakeMap(v.Type())
	d.entries(path, n, "names and values, such as {name: value}", func(key string, k *token.Token, val ast.Node) {
		at := path + "[" + key + "]"
		d.places[at] = place{k.Position.Line, k.Position.Column}
		elem := reflect.New(v.Type().Elem()).Elem()
		if elem.Kind() == reflect.Interface {
			if x, ok := d.any(at, val); ok && x != nil {
				elem.Set(reflect.ValueOf(x))
			}
		} else {
			d.value(at, val, elem)
		}
		out.SetMapIndex(reflect.ValueOf(key), elem)
	})
	v.Set(out)
}

// entries calls f for each key of a mapping, once per key: YAML calls a second
// one an error (https://yaml.org/spec/1.2.2/#3213-node-comparison), and to let
// either win in silence would hide which.
func (d *decoder) entries(path string, n ast.Node, want string, f func(key string, k *token.Token, val ast.Node)) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.fail(path, start(n), "%s: write %s", describe(n), want)
		return
	}
	first := map[string]int{}
	for _, kv := range m.Values {
		t := kv.Key.GetToken()
		switch kv.Key.(type) {
		case *ast.MergeKeyNode:
			d.fail(path, t, "merge keys are not supported: write the keys out")
			continue
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		default:
			d.fail(path, t, "a key must be a plain word")
			continue
		}
		key := t.Value
		if line, dup := first[key]; dup {
			d.fail(join(path, key), t, "the key is here a second time; it was first written in line %d", line)
			continue
		}
		first[key] = t.Position.Line
		f(key, t, kv.Value)
	}
}

// scalar decodes one value of a basic type.
func (d *decoder) scalar(path string, n ast.Node, v reflect.Value) {
	t := start(n)
	if _, ok := n.(*ast.NullNode); ok {
		d.fail(path, t, "has no value: write one, or remove the key to have the default, %s", show(v))
		return
	}
	text, ok := scalarText(n)
	if !ok {
		d.fail(path, t, "%s: write a single value", describe(n))
		return
	}
	var err error
	switch x := v.Addr().Interface().(type) {
	case *Duration:
		var got Duration
		if got, err = ParseDuration(text); err == nil {
			*x = got
		}
	case *Size:
		var got Size
		if got, err = ParseSize(text); err == nil {
			*x = got
		}
	case *int:
		var got int64
		if got, err = strconv.ParseInt(text, 10, 32); err == nil {
			*x = int(got)
		} else {
			err = fmt.Errorf("%q is not a whole number", text)
		}
	case *float64:
		var got float64
		if got, err = strconv.ParseFloat(text, 64); err == nil && got == got {
			*x = got
		} else {
			err = fmt.Errorf("%q is not a number", text)
		}
	default: // string and Address
		// A text that YAML takes for something else would not survive being
		// written differently (1e3, 0x10, yes), so it has to be quoted.
		switch n.(type) {
		case *ast.StringNode, *ast.LiteralNode:
			v.SetString(text)
		default:
			err = fmt.Errorf("%s: put it in quotes if a text is meant, as in %q", describe(n), text)
		}
	}
	if err != nil {
		d.fail(path, t, "%v", err)
	}
}

// any decodes a value of a json condition: a scalar, in the form in which
// encoding/json gives it to the core, so that they can be compared.
func (d *decoder) any(path string, n ast.Node) (any, bool) {
	t := start(n)
	d.places[path] = place{t.Position.Line, t.Position.Column}
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.BoolNode:
		return n.Value, true
	case *ast.NullNode:
		return nil, true
	case *ast.IntegerNode, *ast.FloatNode:
		// JSON knows one kind of number, and its grammar is what the text must have.
		if x, err := strconv.ParseFloat(t.Value, 64); err == nil {
			return x, true
		}
		d.fail(path, t, "%q is not a JSON number: write digits, as in 42 or 0.5", t.Value)
	default:
		d.fail(path, t, "%s: write a text, a number, true, false or null", describe(n))
	}
	return nil, false
}

// scalarText is the text of a scalar, with quotes and escapes resolved.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// start is the token that a problem with a node points at: its first. The parser
// calls the colon a mapping's own token, which no user would look for.
func start(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return start(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(n.Key)
	}
	return n.GetToken()
}

// describe says what a node is, to someone who meant something else.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "this is a section of keys"
	case *ast.SequenceNode:
		return "this is a list"
	case *ast.NullNode:
		return "this has no value"
	case *ast.BoolNode:
		return "this is true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "this is a number"
	}
	return "this is a text"
}

// nameIn finds the name of a policy before it is decoded, so that every problem
// in it can tell it.
func nameIn(n ast.Node) string {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		return ""
	}
	for _, kv := range m.Values {
		if s, ok := kv.Value.(*ast.StringNode); ok && kv.Key.GetToken().Value == "name" {
			return s.Value
		}
	}
	return ""
}
