package lint

import (
	"cmp"
	"strings"
)

// survey is what was found in a file.
type survey struct {
	file       *file
	listeners  []*listener
	managers   []*manager
	routes     []*route
	clusters   []*cluster
	processors []*processor
	ends       []*processor // that learn how relayed streams ended
	perRoute   []perRoute
	bootstrap  *node                   // nil: the file is a part of a configuration
	peekers    map[string][]*processor // Holdfast's in clusters, by the cluster's name

	options *Options
	others  []*survey // of the same call, for what is defined there
	visits  int
	texts   int         // bytes of texts that were looked into
	spoilt  *InputError // why one of them could not be read
}

// perRoute is an ExtProcPerRoute message.
type perRoute struct {
	*node
}

// around is what a value stands in.
type around struct {
	listener *listener
	manager  *manager
	cluster  *cluster
	routes   string // name of the RouteConfiguration
	host     *node  // VirtualHost
	entry    *node  // filter's entry of which this is the configuration
	index    int    // its place in the chain
	partial  bool
}

// found says that there is something of Envoy's in the file.
func (s *survey) found() bool {
	return s.bootstrap != nil || len(s.listeners)+len(s.managers)+len(s.routes)+len(s.clusters)+len(s.processors) > 0
}

// take walks through all documents of a file.
func take(f *file, o *Options) (*survey, error) {
	s := &survey{file: f, options: o}
	for _, doc := range f.docs {
		if err := s.document(doc); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *survey) document(doc *node) error {
	all := []*node{doc}
	if doc.kind == list { // a list of listeners, or of clusters
		all = doc.items
	}
	for _, n := range all {
		if err := s.visit(n, "", around{}); err != nil {
			return err
		}
	}
	return nil
}

// visit looks at a value. key is the field that it is in.
func (s *survey) visit(n *node, key string, in around) error {
	s.visits++
	if s.visits > len(s.file.data)+moreVisits {
		return &InputError{File: s.file.name, Reason: "its aliases (*name) stand for far more than is written in it: write it out"}
	}
	switch n.kind {
	case list:
		for i, item := range n.items {
			in.index = i
			if err := s.visit(item, key, in); err != nil {
				return err
			}
		}
		return nil
	case mapping:
		return s.mapping(n, key, in)
	case scalar:
		return s.embedded(n, in)
	case null:
	}
	return nil
}

func (s *survey) mapping(n *node, key string, in around) error {
	if in.entry == nil && n.has("typed_config") {
		in.entry = n
	}
	n = n.unwrapped()
	if n == nil {
		return nil
	}
	switch what(n, key, in) {
	case "Bootstrap":
		s.bootstrap = cmp.Or(s.bootstrap, n)
	case "Listener":
		in = around{listener: &listener{node: n, partial: in.partial}, partial: in.partial}
		s.listeners = append(s.listeners, in.listener)
	case "HttpConnectionManager":
		in.manager = s.manager(n, in)
		in.entry, in.index = nil, 0
	case "RouteConfiguration":
		in.routes = n.get("name").string()
	case "VirtualHost":
		in.host = n
	case "Route":
		s.route(n, in)
	case "Cluster":
		c := &cluster{node: n, name: n.get("name").string(), partial: in.partial}
		s.clusters = append(s.clusters, c)
		in = around{cluster: c, partial: in.partial}
	case "ExternalProcessor":
		s.processor(n, in)
		return nil
	case "ExtProcPerRoute":
		s.perRoute = append(s.perRoute, perRoute{n})
	case "patch":
		in.partial = true
	}
	for _, f := range n.fields {
		within := in
		switch f.name {
		case "typed_config", "typedConfig", "config", "extension_config", "@type":
		case "http_filters", "httpFilters":
			within.entry = nil // each is one
		default:
			if f.value.kind != scalar {
				within.entry = nil
			}
		}
		if err := s.visit(f.value, f.name, within); err != nil {
			return err
		}
	}
	return nil
}

// what says which of Envoy's messages n is, if that is of interest: by what it
// says itself, by where it stands, and else by what it has. The last is for
// fragments, which say nothing and stand nowhere.
func what(n *node, key string, in around) string {
	switch t := n.typeName(); t {
	case "":
	case "HttpConnectionManager", "Listener", "Cluster", "RouteConfiguration", "VirtualHost", "ExternalProcessor", "ExtProcPerRoute", "Bootstrap":
		return t
	default:
		return ""
	}
	if n.has("static_resources") || n.has("dynamic_resources") {
		return "Bootstrap"
	}
	if isPatch(n) {
		return "patch"
	}
	switch snake(key) {
	case "listeners":
		return "Listener"
	case "clusters":
		// A route's weighted clusters have the same name.
		if !n.has("weight") && !n.has("runtime_fraction") && (n.has("name") || n.has("connect_timeout")) {
			return "Cluster"
		}
		return ""
	case "route_config", "route_configs":
		return "RouteConfiguration"
	case "virtual_hosts":
		return "VirtualHost"
	case "routes":
		return routeOrNot(n)
	}
	switch {
	case in.entry != nil && in.entry.get("typed_config") == n:
		return byName(in.entry.get("name").string())
	case n.has("http_filters") && (n.has("stat_prefix") || n.has("route_config") || n.has("rds") || n.has("codec_type")):
		return "HttpConnectionManager"
	case n.has("filter_chains") || n.has("default_filter_chain"):
		return "Listener"
	case n.has("virtual_hosts"):
		return "RouteConfiguration"
	case n.has("domains") && n.has("routes"):
		return "VirtualHost"
	case n.has("load_assignment"), n.has("connect_timeout") && n.has("name"), n.has("lb_policy") && n.has("name") && n.has("type"):
		return "Cluster"
	case n.has("grpc_service") && (n.has("processing_mode") || n.has("allow_mode_override") || n.has("message_timeout")):
		return "ExternalProcessor"
	case in.manager == nil && in.listener == nil && in.cluster == nil && in.host == nil:
		return routeOrNot(n)
	}
	return ""
}

// isPatch says that n is a change of something that is not here, in the way of
// Istio's EnvoyFilter or of a JSON patch. One that puts in something whole is not.
func isPatch(n *node) bool {
	value := n.get("value")
	whole := value.has("@type") || value.has("typed_config")
	switch {
	case n.get("operation").string() == "MERGE" && value != nil:
		return true
	case n.has("op") && n.has("path"):
		return !whole
	}
	return false
}

// routeOrNot tells Envoy's routes from what else is called so.
func routeOrNot(n *node) string {
	if n.get("match") != nil && n.get("match").kind == mapping && n.get("route") != nil && n.get("route").kind == mapping {
		return "Route"
	}
	return ""
}

// byName is for an extension whose configuration does not say its type.
func byName(name string) string {
	switch name {
	case "envoy.filters.network.http_connection_manager", "envoy.http_connection_manager":
		return "HttpConnectionManager"
	case "envoy.filters.http.ext_proc":
		return "ExternalProcessor"
	}
	return ""
}

// snake turns lowerCamelCase into snake_case.
func snake(name string) string {
	if strings.IndexFunc(name, isUpper) < 0 {
		return name
	}
	var b strings.Builder
	for _, c := range name {
		if isUpper(c) {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

func isUpper(c rune) bool { return 'A' <= c && c <= 'Z' }

func (s *survey) manager(n *node, in around) *manager {
	m := &manager{node: n, place: cmp.Or(in.entry, n), listener: in.listener, partial: in.partial}
	m.rds = n.at("rds", "route_config_name").string()
	for _, e := range n.get("http_filters").list() {
		m.filters = append(m.filters, filterOf(e))
	}
	if in.listener != nil {
		in.listener.managers = append(in.listener.managers, m)
	}
	s.managers = append(s.managers, m)
	return m
}

// filterKinds are the extensions that rules know, by the names of their messages.
func filterKinds() map[string]string {
	return map[string]string{ //nolint:gosec // names of Envoy's filters, no credentials
		"ExternalProcessor": "ext_proc", "Compressor": "compressor", "Gzip": "compressor", "Buffer": "buffer",
		"FileSystemBufferFilterConfig": "file_system_buffer", "Router": "router",
		"ExtAuthz": "ext_authz", "JwtAuthentication": "jwt_authn", "RBAC": "rbac", "OAuth2": "oauth2",
		"BasicAuth": "basic_auth", "ApiKeyAuth": "api_key_auth", "Csrf": "csrf", "CsrfPolicy": "csrf",
		"RateLimit": "ratelimit", "LocalRateLimit": "local_ratelimit", "RateLimitQuotaFilterConfig": "rate_limit_quota",
	}
}

func filterOf(e *node) filter {
	config := e.get("typed_config").unwrapped()
	f := filter{node: e, name: e.get("name").string(), config: config}
	f.kind = filterKinds()[config.typeName()]
	if config.typeName() == "" {
		// The name used to say it, before the configuration had a type.
		f.kind = strings.TrimPrefix(f.name, "envoy.filters.http.")
	}
	return f
}

func (s *survey) route(n *node, in around) {
	r := &route{node: n, action: n.get("route"), host: in.host, config: in.routes, manager: in.manager, first: in.index == 0, partial: in.partial}
	if c := r.action.get("cluster").string(); c != "" {
		r.clusters = append(r.clusters, c)
	}
	for _, w := range r.action.at("weighted_clusters", "clusters").list() {
		r.clusters = append(r.clusters, w.get("name").string())
	}
	s.routes = append(s.routes, r)
}

func (s *survey) processor(n *node, in around) {
	p := &processor{node: n, place: cmp.Or(in.entry, n), manager: in.manager, in: in.cluster, index: in.index, partial: in.partial}
	p.cluster = n.at("grpc_service", "envoy_grpc", "cluster_name").string()
	if p.metadata(positionKey).get("value").string() == "end" {
		s.ends = append(s.ends, p) // it sees trailers only, and no rule for the others is about it
		return
	}
	s.processors = append(s.processors, p)
}

// embedded looks into a text that is a configuration itself, as in a ConfigMap.
func (s *survey) embedded(n *node, in around) error {
	const least = 40       // bytes
	s.texts += len(n.text) // again for each alias; without, all are less than the file
	if len(n.text) < least || s.texts > len(s.file.data) || !strings.Contains(n.text, "\n") && n.text[0] != '{' || !mentionsEnvoy(n.text) {
		return nil
	}
	read := readYAML
	if n.text[0] == '{' {
		read = readJSON
	}
	docs, err := read(s.file, []byte(n.text), n.line)
	if err != nil { // of interest only if there is nothing else in the file
		s.spoilt = cmp.Or(s.spoilt, inputError(s.file.name, err))
		return nil
	}
	for _, doc := range docs {
		if !n.literal {
			doc.put(n.line)
		}
		if err := s.visit(doc, "", around{partial: in.partial}); err != nil {
			return err
		}
	}
	return nil
}

func mentionsEnvoy(text string) bool {
	for _, word := range []string{"static_resources", "http_filters", "filter_chains", "virtual_hosts", "lb_endpoints", "type.googleapis.com/envoy"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// put says that everything below n is in one line.
func (n *node) put(line int) {
	n.line = line
	for _, c := range n.items {
		c.put(line)
	}
	for i := range n.fields {
		n.fields[i].value.put(line)
	}
}
