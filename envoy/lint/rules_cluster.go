package lint

import (
	"cmp"
	"strings"
)

// clusterRules are about the ways to the processor, to the relay and to servers.
func clusterRules() []Rule {
	return []Rule{
		{
			ID: "processor-http2", Severity: Error,
			Breaks: "gRPC and the relay need HTTP/2. Over HTTP/1.1 no message arrives, and requests bypass Holdfast or fail.",
			Set:    "`explicit_http_config: {http2_protocol_options: {…}}` in the cluster's `HttpProtocolOptions`",
			Check:  checkHTTP2,
		},
		{
			ID: "circuit-breakers", Severity: Warning,
			Breaks: "An open stream is one request for its whole life. At the default of 1024, the next clients get a 503, or pass the processor by or get a 500 from it (`overflow`).",
			Set:    "`circuit_breakers: {thresholds: [{max_connections: 1000000, max_pending_requests: 1000000, max_requests: 1000000}]}`",
			Check:  checkBreakers,
		},
		{
			ID: "window", Severity: Warning,
			Breaks: "What a client that stops reading has coming waits in Envoy, up to the HTTP/2 window of its stream: 16 MiB each by default.",
			Set:    "`initial_stream_window_size` of 64 KiB to 1 MiB (65536 to 1048576), and the connection's window a multiple of it",
			Check:  checkWindow,
		},
		{
			ID: "keepalive", Severity: Warning,
			Breaks: "A processor that died without closing its connections is noticed when TCP gives up, many minutes later; until then streams hang on it and new requests time out on it first.",
			Set:    "`connection_keepalive: {interval: 30s, timeout: 20s}` in the cluster's `http2_protocol_options`",
			Check:  checkKeepalive,
		},
		{
			ID: "processor-health", Severity: Error,
			Breaks: "Only a gRPC health check tells that a processor drains. Without one, new streams begin on one that is about to go; and it does not answer plain HTTP, so by an HTTP check it is always down.",
			Set:    "`health_checks` with `grpc_health_check: {service_name: envoy.service.ext_proc.v3.ExternalProcessor}`",
			Check:  checkProcessorHealth,
		},
		{
			ID: "panic-mode", Severity: Info,
			Breaks: "When most processors are unhealthy, Envoy by default asks the unhealthy ones too, and each request waits for one that is gone instead of passing it by.",
			Set:    "`common_lb_config: {healthy_panic_threshold: {value: 0}}` on the processor's cluster",
			Check:  checkPanic,
		},
		{
			ID: "relay-outliers", Severity: Warning,
			Breaks: "What looks like failures of the relay are those of servers behind it: outlier detection ejects a relay that works, and with it every held stream's way.",
			Set:    "no `outlier_detection` on the relay's cluster",
			Check:  checkRelayOutliers,
		},
	}
}

// reportCluster is report for what matters only if the cluster is Holdfast's.
func (c *check) reportCluster(cl *cluster, at *node, severity Severity, format string, args ...any) {
	sure := cl.role&(isRelay|isUpstream) != 0 || cl.sure == ours
	if !sure && cl.sure == maybe {
		return
	}
	c.about(sure, cl.label()+" is Holdfast", at, severity, format, args...)
}

// holdfastClusters are those with any of the roles.
func (c *check) holdfastClusters(roles role) func(func(*cluster) bool) {
	return func(yield func(*cluster) bool) {
		for _, cl := range c.clusters {
			if cl.role&roles != 0 && !yield(cl) {
				return
			}
		}
	}
}

func checkHTTP2(c *check) {
	for cl := range c.holdfastClusters(isProcessor | isRelay) {
		if _, speaks := cl.http2(); !speaks && !cl.partial {
			c.reportCluster(cl, cl.node, Error, "%s speaks HTTP/1.1 to $it, which carries no gRPC; set explicit_http_config: {http2_protocol_options: {}} in its HttpProtocolOptions", cl.label())
		}
	}
}

// defaultBreaker is Envoy's limit on connections, on requests that wait, and on
// requests:
// https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/cluster/v3/circuit_breaker.proto
const defaultBreaker = 1024

func checkBreakers(c *check) {
	for cl := range c.holdfastClusters(isProcessor | isRelay | isUpstream) {
		if cl.partial {
			continue
		}
		thresholds := cl.at("circuit_breakers", "thresholds")
		at := cmp.Or(cl.get("circuit_breakers"), cl.node)
		var usual *node // those for requests of the default priority, which streams have
		for _, t := range thresholds.list() {
			if p := t.get("priority").string(); p == "" || p == "DEFAULT" {
				usual, at = t, t
				break
			}
		}
		var low []string
		for _, name := range []string{"max_connections", "max_pending_requests", "max_requests"} {
			set := usual.get(name)
			if n, ok := set.number(); set == nil || ok && n <= defaultBreaker {
				low = append(low, name)
				if set != nil && len(low) == 1 {
					at = set
				}
			}
		}
		if len(low) == 0 {
			continue
		}
		what := "are at most 1024"
		if len(low) == 1 {
			what = "is at most 1024"
		}
		severity := Warning
		if cl.role&(isProcessor|isRelay) == 0 {
			severity = Info
		}
		c.reportCluster(cl, at, severity, "%s of %s %s, and each open stream counts as long as it lives: later ones are refused (overflow); set 1000000 each", strings.Join(low, ", "), cl.label(), what)
	}
}

// largeWindow is where a stream's window stops being a bound worth having.
const largeWindow = 1 << 20

func checkWindow(c *check) {
	for cl := range c.holdfastClusters(isProcessor | isRelay | isUpstream) {
		options, speaks := cl.http2()
		if !speaks || cl.partial || cl.role&(isProcessor|isRelay) == 0 && options == nil {
			continue
		}
		severity := Warning
		if cl.role&(isProcessor|isRelay) == 0 {
			severity = Info
		}
		c.window(options, cl.node, severity, cl.label(), func(at *node, severity Severity, text string) { c.reportCluster(cl, at, severity, "%s", text) })
	}
	for _, m := range c.managers {
		if m.loopback && !m.partial {
			c.window(m.get("http2_protocol_options"), m.place, Info, m.label(), func(at *node, severity Severity, text string) { c.report(at, severity, "%s", text) })
		}
	}
}

func (c *check) window(options, otherwise *node, severity Severity, label string, say func(*node, Severity, string)) {
	set := options.get("initial_stream_window_size")
	switch n, ok := set.number(); {
	case set == nil:
		say(cmp.Or(options, otherwise), severity, label+" has the default window of 16 MiB: so much waits for each client that stops reading; set initial_stream_window_size: 65536")
	case ok && n > largeWindow:
		say(set, severity, label+" lets "+set.string()+" bytes wait for each client that stops reading; set initial_stream_window_size to 65536, or at most 1048576")
	}
}

func checkKeepalive(c *check) {
	for cl := range c.holdfastClusters(isProcessor) {
		if options, speaks := cl.http2(); speaks && !cl.partial && !options.has("connection_keepalive") {
			c.reportCluster(cl, cmp.Or(options, cl.node), Warning, "%s does not notice a processor that died without a word, and streams hang on it; set connection_keepalive: {interval: 30s, timeout: 20s}", cl.label())
		}
	}
}

func checkProcessorHealth(c *check) {
	for cl := range c.holdfastClusters(isProcessor) {
		checks := cl.get("health_checks")
		grpc := false
		for _, h := range checks.list() {
			grpc = grpc || h.has("grpc_health_check")
			if http := h.get("http_health_check"); http != nil {
				c.reportCluster(cl, http, Error, "$it does not answer HTTP on this port, so this check finds it always down; use grpc_health_check: {service_name: envoy.service.ext_proc.v3.ExternalProcessor}")
				grpc = true
			}
		}
		if !grpc && !cl.partial {
			c.reportCluster(cl, cmp.Or(checks, cl.node), Info, "%s does not ask for its health, so new streams begin on a processor that drains or hangs; add health_checks with grpc_health_check", cl.label())
		}
	}
}

func checkPanic(c *check) {
	for cl := range c.holdfastClusters(isProcessor) {
		set := cl.at("common_lb_config", "healthy_panic_threshold")
		if !cl.has("health_checks") || cl.partial || set != nil && (set.get("value") == nil || set.get("value").string() == "0") {
			continue
		}
		c.reportCluster(cl, cmp.Or(set, cl.node), Info, "with half of its hosts down %s asks those too, and requests wait for them; set common_lb_config: {healthy_panic_threshold: {value: 0}}", cl.label())
	}
}

func checkRelayOutliers(c *check) {
	for cl := range c.holdfastClusters(isRelay) {
		if set := cl.get("outlier_detection"); set != nil {
			c.reportCluster(cl, set, Warning, "%s is Holdfast's relay: the failures it shows are those of the servers behind, and ejecting it cuts off every held stream; remove outlier_detection", cl.label())
		}
	}
}
