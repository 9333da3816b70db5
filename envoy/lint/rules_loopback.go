package lint

import "cmp"

// loopbackRules are about the listener by which Holdfast fetches, back through
// Envoy.
func loopbackRules() []Rule {
	return []Rule{
		{
			ID: "loopback-exposed", Severity: Error,
			Breaks: "The loopback listener believes what a request says about where it comes from, and leads past the filters of the public one. Whoever reaches it, reaches the servers unchecked.",
			Set:    "an address of `127.0.0.1`, `::1` or a `pipe`",
			Check:  checkLoopbackExposed,
		},
		{
			ID: "loopback-http1", Severity: Error,
			Breaks: "Over HTTP/1.1 Envoy tells of a server's reset by closing the connection, one second late (`delayed_close_timeout`): each resume begins that much later.",
			Set:    "`codec_type: AUTO` or `HTTP2`, and an `http://` (h2c) `fetch.url`",
			Check:  checkLoopbackCodec,
		},
		{
			ID: "loopback-address", Severity: Warning,
			Breaks: "With `use_remote_address` the loopback listener takes Holdfast for the client: it appends its address to `x-forwarded-for`, and servers log and limit that.",
			Set:    "`use_remote_address: false` and `skip_xff_append: true`",
			Check:  checkLoopbackAddress,
		},
		{
			ID: "loopback-paths", Severity: Warning,
			Breaks: "A path that the two listeners normalise differently may take another route on the way back, or reach the server changed.",
			Set:    "the same `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action` and `strip_trailing_host_dot` on both listeners",
			Check:  checkLoopbackPaths,
		},
		{
			ID: "loopback-server", Severity: Info,
			Breaks: "The loopback listener writes its own `server` header over the server's, and the public one passes that on.",
			Set:    "the same `server_header_transformation` on both listeners",
			Check:  checkLoopbackServer,
		},
		{
			ID: "loopback-request-id", Severity: Info,
			Breaks: "The servers get a request id that the public listener never had: what a client or a log names cannot be found at a server.",
			Set:    "the same `generate_request_id` on both listeners",
			Check:  checkLoopbackRequestID,
		},
		{
			ID: "loopback-retry", Severity: Info,
			Breaks: "A fetch that fails before its response begins is not tried on another host by Envoy; Holdfast tries again, later, and perhaps on the same.",
			Set:    "`retry_policy: {retry_on: \"connect-failure,refused-stream,reset\", num_retries: 2}` on the loopback's routes",
			Check:  checkLoopbackRetry,
		},
		{
			ID: "upstream-outliers", Severity: Info,
			Breaks: "A host that is gone stays in the choice: resumes go there again and again, each waiting for its connection to fail.",
			Set:    "`outlier_detection` on clusters of several hosts that the loopback leads to",
			Check:  checkUpstreamOutliers,
		},
		{
			ID: "loopback-drain", Severity: Info,
			Breaks: "While Envoy drains, held streams may have to be fetched again; a loopback listener that drains too closes the way.",
			Set:    "`drain_type: MODIFY_ONLY` on the loopback listener",
			Check:  checkLoopbackDrain,
		},
		{
			ID: "premature-resets", Severity: Warning,
			Breaks: "Clients that leave early are resets on the few connections of the loopback. After 500 requests of which half were reset early, Envoy closes such a connection with every stream on it.",
			Set:    "`overload.premature_reset_total_stream_count: 4294967295` in a `static_layer` of `layered_runtime`",
			Check:  checkPrematureResets,
		},
	}
}

// loopbacks are the managers of Holdfast's way back.
func (c *check) loopbacks(yield func(*manager) bool) {
	for _, m := range c.managers {
		if m.loopback && !yield(m) {
			return
		}
	}
}

// public is the manager in which Holdfast's filter is; nil: there is none.
func (c *check) public() *manager {
	for _, p := range c.processors {
		if p.sure == ours && p.manager != nil {
			return p.manager
		}
	}
	return nil
}

func checkLoopbackExposed(c *check) {
	for m := range c.loopbacks {
		if a := m.listener.address(); reachable(a) {
			at := cmp.Or(a.at("socket_address", "address"), a)
			c.report(at, Error, "%s, Holdfast's way back, can be reached from other machines, past all checks of the public one; bind it to 127.0.0.1 or a pipe", m.label())
		}
	}
}

func checkLoopbackCodec(c *check) {
	for m := range c.loopbacks {
		if set := m.get("codec_type"); set.string() == "HTTP1" {
			c.report(set, Error, "%s speaks HTTP/1.1 only, where Holdfast learns of a server's reset a second late; set codec_type: AUTO", m.label())
		}
	}
}

func checkLoopbackAddress(c *check) {
	for m := range c.loopbacks {
		if set := m.get("use_remote_address"); set.isTrue() {
			c.report(set, Warning, "%s takes Holdfast for the client and tells servers so in x-forwarded-for; set use_remote_address: false and skip_xff_append: true", m.label())
		}
	}
}

func checkLoopbackPaths(c *check) {
	public := c.public()
	if public == nil {
		return
	}
	byDefault := map[string]string{"path_with_escaped_slashes_action": "KEEP_UNCHANGED"}
	for m := range c.loopbacks {
		for _, name := range []string{"normalize_path", "merge_slashes", "path_with_escaped_slashes_action", "strip_trailing_host_dot"} {
			usual := cmp.Or(byDefault[name], "false")
			here, there := cmp.Or(m.get(name).string(), usual), cmp.Or(public.get(name).string(), usual)
			if here == "IMPLEMENTATION_SPECIFIC_DEFAULT" {
				here = usual
			}
			if there == "IMPLEMENTATION_SPECIFIC_DEFAULT" {
				there = usual
			}
			if here != there && !m.partial && !public.partial {
				c.report(cmp.Or(m.get(name), m.place), Warning, "%s has %s: %s, but %s has %s: the same request may take another route on its way back; make them equal", m.label(), name, here, public.label(), there)
			}
		}
	}
}

func checkLoopbackServer(c *check) {
	public := c.public()
	if public == nil {
		return
	}
	const pass = "PASS_THROUGH"
	for m := range c.loopbacks {
		if public.get("server_header_transformation").string() == pass && m.get("server_header_transformation").string() != pass && !m.partial {
			c.report(cmp.Or(m.get("server_header_transformation"), m.place), Info, "%s writes its own server header, which %s passes on; set server_header_transformation: PASS_THROUGH", m.label(), public.label())
		}
	}
}

func checkLoopbackRequestID(c *check) {
	public := c.public()
	if public == nil {
		return
	}
	for m := range c.loopbacks {
		set := m.get("generate_request_id")
		if public.get("generate_request_id").string() == "false" && set.string() != "false" && !m.partial {
			c.report(cmp.Or(set, m.place), Info, "%s makes request ids where %s makes none, so servers see ids that nobody else knows; set generate_request_id: false", m.label(), public.label())
		}
	}
}

func checkUpstreamOutliers(c *check) {
	for _, r := range c.routes {
		if r.manager == nil || !r.manager.loopback {
			continue
		}
		for _, name := range r.clusters {
			cl := c.cluster(name)
			if cl == nil || cl.partial || cl.has("outlier_detection") || len(cl.addresses()) < 2 && !cl.has("eds_cluster_config") {
				continue
			}
			c.report(cl.node, Info, "%s has several hosts, and one that is gone is asked by resume after resume; add outlier_detection: {consecutive_local_origin_failure: 3, split_external_local_origin_errors: true}", cl.label())
		}
	}
}

func checkLoopbackRetry(c *check) {
	for _, r := range c.routes {
		if r.manager != nil && r.manager.loopback && !r.retryPolicy().has("retry_on") && !r.partial {
			c.report(r.node, Info, "%s does not try another host when a fetch fails before its response; set retry_policy: {retry_on: \"connect-failure,refused-stream,reset\", num_retries: 2}", r.label())
		}
	}
}

func checkLoopbackDrain(c *check) {
	for m := range c.loopbacks {
		if l := m.listener; l != nil && !l.partial && l.get("drain_type").string() != "MODIFY_ONLY" {
			c.report(cmp.Or(l.get("drain_type"), l.node), Info, "%s closes while Envoy drains, when held streams may have to be fetched again; set drain_type: MODIFY_ONLY", l.label())
		}
	}
}

func checkPrematureResets(c *check) {
	if c.bootstrap == nil {
		return
	}
	for _, l := range c.bootstrap.at("layered_runtime", "layers").list() {
		static := l.get("static_layer")
		if static.has("overload.premature_reset_total_stream_count") || static.at("overload").has("premature_reset_total_stream_count") {
			return
		}
	}
	for m := range c.loopbacks {
		c.report(m.place, Warning, "%s shares few connections among all clients, and Envoy closes one with every stream on it when half of 500 clients left early; "+
			"set overload.premature_reset_total_stream_count: 4294967295 in a static_layer of layered_runtime", m.label())
		return
	}
}
