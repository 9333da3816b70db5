package envoy

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Scheme is how Envoy speaks to an upstream.
type Scheme string

// The schemes an upstream URL may have.
const (
	HTTP  Scheme = "http"  // HTTP/1.1 in clear text
	HTTPS Scheme = "https" // TLS, HTTP/2 or HTTP/1.1 as ALPN decides
	H2C   Scheme = "h2c"   // HTTP/2 in clear text, by prior knowledge
)

// Upstream is one host that answers the requests Envoy lets through.
type Upstream struct {
	Scheme Scheme
	Host   string // an IP address or a DNS name, without brackets
	Port   uint16
}

// ParseUpstream reads a URL of the form scheme://host[:port][/]. Everything else
// a URL can carry would have no effect, so it is refused rather than ignored.
func ParseUpstream(s string) (Upstream, error) {
	fail := func(why string) (Upstream, error) {
		return Upstream{}, fmt.Errorf("upstream %q: %s", redact(s), why)
	}
	if !strings.Contains(s, "://") {
		return fail("no scheme; write http://, https:// or h2c:// before the host")
	}
	if strings.Contains(s, ",") {
		return fail("one URL at a time; repeat --upstream for more hosts")
	}
	u, err := url.Parse(s)
	if err != nil {
		// The parser's message repeats the URL, password and all.
		return fail("not a URL; write for example http://127.0.0.1:3000")
	}
	up := Upstream{Scheme: Scheme(strings.ToLower(u.Scheme)), Host: strings.ToLower(u.Hostname())}
	switch {
	case !slices.Contains([]Scheme{HTTP, HTTPS, H2C}, up.Scheme):
		return fail(fmt.Sprintf("scheme %q is not one of http, https, h2c", u.Scheme))
	case u.User != nil:
		return fail("remove the user name and password; clients send their own credentials")
	case u.Path != "" && u.Path != "/":
		return fail(fmt.Sprintf("remove the path %q; requests keep the path the client sent", u.Path))
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fail("remove what follows the host; requests keep the query the client sent")
	case up.Host == "":
		return fail("no host")
	case strings.Contains(up.Host, "%"):
		return fail("zones of IPv6 addresses are not supported")
	case !isIP(up.Host) && strings.ContainsAny(up.Host, "_:*, \t"):
		return fail(fmt.Sprintf("%q is not a host name", up.Host))
	}
	up.Port = 80
	if up.Scheme == HTTPS {
		up.Port = 443
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fail(fmt.Sprintf("port %q is not a number from 1 to 65535", p))
		}
		up.Port = uint16(n)
	}
	return up, nil
}

// redact cuts user names and passwords out of text that may not even be a URL.
func redact(s string) string {
	start := strings.Index(s, "://") + 3
	if start < 3 {
		start = 0
	}
	end := len(s)
	if i := strings.IndexAny(s[start:], "/?#"); i >= 0 {
		end = start + i
	}
	if at := strings.LastIndexByte(s[start:end], '@'); at >= 0 {
		return s[:start] + "…" + s[start+at:]
	}
	return s
}

// String is the URL.
func (u Upstream) String() string { return string(u.Scheme) + "://" + u.HostPort() }

// HostPort is where to connect to.
func (u Upstream) HostPort() string {
	return net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port)))
}

// authority is the Host header the upstream expects: the port is left out where
// the scheme implies it, as clients do.
func (u Upstream) authority() string {
	if (u.Scheme == HTTPS && u.Port == 443) || (u.Scheme != HTTPS && u.Port == 80) {
		return u.Host
	}
	return u.HostPort()
}

// isLocal says that the URL names a place rather than a site: the upstream was
// not asked for by name, so the client's own Host header is the better one.
func (u Upstream) isLocal() bool { return isIP(u.Host) || u.Host == "localhost" }

// IsName says that DNS may know several hosts by the URL's.
func (u Upstream) IsName() bool { return !u.isLocal() }
