package lint

import (
	"net/netip"
	"strings"
)

// certainty is how sure it is that an ext_proc filter asks Holdfast.
type certainty uint8

const (
	foreign certainty = iota // it asks somebody else
	maybe                    // nothing says who it asks
	likely                   // nothing says so, but it is set up as for Holdfast
	ours                     // it says so
)

// processor is an ext_proc filter.
type processor struct {
	*node          // the ExternalProcessor message
	place   *node  // the filter's entry, where one looks for it
	cluster string // who it asks; "": it says so in no way that is known here
	sure    certainty
	manager *manager // the chain it is in; nil: of a cluster, or by itself
	in      *cluster // the cluster whose http_filters it is in; nil: none
	index   int      // its place in the chain
	partial bool     // it is a patch: what it lacks may be elsewhere
}

// label names the filter in a message.
func (p *processor) label() string {
	if p.cluster == "" {
		return "this ext_proc filter"
	}
	return "the ext_proc filter of cluster " + quote(p.cluster)
}

// filter is an entry of http_filters.
type filter struct {
	*node
	name   string
	kind   string // the extension's name without "envoy.filters.http."
	config *node  // may be nil
}

// manager is an HttpConnectionManager.
type manager struct {
	*node
	place    *node // the filter's entry in the listener
	listener *listener
	filters  []filter
	rds      string // the name of the routes it gets from elsewhere
	partial  bool
	loopback bool // Holdfast's way back
}

// label names a manager by what a person would look for.
func (m *manager) label() string {
	switch {
	case m.listener.label() != "":
		return m.listener.label()
	case m.get("stat_prefix").string() != "":
		return "connection manager " + quote(m.get("stat_prefix").string())
	}
	return "this connection manager"
}

// holdfast returns Holdfast's filter in the chain, as far as the file tells.
func (m *manager) holdfast(s *survey, atLeast certainty) *processor {
	if m == nil {
		return nil
	}
	for _, p := range s.processors {
		if p.manager == m && p.sure >= atLeast {
			return p
		}
	}
	return nil
}

// listener is a Listener.
type listener struct {
	*node
	managers []*manager
	partial  bool
}

func (l *listener) label() string {
	if l == nil {
		return ""
	}
	if name := l.get("name").string(); name != "" {
		return "listener " + quote(name)
	}
	if a := addressOf(l.get("address")); a != "" {
		return "the listener at " + a
	}
	return "this listener"
}

// route is a route that leads to a cluster.
type route struct {
	*node
	action   *node // its RouteAction
	host     *node // its VirtualHost, if known
	config   string
	manager  *manager // nil: of a RouteConfiguration that nobody here uses
	first    bool     // the first route of its virtual host
	partial  bool
	clusters []string
}

func (r *route) label() string {
	if name := r.get("name").string(); name != "" {
		return "route " + quote(name)
	}
	for _, by := range []string{"prefix", "path", "path_separated_prefix"} {
		if v := r.at("match", by).string(); v != "" {
			return "the route of " + quote(v)
		}
	}
	if v := r.at("match", "safe_regex", "regex").string(); v != "" {
		return "the route of " + quote(v)
	}
	return "this route"
}

// ticketHeader marks what Holdfast sends to its own relay listener.
const ticketHeader = "x-holdfast-ticket"

// ticketed says that only requests with a ticket of Holdfast's take the route.
func (r *route) ticketed() bool {
	for _, h := range r.at("match", "headers").list() {
		if strings.EqualFold(h.get("name").string(), ticketHeader) && !h.get("invert_match").isTrue() {
			return true
		}
	}
	return false
}

// streams says that the route is Holdfast's own: what goes over it is streams.
func (r *route) streams() bool { return r.ticketed() || r.manager != nil && r.manager.loopback }

// grpc says that the route takes nothing but gRPC.
func (r *route) grpc() bool { return r.at("match", "grpc") != nil }

// role is what a cluster is to Holdfast.
type role uint8

const (
	isProcessor role = 1 << iota // Envoy asks it by ext_proc
	isRelay                      // Holdfast's relay listener
	isUpstream                   // streams that Holdfast sees come from it
)

// cluster is a Cluster.
type cluster struct {
	*node
	name    string
	role    role
	sure    certainty // of being the processor
	partial bool
}

func (c *cluster) label() string {
	if c.name == "" {
		return "this cluster"
	}
	return "cluster " + quote(c.name)
}

// options are the cluster's HttpProtocolOptions, where today's settings are.
func (c *cluster) options() *node {
	for _, f := range c.get("typed_extension_protocol_options").entries() {
		if o := f.value.unwrapped(); strings.HasSuffix(f.name, "HttpProtocolOptions") || o.typeName() == "HttpProtocolOptions" {
			return o
		}
	}
	return nil
}

// http2 returns the cluster's HTTP/2 options, and whether it speaks HTTP/2 at all.
func (c *cluster) http2() (options *node, speaks bool) {
	o := c.options()
	for _, way := range []string{"explicit_http_config", "use_downstream_protocol_config", "auto_config"} {
		if w := o.get(way); w != nil {
			h2 := w.get("http2_protocol_options")
			// Both of the latter may turn out to be HTTP/2, whatever options there are.
			return h2, h2 != nil || way != "explicit_http_config"
		}
	}
	h2 := c.get("http2_protocol_options") // before 1.18, and still read
	return h2, h2 != nil
}

// addresses of the cluster's endpoints, as far as they are in the file.
func (c *cluster) addresses() []string {
	var all []string
	for _, locality := range c.at("load_assignment", "endpoints").list() {
		for _, e := range locality.get("lb_endpoints").list() {
			if a := addressOf(e.at("endpoint", "address")); a != "" {
				all = append(all, a)
			}
		}
	}
	return all
}

func (n *node) entries() []field {
	if n == nil {
		return nil
	}
	return n.fields
}

// addressOf writes a core.Address as Holdfast's configuration has it: host:port or
// unix:/path.
func addressOf(a *node) string {
	if path := a.at("pipe", "path").string(); path != "" {
		return "unix:" + path
	}
	host := a.at("socket_address", "address").string()
	if host == "" {
		return ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := a.at("socket_address", "port_value").string()
	if port == "" {
		return host
	}
	return host + ":" + port
}

// reachable says that other machines can connect to an address.
func reachable(a *node) bool {
	host := a.at("socket_address", "address").string()
	if host == "" {
		return false // a socket file, or an internal listener
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host != "localhost"
	}
	return !ip.IsLoopback()
}

// quote marks a name in a message. Names come from files that anybody may have
// written, and messages go to terminals.
func quote(s string) string {
	const most = 60
	r := []rune(s)
	if len(r) > most {
		r = append(r[:most], '…')
	}
	for i := range r {
		if r[i] < ' ' || r[i] == 0x7f || 0x80 <= r[i] && r[i] < 0xa0 {
			r[i] = '\uFFFD'
		}
	}
	return `"` + string(r) + `"`
}
