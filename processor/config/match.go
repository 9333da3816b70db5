package config

import (
	"slices"
	"strings"
)

// Request is what a policy looks at in a request. Its methods are called on the
// path of every request and should not allocate.
type Request interface {
	// Method is in upper case, as requests carry it.
	Method() string
	// Host is the authority, with its port if the request has one.
	Host() string
	// Path includes the query.
	Path() string
	// Header returns the value of a header by its name in lower case; several
	// values are joined with commas.
	Header(name string) (value string, ok bool)
}

// matcher is a compiled Match. An empty part lets everything through. Lists are
// searched from the front: they are short, and a request is matched once.
type matcher struct {
	hosts   []hostPattern
	prefix  string
	methods []string
	headers []header
}

type hostPattern struct {
	name   string // in lower case; of a wildcard ".example.com"
	suffix bool
	port   string // "": whatever the port
}

type header struct{ name, value string }

func compileMatch(m *Match) matcher {
	out := matcher{prefix: m.PathPrefix}
	for _, s := range m.Hosts {
		name, port := splitHost(strings.ToLower(s))
		rest, wildcard := strings.CutPrefix(name, "*")
		out.hosts = append(out.hosts, hostPattern{name: rest, suffix: wildcard, port: port})
	}
	for _, s := range m.Methods {
		out.methods = append(out.methods, strings.ToUpper(s))
	}
	for _, name := range sortedKeys(m.Headers) {
		out.headers = append(out.headers, header{strings.ToLower(name), m.Headers[name]})
	}
	return out
}

// matches tries the cheap parts first.
func (m *matcher) matches(r Request) bool {
	// The prefix holds no "?", so it can only match within the path.
	if !strings.HasPrefix(r.Path(), m.prefix) {
		return false
	}
	if len(m.methods) > 0 && !slices.Contains(m.methods, r.Method()) {
		return false
	}
	if len(m.hosts) > 0 && !m.host(r.Host()) {
		return false
	}
	for _, want := range m.headers {
		if got, ok := r.Header(want.name); !ok || got != want.value {
			return false
		}
	}
	return true
}

func (m *matcher) host(authority string) bool {
	name, port := splitHost(authority)
	for i := range m.hosts {
		if m.hosts[i].matches(name, port) {
			return true
		}
	}
	return false
}

func (h *hostPattern) matches(name, port string) bool {
	if h.port != "" && h.port != port {
		return false
	}
	if h.suffix {
		// Something must be left for the star to stand for.
		if len(name) <= len(h.name) {
			return false
		}
		name = name[len(name)-len(h.name):]
	}
	return equalLower(name, h.name)
}

// equalLower compares s, whatever its case, with a text in lower case. Host
// names are ASCII; strings.EqualFold would also take a Kelvin sign for a k.
func equalLower(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// splitHost takes the port off an authority; an IPv6 address keeps its brackets.
func splitHost(authority string) (name, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.LastIndexByte(authority, ']') > i {
		return authority, ""
	}
	return authority[:i], authority[i+1:]
}
