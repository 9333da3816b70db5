package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// field is a key of a section.
type field struct {
	name  string
	index int
}

// fieldsOf reads the key names of a section from its json tags.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "-" {
			out = append(out, field{name: name, index: i})
		}
	}
	return out
}

func fieldNames(fs []field) []string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = f.name
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// leaf is one key of a Config with its value.
type leaf struct {
	path  string // "policies[1].replay.events"
	key   string // "policies[].replay.events", as in the table of keys
	value reflect.Value
}

// Reflection is at work only while a file is read and shown. It keeps the names,
// the order and the types of the keys in one place, the structs of Config.

// leaves lists the keys of a Config that have values of their own, in the order
// of the struct. Lists and maps other than policies are one leaf each.
func leaves(cfg *Config) []leaf {
	var out []leaf
	var walk func(path, key string, v reflect.Value)
	walk = func(path, key string, v reflect.Value) {
		switch {
		case v.Kind() == reflect.Struct:
			for _, f := range fieldsOf(v.Type()) {
				walk(join(path, f.name), join(key, f.name), v.Field(f.index))
			}
		case v.Type() == reflect.TypeFor[[]PolicyConfig]():
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", path, i), key+"[]", v.Index(i))
			}
		default:
			out = append(out, leaf{path: path, key: key, value: v})
		}
	}
	walk("", "", reflect.ValueOf(cfg).Elem())
	return out
}

// subject names a key to the user; names has the policies' names by path.
func subject(path string, names map[string]string) string {
	m := regexp.MustCompile(`^(policies\[\d+\])\.?(.*)$`).FindStringSubmatch(path)
	if m == nil {
		return path
	}
	who := m[1]
	if name := names[who]; name != "" {
		who = fmt.Sprintf("policy %q", name)
	}
	if m[2] == "" {
		return who
	}
	return who + ": " + m[2]
}

// unknownKey says what a key that does not exist may have been meant to be.
func unknownKey(section, key string, allowed []string) string {
	msg := fmt.Sprintf("unknown key %q", key)
	best, distance := "", 3 // more than two wrong letters is another word
	for _, name := range allowed {
		if d := editDistance(strings.ToLower(key), name); d < distance && d < len(name)/2+1 {
			best, distance = name, d
		}
		if strings.HasPrefix(name, key+"_") { // path for path_prefix
			best, distance = name, 0
		}
	}
	// The right key in the wrong place is the other common slip. What belongs to
	// the process is no use to someone who writes a policy.
	for _, k := range keys() {
		inPolicy := strings.HasPrefix(k.path, "policies[]")
		if best == "" && lastKey(k.path) == key && (inPolicy || !strings.HasPrefix(section, "policies[")) {
			best = strings.Replace(k.path, "[]", "[…]", 1)
		}
	}
	if best != "" {
		return fmt.Sprintf("%s: did you mean %s?", msg, best)
	}
	return fmt.Sprintf("%s: allowed here are %s", msg, strings.Join(allowed, ", "))
}

// editDistance is Levenshtein's: insertions, deletions and substitutions, in one
// row of the table (https://en.wikipedia.org/wiki/Levenshtein_distance). Keys are
// ASCII; a stray letter of several bytes only makes the distance larger.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
