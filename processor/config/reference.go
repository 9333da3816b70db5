package config

import (
	"reflect"
	"slices"
	"strings"
)

// Entry describes one key of the file to a reader. Its texts are Markdown.
type Entry struct {
	Path    string // such as "limits.event_bytes" or "policies[].mode"
	Default string // as the file would say it
	Allowed string // the values this version takes
	Doc     string // what it is for
	Zero    string // what 0, "", [] or {} does; "" if nothing special
	Later   string // what of it is not in this version; "" if all is
	Reload  bool   // a reload applies it; otherwise it takes a restart
}

// Reference lists every key of the file, in the order of the file.
func Reference() []Entry {
	defaults := map[string]reflect.Value{}
	for _, l := range leaves(Default()) {
		defaults[l.key] = l.value
	}
	out := make([]Entry, 0, len(defaults))
	for _, k := range keys() {
		v := defaults[k.path]
		e := Entry{
			Path:    k.path,
			Default: show(v),
			Allowed: k.allowedText(v.Type()),
			Doc:     k.doc,
			Zero:    k.zero,
			Reload:  reloads(k.path),
		}
		switch all, some := withheld(k.path); {
		case all:
			e.Later = "Not in this version: only the default is accepted."
		case len(some) > 0:
			e.Later = "Not in this version: `" + strings.Join(some, "`, `") + "`."
		}
		out = append(out, e)
	}
	return out
}

func (k key) allowedText(t reflect.Type) string {
	switch {
	case len(k.values) > 0:
		return "`" + strings.Join(k.allowed(), "`, `") + "`"
	case k.bounds != nil:
		unit := map[reflect.Type]string{
			reflect.TypeFor[Duration](): "duration, ",
			reflect.TypeFor[Size]():     "size, ",
			reflect.TypeFor[int]():      "whole number, ",
			reflect.TypeFor[float64]():  "number, ",
		}[t]
		return unit + k.rangeText(t)
	}
	return k.shape
}

// reloads says whether a key takes effect without a restart: what Compile reads.
func reloads(path string) bool {
	return strings.HasPrefix(path, "policies[]") || path == "limits.event_bytes"
}

// RestartKeys lists the keys that differ between two configurations and that a
// reload cannot apply, in the order of the file. Everything else is in what
// Compile returns.
func RestartKeys(running, next *Config) []string {
	before := leaves(running)
	var out []string
	for _, l := range leaves(next) {
		if reloads(l.key) {
			continue
		}
		i := slices.IndexFunc(before, func(b leaf) bool { return b.path == l.path })
		if !reflect.DeepEqual(l.value.Interface(), before[i].value.Interface()) {
			out = append(out, l.path)
		}
	}
	return out
}
