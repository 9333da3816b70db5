package lint

import (
	"cmp"
	"slices"
	"strings"
)

// attachmentRules are about what has to fit together: the filter, the access log,
// the routes.
func attachmentRules() []Rule {
	return []Rule{
		{
			ID: "position", Severity: Error,
			Breaks: "A filter in a cluster that does not say so takes each try for a request of a client, and one in a connection manager that says it is in a cluster guards nothing.",
			Set:    "`initial_metadata: [{key: holdfast-position, value: upstream}]` in a cluster's filter, and only there",
			Check:  checkPosition,
		},
		{
			ID: "access-log", Severity: Warning,
			Breaks: "Without Envoy's access log Holdfast cannot tell a client that left from a server that broke off, and counts both as `client_gone`. If it was promised the log and none comes, each such end waits two seconds for it.",
			Set:    "`envoy.access_loggers.http_grpc` to Holdfast's cluster with `buffer_size_bytes: 0`, and `holdfast-access-log` in the filter's `initial_metadata`; both or neither",
			Check:  checkAccessLog,
		},
		{
			ID: "route-cache", Severity: Error,
			Breaks: "What Holdfast holds is sent to its relay by choosing the route again. A filter that may not clear the route's cache sends it to the server, and nothing is held.",
			Set:    "remove `disable_clear_route_cache`, and `route_cache_action: RETAIN`",
			Check:  checkRouteCache,
		},
		{
			ID: "relay-route", Severity: Error,
			Breaks: "A ticket is good for one request as it is. Rewritten, repeated or without its ticket, the relay refuses it; behind another route that matches, it never gets there.",
			Set:    "the route with the header `x-holdfast-ticket` first in its virtual host, with nothing but `cluster`, `timeout: 0s`, `idle_timeout: 0s`, and for several relays a `retry_policy` on `connect-failure,refused-stream`",
			Check:  checkRelayRoute,
		},
		{
			ID: "relay-ends", Severity: Warning,
			Breaks: "Holdfast was promised a second filter, which takes a trailer off relayed responses for the access log. Where that one is not asked, the trailer reaches clients.",
			Set:    "the filter with `initial_metadata: [{key: holdfast-position, value: end}]` behind Holdfast's, and on the route with the header `x-holdfast-ticket` its `overrides: {processing_mode: {response_trailer_mode: SEND}}`; or no `holdfast-ends` in `initial_metadata`",
			Check:  checkRelayEnds,
		},
		{
			ID: "peek-retry", Severity: Error,
			Breaks: "In a cluster, Holdfast answers 503 for a bad start so that Envoy tries another host. A route that does not retry passes the 503 on to the client.",
			Set:    "a `retry_policy` with `retry_on: 5xx`, or `retriable-headers` for `x-holdfast-retry`, on each route to the cluster",
			Check:  checkPeekRetry,
		},
		{
			ID: "peek-hedge", Severity: Error,
			Breaks: "In a cluster, Holdfast holds a response back until its first event. With several tries under way, two that are let go in the same moment crash Envoy (seen with 1.40.0), and so does one that goes on after another has won.",
			Set:    "no `hedge_policy` on the routes to the cluster; `per_try_timeout` without it",
			Check:  checkPeekHedge,
		},
		{
			ID: "retry-previous-hosts", Severity: Warning,
			Breaks: "A retry may go to the very host that has just failed.",
			Set:    "`retry_host_predicate` with `envoy.retry_host_predicates.previous_hosts`, and `host_selection_retry_max_attempts: 5`",
			Check:  checkPreviousHosts,
		},
	}
}

const (
	positionKey  = "holdfast-position"
	accessLogKey = "holdfast-access-log"
	endsKey      = "holdfast-ends"
	retryHeader  = "x-holdfast-retry"
)

// metadata returns a value of the filter's initial_metadata; nil: there is none.
func (p *processor) metadata(key string) *node {
	for _, m := range p.at("grpc_service", "initial_metadata").list() {
		if strings.EqualFold(m.get("key").string(), key) {
			return m
		}
	}
	return nil
}

func checkPosition(c *check) {
	for _, p := range c.processors {
		says := p.metadata(positionKey)
		upstream := says.get("value").string() == "upstream"
		switch {
		case p.sure != ours || p.partial:
		case p.in != nil && !upstream:
			c.report(cmp.Or(says, p.place), Error, "Holdfast's filter in %s does not say where it stands, and takes each try for a client's request; set initial_metadata: [{key: holdfast-position, value: upstream}]", p.in.label())
		case p.manager != nil && upstream:
			c.report(says, Error, "this says that the filter stands in a cluster, but it stands in %s, where it then guards nothing; remove it", p.manager.label())
		}
	}
}

func checkAccessLog(c *check) {
	for _, m := range c.managers {
		p := m.holdfast(c.survey, ours)
		if p == nil || p.partial || m.partial || p.cluster == "" {
			continue
		}
		promised, log := p.metadata(accessLogKey), m.verdictLog(p.cluster)
		switch {
		case promised != nil && log == nil:
			c.report(promised, Warning, "this promises Holdfast the access log, but %s has no envoy.access_loggers.http_grpc to cluster %s: each broken end waits 2s for it; add the log, or remove this", m.label(), quote(p.cluster))
		case promised == nil && log != nil:
			c.report(log, Warning, "this access log goes to Holdfast, which does not wait for it; set initial_metadata: [{key: holdfast-access-log, value: \"1\"}] in its filter")
		case promised == nil:
			c.report(p.place, Info, "Holdfast cannot tell a client that left from a server that broke off; add the access log envoy.access_loggers.http_grpc to cluster %s, and holdfast-access-log to initial_metadata", quote(p.cluster))
		default:
			if size := log.at("common_config", "buffer_size_bytes"); size.string() != "0" {
				c.report(cmp.Or(size, log), Warning, "this log is sent in batches, and each broken end waits for the next; set buffer_size_bytes: 0")
			}
		}
	}
}

// verdictLog is the configuration of an access log that goes to a cluster by gRPC.
func (m *manager) verdictLog(to string) *node {
	for _, l := range m.get("access_log").list() {
		config := l.get("typed_config").unwrapped()
		if config.typeName() == "HttpGrpcAccessLogConfig" && config.at("common_config", "grpc_service", "envoy_grpc", "cluster_name").string() == to {
			return config
		}
	}
	return nil
}

// tickets are the routes of a manager to Holdfast's relay.
func (c *check) tickets(m *manager) []*route {
	return slices.DeleteFunc(slices.Clone(c.routes), func(r *route) bool { return r.manager != m || !r.ticketed() })
}

func checkRouteCache(c *check) {
	for _, m := range c.managers {
		p := m.holdfast(c.survey, maybe)
		if p == nil || len(c.tickets(m)) == 0 {
			continue
		}
		if set := p.get("disable_clear_route_cache"); set.isTrue() {
			c.reportFor(p, set, Error, "$it may not have the route chosen again, so the relay's is never taken; remove disable_clear_route_cache")
		}
		if set := p.get("route_cache_action"); set.string() == "RETAIN" {
			c.reportFor(p, set, Error, "$it may not have the route chosen again, so the relay's is never taken; set route_cache_action: DEFAULT")
		}
	}
}

func checkRelayRoute(c *check) {
	rewrites := []string{
		"prefix_rewrite", "regex_rewrite", "path_rewrite", "path_rewrite_policy",
		"host_rewrite_literal", "auto_host_rewrite", "host_rewrite_header", "host_rewrite_path_regex",
	}
	for _, r := range c.routes {
		if !r.ticketed() {
			continue
		}
		for _, name := range rewrites {
			if set := r.action.get(name); set != nil && set.string() != "false" {
				c.report(set, Error, "%s rewrites what a ticket is for, so the relay refuses it; remove %s", r.label(), name)
			}
		}
		for _, from := range []*node{r.node, r.host} {
			for _, h := range from.get("request_headers_to_remove").list() {
				if strings.EqualFold(h.string(), ticketHeader) {
					c.report(h, Error, "%s reaches the relay without the ticket that it was chosen by; remove this header only on other routes", r.label())
				}
			}
		}
		if policy := r.retryPolicy(); repeats(policy) {
			c.report(policy, Warning, "%s may repeat what has reached the relay, but a ticket is good for one request: the second try is refused; retry on nothing but connect-failure,refused-stream", r.label())
		}
		if r.host != nil && !r.first {
			c.report(r.node, Warning, "%s is not the first of its virtual host: where an earlier route matches, what Holdfast holds goes there without it; move it to the top", r.label())
		}
	}
}

func checkRelayEnds(c *check) {
	for _, p := range c.processors {
		promised := p.metadata(endsKey)
		if p.sure != ours || p.partial || p.manager == nil || promised == nil {
			continue
		}
		i := slices.IndexFunc(c.ends, func(e *processor) bool { return e.manager == p.manager && e.index > p.index })
		if i < 0 {
			c.report(promised, Warning, "this promises Holdfast a filter for the ends of relayed responses, but none follows in %s: clients get a trailer of ours; add the filter, or remove this", p.manager.label())
			continue
		}
		name := c.ends[i].place.get("name").string()
		for _, r := range c.routes {
			if r.manager != p.manager || !r.ticketed() {
				continue
			}
			mode := r.at("typed_per_filter_config", name).unwrapped().at("overrides", "processing_mode", "response_trailer_mode")
			if mode.string() != "SEND" {
				c.report(cmp.Or(mode, r.node), Warning, "%s does not have filter %s asked about trailers, so clients get one of ours; set its overrides: {processing_mode: {response_trailer_mode: SEND}} there", r.label(), quote(name))
			}
		}
	}
}

// repeats says whether a policy tries again what a host may have taken in.
func repeats(policy *node) bool {
	for on := range strings.SplitSeq(policy.get("retry_on").string(), ",") {
		switch strings.TrimSpace(on) {
		case "", "connect-failure", "refused-stream", "reset-before-request":
		default:
			return true
		}
	}
	return false
}

func checkPeekRetry(c *check) {
	for _, r := range c.routes {
		if retries503(r.retryPolicy()) {
			continue
		}
		if p := c.peeker(r); p != nil {
			c.report(r.node, Error, "%s leads to %s, where Holdfast answers 503 to have another host tried, but it does not retry: clients get the 503; set retry_policy: {retry_on: 5xx, num_retries: 2}",
				r.label(), p.in.label())
		}
	}
}

// peeker is a filter of Holdfast's in a cluster that sees the requests of a route; nil:
// none does.
func (s *survey) peeker(r *route) *processor {
	for _, cluster := range r.clusters {
		for _, p := range s.peekers[cluster] {
			if p.sees(r) {
				return p
			}
		}
	}
	return nil
}

// sees says whether a filter is on for a route to its cluster.
func (p *processor) sees(r *route) bool {
	name := p.place.get("name").string()
	for _, at := range []*node{r.node, r.host} {
		if at == nil {
			continue
		}
		if off := at.at("typed_per_filter_config", name, "disabled"); off != nil {
			return !off.isTrue()
		}
	}
	return true
}

func checkPeekHedge(c *check) {
	for _, r := range c.routes {
		hedge := r.hedgePolicy()
		if !hedge.get("hedge_on_per_try_timeout").isTrue() {
			continue
		}
		if p := c.peeker(r); p != nil {
			c.report(hedge, Error, "%s may have several tries under way in %s, where Holdfast holds responses back: two that are let go at once crash Envoy; remove hedge_policy",
				r.label(), p.in.label())
		}
	}
}

// retries503 says whether a policy tries again after Holdfast's 503.
func retries503(policy *node) bool {
	for on := range strings.SplitSeq(policy.get("retry_on").string(), ",") {
		switch strings.TrimSpace(on) {
		case "5xx", "gateway-error":
			return true
		case "retriable-status-codes":
			if slices.ContainsFunc(policy.get("retriable_status_codes").list(), func(n *node) bool { return n.string() == "503" }) {
				return true
			}
		case "retriable-headers":
			if slices.ContainsFunc(policy.get("retriable_headers").list(), func(n *node) bool { return strings.EqualFold(n.get("name").string(), retryHeader) }) {
				return true
			}
		}
	}
	return false
}

func checkPreviousHosts(c *check) {
	for _, r := range c.routes {
		policy := r.retryPolicy()
		if !policy.has("retry_on") || r.ticketed() || !r.streams() && c.peeker(r) == nil {
			continue
		}
		previous := func(n *node) bool {
			return strings.Contains(n.get("name").string(), "previous_hosts") || n.get("typed_config").typeName() == "PreviousHostsPredicate"
		}
		if !slices.ContainsFunc(policy.get("retry_host_predicate").list(), previous) {
			c.report(policy, Warning, "%s may retry on the host that has just failed; add retry_host_predicate: envoy.retry_host_predicates.previous_hosts, and host_selection_retry_max_attempts: 5", r.label())
		}
	}
}
