package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"holdfast/processor/splice"
)

// Validate finds everything that is wrong with the values, whether they came
// from a file or from flags. It changes nothing and touches no file. The error
// is an [*Error] without places.
func (c *Config) Validate() error {
	if ps := c.problems(); len(ps) > 0 {
		return &Error{Problems: ps}
	}
	return nil
}

// problems goes on after the first, for whoever mends a file wants to mend it
// once. What one key says alone is checked by the table, what keys say together
// by the functions after it.
func (c *Config) problems() []Problem {
	v := validator{names: map[string]string{}}
	for i, p := range c.Policies {
		v.names[fmt.Sprintf("policies[%d]", i)] = p.Name
	}
	v.keys(c)
	v.tls(&c.TLS)
	v.drain(&c.Drain)
	v.fetch(c)
	v.policies(c.Policies)
	return v.problems
}

type validator struct {
	names    map[string]string
	problems []Problem
}

func (v *validator) fail(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{
		Path:    path,
		Subject: subject(path, v.names),
		Message: fmt.Sprintf(format, args...),
	})
}

// keys checks each value by itself against the table of keys.
func (v *validator) keys(c *Config) {
	table := map[string]key{}
	for _, k := range keys() {
		table[k.path] = k
	}
	for _, l := range leaves(c) {
		v.key(l, table[l.key])
	}
}

func (v *validator) key(l leaf, k key) {
	switch {
	case len(k.values) > 0:
		if got := l.value.String(); !slices.Contains(k.values, got) {
			v.fail(l.path, "%q is not one of %s", got, strings.Join(k.values, ", "))
		}
	case k.bounds != nil:
		if l.value.IsZero() && k.zero != "" || k.bounds.holds(l.value) {
			return
		}
		v.fail(l.path, "%s is out of range: it must be %s", show(l.value), k.rangeText(l.value.Type()))
	case k.form != nil:
		v.form(l, k)
	}
}

// form checks texts one by one, so that the problem points at the entry and not
// at its list.
func (v *validator) form(l leaf, k key) {
	switch x := l.value.Interface().(type) {
	case []string:
		if len(x) > maxEntries {
			v.fail(l.path, "has %d entries; at most %d are allowed", len(x), maxEntries)
		}
		for i, s := range x {
			at := fmt.Sprintf("%s[%d]", l.path, i)
			if err := k.form(s); err != nil {
				v.fail(at, "%v", err)
			} else if slices.Contains(x[:i], s) {
				v.fail(at, "%q is in the list twice", s)
			}
		}
	case map[string]string:
		for _, name := range sortedKeys(x) {
			if err := k.form(name); err != nil {
				v.fail(l.path+"["+name+"]", "%v", err)
			}
		}
	default:
		if s := l.value.String(); s != "" || k.zero == "" {
			if err := k.form(s); err != nil {
				v.fail(l.path, "%v", err)
			}
		}
	}
}

func (b *bounds) holds(v reflect.Value) bool {
	if v.Kind() == reflect.Float64 {
		return float64(b.lo) <= v.Float() && v.Float() <= float64(b.hi)
	}
	return b.lo <= v.Int() && v.Int() <= b.hi
}

// rangeText is the range in the key's unit, such as "0 or 10ms to 24h". Whole
// numbers from 1 with a meaning for zero are "0 to 100", not "0 or 1 to 100".
func (k key) rangeText(t reflect.Type) string {
	text := func(n int64) string {
		switch t {
		case reflect.TypeFor[Duration]():
			return Duration(n).String()
		case reflect.TypeFor[Size]():
			return Size(n).String()
		}
		return strconv.FormatInt(n, 10)
	}
	switch to := " to " + text(k.bounds.hi); {
	case k.zero == "" || k.bounds.lo == 0:
		return text(k.bounds.lo) + to
	case k.bounds.lo == 1:
		return "0" + to
	default:
		return "0 or " + text(k.bounds.lo) + to
	}
}

// tls looks at the paths only. Whether the files are there and fit together is
// found out by whoever opens them, which a check on another machine cannot.
func (v *validator) tls(t *TLS) {
	switch {
	case t.Cert != "" && t.Key == "":
		v.fail("tls.cert", "needs tls.key, the private key that belongs to it")
	case t.Cert == "" && t.Key != "":
		v.fail("tls.key", "needs tls.cert, the certificate that belongs to it")
	case t.Cert == "" && t.ClientCA != "":
		v.fail("tls.client_ca", "needs tls.cert and tls.key: without them there is no TLS to ask for a client certificate")
	}
}

func (v *validator) drain(d *Drain) {
	if d.Spread > d.Deadline {
		v.fail("drain.spread", "%v is longer than drain.deadline, %v, which ends every stream: make it at most that", d.Spread, d.Deadline)
	}
}

// fetch finds what is without effect because there is no way back through Envoy.
func (v *validator) fetch(c *Config) {
	if c.Fetch.URL != "" {
		return
	}
	const add = "needs fetch.url, the listener of Envoy that leads back to the upstreams"
	if c.Fetch.PassKeyFile != "" {
		v.fail("fetch.pass_key_file", add)
	}
	if c.Relay.Listen != "" {
		v.fail("relay.listen", add)
	}
}

// policies refuses two of one name, because metrics and logs could not tell them
// apart. A name that could not be read is empty here and like no other.
func (v *validator) policies(ps []PolicyConfig) {
	if len(ps) > maxPolicies {
		v.fail("policies", "has %d entries; at most %d are allowed", len(ps), maxPolicies)
	}
	first := map[string]int{}
	for i := range ps {
		p, path := &ps[i], fmt.Sprintf("policies[%d]", i)
		if before, dup := first[p.Name]; dup {
			v.fail(path+".name", "policies[%d] is named so too: give each its own name (without one it is %q)", before, defaultPolicy().Name)
		} else if p.Name != "" {
			first[p.Name] = i
		}
		v.headers(path+".match.headers", p.Match.Headers)
		v.returning(path, p)
		v.completions(path+".complete_when", p.CompleteWhen, splice.Detectors())
		v.completions(path+".retry_when", p.RetryWhen, nil)
	}
}

// returning finds what a policy wants for clients that come back and cannot have.
func (v *validator) returning(path string, p *PolicyConfig) {
	if p.IDs == "sealed" && p.Mode == "observe" {
		v.fail(path+".ids", "%q: observe passes every byte as it came; choose mode inline, hold or auto", "ids: sealed")
	}
	if p.GapEvent != "" && p.IDs != "sealed" {
		v.fail(path+".gap_event", "needs ids: sealed: a stream with the origin's ids gets nothing that is not the origin's")
	}
	if p.Detach == 0 {
		return
	}
	if p.Mode == "observe" || p.Mode == "inline" {
		v.fail(path+".detach", "needs mode hold (or auto, which holds GET): in mode %s the response is Envoy's, and ends with its client", p.Mode)
	}
	if p.Replay.Bytes == 0 || p.Replay.TTL == 0 {
		v.fail(path+".detach", "needs replay.bytes and replay.ttl: what comes while the client is away has to be kept")
	}
}

// headers finds names that differ only in case, which would be one header.
func (v *validator) headers(path string, headers map[string]string) {
	seen := map[string]string{}
	for _, name := range sortedKeys(headers) {
		lower := strings.ToLower(name)
		if other, dup := seen[lower]; dup {
			v.fail(path+"["+name+"]", "is the same header as %q: write it once", other)
		}
		seen[lower] = name
	}
	if len(headers) > maxEntries {
		v.fail(path, "has %d entries; at most %d are allowed", len(headers), maxEntries)
	}
}

func (v *validator) completions(path string, cs []CompletionConfig, detectors []string) {
	if len(cs) > maxEntries {
		v.fail(path, "has %d entries; at most %d are allowed", len(cs), maxEntries)
	}
	for i, c := range cs {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case c.Detector == "":
		case detectors == nil:
			v.fail(at, "%q is a text: write an event, such as {event: error}", c.Detector)
			continue
		case !slices.Contains(detectors, c.Detector):
			v.fail(at, "%q is not one of %s; another event is written as {data: …}, {event: …} or {json: {…}}", c.Detector, strings.Join(detectors, ", "))
			continue
		default:
			continue
		}
		// An entry that sets nothing would match every event and call each stream
		// complete at its first one.
		if c.Data == nil && c.Event == nil && len(c.JSON) == 0 {
			v.fail(at, "recognises nothing: set data, event or json")
		}
		for _, p := range sortedKeys(c.JSON) {
			if slices.Contains(strings.Split(p, "."), "") {
				v.fail(at+".json["+p+"]", "%q is not a path: write the names of nested fields with dots between, such as response.status", p)
			}
		}
	}
}

// show writes a value as the file would.
func show(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case fmt.Stringer:
		return x.String()
	case string:
		if x == "" {
			return `""`
		}
		return hidePasswords(x)
	case Address:
		return show(reflect.ValueOf(string(x)))
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		brackets := map[reflect.Kind]string{reflect.Slice: "[]", reflect.Map: "{}"}[v.Kind()]
		if v.Len() > 0 {
			return brackets[:1] + "…" + brackets[1:]
		}
		return brackets
	default:
		return fmt.Sprint(v.Interface())
	}
}

func lastKey(path string) string { return path[strings.LastIndex(path, ".")+1:] }
