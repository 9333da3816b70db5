package config

import (
	"reflect"
	"strings"
)

// Entry describes one key of the file to a reader. Its texts are Markdown.
type Entry struct {
	Path    string // such as "limits.event_bytes" or "policies[].mode"
	Default string // as the file would say it
	Allowed string // the values it takes
	Doc     string // what it is for
	Zero    string // what the empty value does, such as "`0`: no heartbeats"; "" if nothing special
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
			Reload:  reloads(k.path),
		}
		if k.zero != "" {
			e.Zero = "`" + emptyText(v.Kind()) + "`: " + k.zero
		}
		out = append(out, e)
	}
	return out
}

// emptyText is the empty value of a kind as the file would say it.
func emptyText(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return `""`
	case reflect.Slice:
		return "[]"
	case reflect.Map:
		return "{}"
	default:
		return "0"
	}
}

// allowedText is the last column a reader needs before trying.
func (k key) allowedText(t reflect.Type) string {
	switch {
	case len(k.values) > 0:
		return "`" + strings.Join(k.values, "`, `") + "`"
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
