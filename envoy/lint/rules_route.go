package lint

import (
	"fmt"
	"time"
)

// routeRules are about how long a stream may live, and how long it may be silent.
func routeRules() []Rule {
	return []Rule{
		{
			ID: "route-timeout", Severity: Error,
			Breaks: "Every response that takes longer than the route's `timeout` is cut, event streams in the middle of an event; unset, it is 15 s.",
			Set:    "`timeout: 0s` on routes that carry streams",
			Check:  checkRouteTimeout,
		},
		{
			ID: "route-idle-timeout", Severity: Error,
			Breaks: "A stream that is silent for the route's `idle_timeout` is cut. It overrules the connection manager's `stream_idle_timeout`.",
			Set:    "`idle_timeout: 0s`, or at least three heartbeats",
			Check:  checkRouteIdle,
		},
		{
			ID: "stream-idle-timeout", Severity: Error,
			Breaks: "A stream that is silent for `stream_idle_timeout` is cut; unset, it is 5 minutes. Holdfast's heartbeats keep it from that only if it is longer than they are apart.",
			Set:    "`stream_idle_timeout: 0s`, or at least three heartbeats",
			Check:  checkStreamIdle,
		},
		{
			ID: "max-stream-duration", Severity: Error,
			Breaks: "Every stream is reset when it is this old, whatever it is doing.",
			Set:    "remove `max_stream_duration` where streams pass: in the connection manager, the route and the cluster",
			Check:  checkMaxStreamDuration,
		},
		{
			ID: "per-try-idle-timeout", Severity: Warning,
			Breaks: "The upstream's side of a stream is reset after this much silence, also in the middle of a response. Heartbeats do not count: they are on the client's side.",
			Set:    "remove `per_try_idle_timeout`; Holdfast judges silence itself",
			Check:  checkPerTryIdle,
		},
	}
}

// defaultRouteTimeout is Envoy's:
// https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto
const defaultRouteTimeout = 15 * time.Second

func checkRouteTimeout(c *check) {
	const long = time.Hour
	for _, r := range c.routes {
		set := r.action.get("timeout")
		limit, ok := set.duration()
		at, what := set, fmt.Sprintf("its timeout of %s", limit)
		switch {
		case r.grpc(), set == nil && r.partial, set != nil && (!ok || limit == 0):
			continue
		case set == nil:
			limit, at, what = defaultRouteTimeout, r.node, "its default timeout of 15s"
		}
		switch {
		case r.streams():
			c.report(at, Error, "%s carries what Holdfast holds, and %s cuts each stream that gets this old; set timeout: 0s", r.label(), what)
		case limit > long:
			c.report(at, Info, "%s cuts streams: %s counts the whole response; if it carries event streams that get this old, set timeout: 0s", r.label(), what)
		default:
			c.report(at, Warning, "%s cuts event streams, if it carries any: %s counts the whole response; set timeout: 0s", r.label(), what)
		}
	}
}

func checkRouteIdle(c *check) {
	for _, r := range c.routes {
		set := r.action.get("idle_timeout")
		limit, ok := set.duration()
		if !ok || limit <= 0 || r.grpc() {
			continue
		}
		c.idle(set, limit, "the idle_timeout of "+r.label(), r.manager, r.streams())
	}
}

func checkStreamIdle(c *check) {
	for _, m := range c.managers {
		set := m.get("stream_idle_timeout")
		limit, ok := set.duration()
		switch {
		case ok && limit > 0:
			c.idle(set, limit, "the stream_idle_timeout of "+m.label(), m, m.loopback)
		case set != nil || m.partial || len(m.filters) == 0 || c.routesSetIdle(m):
		case m.loopback:
			c.report(m.place, Warning, "%s has the default stream_idle_timeout of 5m0s, after which a silent fetch of Holdfast's is cut; set stream_idle_timeout: 0s", m.label())
		case m.holdfast(c.survey, ours) == nil:
			c.report(m.place, Info, "%s cuts a stream that is silent for 5m0s, the default; if streams may be silent for longer, set stream_idle_timeout: 0s", m.label())
		}
	}
}

// routesSetIdle says that no route of the manager's depends on its own timeout.
func (s *survey) routesSetIdle(m *manager) bool {
	has := false
	for _, r := range s.routes {
		if r.manager == m {
			if !r.action.has("idle_timeout") {
				return false
			}
			has = true
		}
	}
	return has
}

// idle judges a limit on silence. Where Holdfast answers clients, its heartbeats
// count; where it fetches, there are none.
func (c *check) idle(at *node, limit time.Duration, what string, m *manager, loopback bool) {
	const usual = 5 * time.Minute
	beat, least := c.options.heartbeat(), c.options.patience()
	switch held := m.holdfast(c.survey, ours) != nil; {
	case loopback:
		c.report(at, Warning, "%s cuts what Holdfast fetches after %s of silence, which is for Holdfast to judge; set it to 0s", what, limit)
	case held && limit <= beat:
		c.report(at, Error, "%s cuts silent streams after %s, before the next heartbeat (every %s); set it to 0s or at least %s", what, limit, beat, least)
	case held && limit < least:
		c.report(at, Warning, "%s leaves no room for a heartbeat that is late: %s of silence cut a stream, and heartbeats come every %s; set it to 0s or at least %s", what, limit, beat, least)
	case !held && limit < usual:
		c.report(at, Warning, "%s cuts event streams, if there are any, that are silent for %s; set it to 0s, or have the server send a comment more often", what, limit)
	}
}

func checkMaxStreamDuration(c *check) {
	say := func(at *node, what string, severity Severity) {
		if limit, ok := at.duration(); ok && limit > 0 {
			c.report(at, severity, "%s resets every stream that gets %s old; remove max_stream_duration if event streams pass", what, limit)
		}
	}
	for _, m := range c.managers {
		severity := Warning
		if m.loopback || m.holdfast(c.survey, ours) != nil {
			severity = Error
		}
		say(m.at("common_http_protocol_options", "max_stream_duration"), m.label(), severity)
	}
	for _, r := range c.routes {
		severity := Warning
		if r.streams() {
			severity = Error
		}
		say(r.action.at("max_stream_duration", "max_stream_duration"), r.label(), severity)
	}
	for _, cl := range c.clusters {
		severity := Warning
		if cl.role&isProcessor != 0 && cl.sure == ours || cl.role&isRelay != 0 {
			severity = Error
		}
		say(cl.options().at("common_http_protocol_options", "max_stream_duration"), cl.label(), severity)
		say(cl.at("common_http_protocol_options", "max_stream_duration"), cl.label(), severity)
	}
}

func checkPerTryIdle(c *check) {
	for _, r := range c.routes {
		policy := r.retryPolicy()
		if limit, ok := policy.get("per_try_idle_timeout").duration(); ok && limit > 0 {
			c.report(policy.get("per_try_idle_timeout"), Warning,
				"%s resets the upstream's side of a stream that is silent for %s, heartbeats or not; remove per_try_idle_timeout if it carries event streams", r.label(), limit)
		}
	}
}

// retryPolicy is what applies to the route: its own, or its virtual host's.
func (r *route) retryPolicy() *node {
	if own := r.action.get("retry_policy"); own != nil {
		return own
	}
	return r.host.get("retry_policy")
}

// hedgePolicy is, likewise, the one that applies.
func (r *route) hedgePolicy() *node {
	if own := r.action.get("hedge_policy"); own != nil {
		return own
	}
	return r.host.get("hedge_policy")
}
