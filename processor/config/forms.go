package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxName bounds a policy's name, which is in every metric and log line.
const maxName = 64

func checkName(s string) error {
	good := func(r rune) bool { return isAlphaNum(r) || strings.ContainsRune("._-", r) }
	if s == "" || len(s) > maxName || !all(s, good) {
		return fmt.Errorf("%q is not a policy name: write 1 to %d letters, digits, dots, underscores and dashes", s, maxName)
	}
	return nil
}

// checkEventType accepts what an event's type may be here: less than the format
// allows, and nothing that would have to be escaped anywhere.
func checkEventType(s string) error {
	if checkName(s) != nil {
		return fmt.Errorf("%q is not an event type: write 1 to %d letters, digits, dots, underscores and dashes", s, maxName)
	}
	return nil
}

// checkHost accepts a host as requests name it, with an optional port, or
// *.suffix: one star, in front, because more would need a decision about dots
// that every reader makes differently.
func checkHost(s string) error {
	const forms = "write a host such as api.example.com, *.example.com or api.example.com:8443"
	host, port := splitHost(s)
	if port != "" || strings.HasSuffix(s, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q does not end in a port number: %s", s, forms)
		}
	}
	if ip, ok := strings.CutPrefix(host, "["); ok {
		ip, ok = strings.CutSuffix(ip, "]")
		if _, err := netip.ParseAddr(ip); !ok || err != nil {
			return fmt.Errorf("%q is not an IPv6 address in brackets: %s", s, forms)
		}
		return nil
	}
	switch name := strings.TrimPrefix(host, "*."); {
	case s == "*":
		return errors.New("a star alone is not a host: leave the list empty for any")
	case name == "" || name[0] == '.' || strings.Contains(name, "*"):
		return fmt.Errorf("%q is not a host: %s; a star is only good before the first dot", s, forms)
	case !all(name, func(r rune) bool { return isAlphaNum(r) || strings.ContainsRune(".-_", r) }):
		return fmt.Errorf("%q is not a host: %s; write a name with other letters in its xn-- form", s, forms)
	}
	return nil
}

// checkStoreURL accepts an address of a Redis. What it says of another shows no
// password: where a URL does not parse, nothing says where its password ends.
func checkStoreURL(s string) error {
	const forms = "write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path?db=0; " +
		"a password with special characters in it as %XX"
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an address: %s", redactURL(s), forms)
	case u.Scheme == "unix" && u.Path != "":
		return nil
	case slices.Contains([]string{"redis", "rediss", "valkey", "valkeys"}, u.Scheme) && u.Host != "":
		return nil
	}
	return fmt.Errorf("%q is not the address of a Redis: %s", redactURL(s), forms)
}

// checkOTLP accepts where a collector takes spans by gRPC.
func checkOTLP(s string) error {
	const forms = "write host:port (4317 is usual), https://host:port or unix:/path"
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if strings.Trim(path, "/") == "" {
			return fmt.Errorf("%q names no socket: %s", s, forms)
		}
		return nil
	}
	full := s
	if !strings.Contains(s, "://") {
		full = "http://" + s
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an address: %s", redactURL(s), forms)
	case u.User != nil:
		return fmt.Errorf("%q has a user in it: what the collector wants to know goes into the environment, as OTEL_EXPORTER_OTLP_HEADERS", redactURL(s))
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q begins with neither http nor https: %s", redactURL(s), forms)
	case u.Hostname() == "" || u.Port() == "":
		return fmt.Errorf("%q needs a host and a port: %s", redactURL(s), forms)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q has more than a host and a port, and gRPC no path: %s", redactURL(s), forms)
	}
	return nil
}

// checkPathPrefix accepts what a path can begin with on the wire. Matching
// compares bytes, so a prefix that no path can have would silently never match.
func checkPathPrefix(s string) error {
	switch {
	case !strings.HasPrefix(s, "/"):
		return fmt.Errorf("%q does not begin with a slash: write / for every path", s)
	case strings.ContainsAny(s, "?#"):
		return fmt.Errorf("%q has a query: only the path is compared, so end before the %q", s, s[strings.IndexAny(s, "?#")])
	case !all(s, func(r rune) bool { return r > ' ' && r < 0x7f }):
		return fmt.Errorf("%q is not a path as requests carry it: write other characters as %%XX", s)
	}
	return nil
}

func checkMethod(s string) error {
	if !isToken(s) {
		return fmt.Errorf("%q is not a method: write one such as GET", s)
	}
	return nil
}

func checkHeaderName(s string) error {
	if !isToken(s) {
		return fmt.Errorf("%q is not a header name: write one such as x-team; hosts, paths and methods have their own keys", s)
	}
	return nil
}

func checkSource(s string) error {
	_, err := parseSource(s)
	return err
}

// parseSource reads an entry of session.key or session.principal.
func parseSource(s string) (KeySource, error) {
	const forms = "write header:NAME, cookie:NAME or query:NAME"
	kind, name, ok := strings.Cut(s, ":")
	if !ok {
		return KeySource{}, fmt.Errorf("%q does not say where to look: %s", s, forms)
	}
	src := KeySource{Name: name}
	switch kind {
	case "header":
		src.In, src.Name = InHeader, strings.ToLower(name)
	case "cookie":
		src.In = InCookie
	case "query":
		src.In = InQuery
	default:
		return KeySource{}, fmt.Errorf("%q is not a place to look: %s", kind, forms)
	}
	// A cookie's name is a token as a header's is
	// (https://www.rfc-editor.org/rfc/rfc6265#section-4.1.1); a query's name may
	// hold more, but nothing that separates parameters.
	if src.In == InQuery {
		if name == "" || strings.ContainsAny(name, "&=#? ") {
			return KeySource{}, fmt.Errorf("%q is not the name of a query parameter: %s", name, forms)
		}
	} else if !isToken(name) {
		return KeySource{}, fmt.Errorf("%q is not the name of a %s: %s", name, kind, forms)
	}
	return src, nil
}

// isToken follows https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2.
func isToken(s string) bool {
	return s != "" && all(s, func(r rune) bool {
		return isAlphaNum(r) || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

func isAlphaNum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

func all(s string, good func(rune) bool) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !good(r) }) < 0
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// checkFetchURL accepts what the fetching side can dial.
func checkFetchURL(s string) error {
	const forms = "write http://host:port or unix:/path"
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if strings.Trim(path, "/") == "" {
			return fmt.Errorf("%q names no socket: %s", s, forms)
		}
		return nil
	}
	at, ok := strings.CutPrefix(s, "http://")
	if !ok {
		return fmt.Errorf("%q is not a way to a listener: %s", hidePasswords(s), forms)
	}
	if err := checkAddress(strings.TrimSuffix(at, "/")); err != nil {
		return fmt.Errorf("%q is not a way to a listener: %s", hidePasswords(s), forms)
	}
	return nil
}
