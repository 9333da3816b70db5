package lint

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// processorRules are about the ext_proc filter's own settings.
func processorRules() []Rule {
	return []Rule{
		{
			ID: "which-processor", Severity: Info,
			Breaks: "Nothing: but as long as no filter is known to be Holdfast's, its rules are warnings that begin with an if, or silent.",
			Set:    "`--processor NAME`, or a cluster with `holdfast` in its name",
			Check:  checkWhich,
		},
		{
			ID: "mode-override", Severity: Error,
			Breaks: "Holdfast asks for a stream's body by a `mode_override`. Without permission it is ignored, and Holdfast never sees an event.",
			Set:    "`allow_mode_override: true`; if there are `allowed_override_modes`, one with `response_body_mode: FULL_DUPLEX_STREAMED` and `response_trailer_mode: SEND`",
			Check:  checkModeOverride,
		},
		{
			ID: "static-body-mode", Severity: Error,
			Breaks: "With `FULL_DUPLEX_STREAMED` of its own the filter ignores Holdfast's overrides, and streams are copied but not guarded. With `BUFFERED` what Holdfast leaves alone arrives when it is complete, and with `STREAMED` every download pays for the detour.",
			Set:    "`request_body_mode` and `response_body_mode` `NONE`, or leave them out",
			Check:  checkStaticBody,
		},
		{
			ID: "header-mode", Severity: Error,
			Breaks: "What Envoy does not show, Holdfast cannot act on: without the request's headers there is no policy, without the response's no event stream.",
			Set:    "`request_header_mode` and `response_header_mode` `SEND`, or leave them out",
			Check:  checkHeaderMode,
		},
		{
			ID: "grpc-timeout", Severity: Info,
			Breaks: "Nothing up to Envoy 1.40, which takes no notice of `grpc_service.timeout` in this filter. One that does would count the whole exchange with the processor, and so end each stream when it gets this old.",
			Set:    "remove `timeout` from `grpc_service`, if you have the say",
			Check:  checkGRPCTimeout,
		},
		{
			ID: "failure-mode", Severity: Warning,
			Breaks: "While the processor is away, every request that this filter sees gets a 500 instead of going to the server without it.",
			Set:    "`failure_mode_allow: true`",
			Check:  checkFailureMode,
		},
		{
			ID: "message-timeout", Severity: Warning,
			Breaks: "A processor that is stuck delays each request by `message_timeout` before Envoy goes on without it; at 0s Envoy never waits for an answer.",
			Set:    "`message_timeout` of about `1s`",
			Check:  checkMessageTimeout,
		},
		{
			ID: "max-message-timeout", Severity: Error,
			Breaks: "Unset, it forbids the processor to ask for more time. A held stream whose server thinks for longer than `message_timeout` then gets a 504, and no first event can be waited for.",
			Set:    "`max_message_timeout: 3600s`",
			Check:  checkMaxMessageTimeout,
		},
		{
			ID: "mutation-rules", Severity: Error,
			Breaks: "Holdfast asks servers for uncompressed streams, marks requests for the relay, and sets `x-envoy-*` headers for retries; Envoy drops the ones that the rules do not allow, or answers 500.",
			Set:    "`mutation_rules: {allow_envoy: true}`, and no `disallow_all`, `disallow_system` or `disallow_expression` that hits those",
			Check:  checkMutationRules,
		},
		{
			ID: "forward-rules", Severity: Error,
			Breaks: "Headers that are not forwarded do not exist for Holdfast: no content type, no event stream; no `last-event-id`, no cursor; no credential, one session for all.",
			Set:    "no `forward_rules`, or at least the headers that the finding names",
			Check:  checkForwardRules,
		},
		{
			ID: "observability-mode", Severity: Error,
			Breaks: "In observability mode Envoy ignores all answers: nothing is removed, kept alive or resumed.",
			Set:    "remove `observability_mode`; `mode: observe` in Holdfast's policy looks without touching",
			Check:  checkObservability,
		},
		{
			ID: "http-service", Severity: Error,
			Breaks: "Over `http_service` a processor sees headers only, and Holdfast does not speak it.",
			Set:    "`grpc_service` in its place",
			Check:  checkHTTPService,
		},
		{
			ID: "immediate-response", Severity: Warning,
			Breaks: "Streams held by `via: immediate`, and replays, are immediate responses: with these disabled Envoy drops them.",
			Set:    "remove `disable_immediate_response`, or hold by `via: relay` only",
			Check:  checkImmediate,
		},
		{
			ID: "attributes", Severity: Info,
			Breaks: "Without them Holdfast does not know which cluster and host a stream comes from: no health of hosts, no ejection, and empty columns in the console.",
			Set:    "`request_attributes: [xds.route_name, xds.cluster_name]`, `response_attributes: [upstream.address, upstream.request_attempt_count]`",
			Check:  checkAttributes,
		},
		{
			ID: "metadata-namespace", Severity: Warning,
			Breaks: "What Holdfast says of a stream (outcome, events, cursor) is dropped before the access log can show it, and the log that tells Holdfast how streams ended cannot find them.",
			Set:    "`metadata_options: {receiving_namespaces: {untyped: [holdfast]}}`",
			Check:  checkNamespace,
		},
	}
}

// reportFor is report for what matters only if a filter is Holdfast's. Of one that
// is probably somebody else's, only what would keep Holdfast from working is said.
func (c *check) reportFor(p *processor, at *node, severity Severity, format string, args ...any) {
	if p.sure == maybe && severity < Error {
		return
	}
	c.about(p.sure == ours, p.label()+" is to be Holdfast", at, severity, format, args...)
}

// about reports what is sure, or holds under a condition. "$it" in the format is
// Holdfast.
func (c *check) about(sure bool, condition string, at *node, severity Severity, format string, args ...any) {
	name := "Holdfast"
	if !sure {
		name, severity = "it", min(severity, Warning)
	}
	text := fmt.Sprintf(strings.ReplaceAll(format, "$it", name), args...)
	if !sure {
		text = "if " + condition + ": " + text
	}
	c.report(at, severity, "%s", text)
}

// candidates are the filters that are Holdfast's, or may be.
func (c *check) candidates(yield func(*processor) bool) {
	for _, p := range c.processors {
		if p.sure != foreign && !yield(p) {
			return
		}
	}
}

func checkWhich(c *check) {
	said := map[string]bool{}
	for p := range c.candidates {
		if p.sure != ours && p.cluster != "" && !said[p.cluster] {
			said[p.cluster] = true
			c.report(p.place, Info, "nothing says whether cluster %s is Holdfast; --processor with its name makes its findings definite, and with another's ends them", quote(p.cluster))
		}
	}
}

func checkModeOverride(c *check) {
	for p := range c.candidates {
		set := p.get("allow_mode_override")
		switch allowed := p.get("allowed_override_modes"); {
		case set == nil && p.partial:
		case set == nil:
			c.reportFor(p, p.place, Error, "$it may not ask for bodies, so it never sees an event; set allow_mode_override: true")
		case !set.isTrue():
			c.reportFor(p, set, Error, "$it may not ask for bodies, so it never sees an event; set allow_mode_override: true")
		case allowed != nil && !slices.ContainsFunc(allowed.list(), allowsStreams):
			c.reportFor(p, allowed, Error, "none of these modes is the one $it asks for, so it never sees an event; "+
				"add {response_body_mode: FULL_DUPLEX_STREAMED, response_trailer_mode: SEND}, or remove allowed_override_modes")
		}
	}
}

func allowsStreams(mode *node) bool {
	return mode.get("response_body_mode").string() == duplex && mode.get("response_trailer_mode").string() == "SEND"
}

func checkStaticBody(c *check) {
	for p := range c.candidates {
		staticBodies(p.get("processing_mode"), func(at *node, severity Severity, text string) { c.reportFor(p, at, severity, text) })
	}
	// A route's own mode is for whatever ext_proc filter there is; where all are ours,
	// it is for ours.
	sure := len(c.processors) > 0
	for _, p := range c.processors {
		sure = sure && p.sure == ours
	}
	for _, r := range c.perRoute {
		if len(c.processors) > 0 && !slices.ContainsFunc(c.processors, func(p *processor) bool { return p.sure > maybe }) {
			return
		}
		staticBodies(r.at("overrides", "processing_mode"), func(at *node, severity Severity, text string) {
			c.about(sure, "this is for Holdfast's filter", at, severity, text)
		})
	}
}

func staticBodies(mode *node, say func(*node, Severity, string)) {
	for _, of := range []string{"request_body_mode", "response_body_mode"} {
		m := mode.get(of)
		switch mode := m.string(); mode {
		case duplex:
			say(m, Error, of+": "+mode+" makes Envoy ignore what $it asks for, stream by stream, so it only copies; set NONE")
		case "BUFFERED", "BUFFERED_PARTIAL":
			say(m, Error, of+": "+mode+" keeps every body back that $it does not ask for, until it is complete or too large; set NONE")
		case "STREAMED":
			say(m, Warning, of+": "+mode+" sends $it every body, downloads too, and waits for each piece; set NONE, for it asks for those of event streams")
		}
	}
}

func checkHeaderMode(c *check) {
	for p := range c.candidates {
		for _, of := range []string{"request_header_mode", "response_header_mode"} {
			if m := p.at("processing_mode", of); m.string() == "SKIP" {
				c.reportFor(p, m, Error, "%s: SKIP hides from $it what it decides by, so no stream is guarded; set SEND", of)
			}
		}
	}
}

func checkGRPCTimeout(c *check) {
	for p := range c.candidates {
		c.grpcTimeout(p, p.get("grpc_service"))
		for _, r := range c.perRoute {
			c.grpcTimeout(p, r.at("overrides", "grpc_service"))
		}
	}
}

func (c *check) grpcTimeout(p *processor, service *node) {
	set := service.get("timeout")
	if limit, ok := set.duration(); ok && limit > 0 {
		c.reportFor(p, set, Info, "an Envoy that took notice of this would end each exchange with $it after %s, and with it the client's stream; remove timeout from grpc_service", limit)
	}
}

func checkFailureMode(c *check) {
	for p := range c.candidates {
		if set := p.get("failure_mode_allow"); !set.isTrue() && (set != nil || !p.partial) {
			c.reportFor(p, cmp.Or(set, p.place), Warning, "while $it is away, every request gets a 500 instead of passing it by; set failure_mode_allow: true")
		}
	}
}

func checkMessageTimeout(c *check) {
	const long = 5 * time.Second
	for p := range c.candidates {
		set := p.get("message_timeout")
		switch limit, ok := set.duration(); {
		case !ok:
		case limit <= 0:
			c.reportFor(p, set, Warning, "Envoy waits for none of the answers of $it; set message_timeout: 1s")
		case limit > long:
			c.reportFor(p, set, Warning, "while $it is stuck, each request waits %s before it is passed by; set message_timeout: 1s, and max_message_timeout for what may take longer", limit)
		}
	}
}

func checkMaxMessageTimeout(c *check) {
	const enough = time.Minute
	for p := range c.candidates {
		set := p.get("max_message_timeout")
		limit, ok := set.duration()
		severity := Warning
		if p.in != nil { // it waits for first events there, and does nothing else
			severity = Error
		}
		switch {
		case set == nil && p.partial, set != nil && !ok, limit >= enough:
		case set == nil || limit == 0:
			c.reportFor(p, cmp.Or(set, p.place), severity, "$it may not ask for more time, so what it holds or waits for gets a 504 after message_timeout (200ms unless set); set max_message_timeout: 3600s")
		default:
			c.reportFor(p, set, Warning, "a server that thinks for longer than %s before its first byte costs a held stream a 504; set max_message_timeout: 3600s", limit)
		}
	}
}

func checkMutationRules(c *check) {
	for p := range c.candidates {
		rules := p.get("mutation_rules")
		if all := rules.get("disallow_all"); all.isTrue() {
			c.reportFor(p, all, Error, "$it may not change any header, so servers compress what it should read and the relay gets no ticket; remove disallow_all and set allow_envoy: true")
			continue
		}
		if hit, at := disallowed(rules.get("disallow_expression")); hit != "" {
			c.reportFor(p, at, Error, "this expression matches %s, which $it has to set; narrow it", hit)
		}
		if system := rules.get("disallow_system"); system.isTrue() && p.in != nil {
			c.reportFor(p, system, Error, "$it may not set :status, by which it has Envoy try another host; remove disallow_system")
		}
		if allow := rules.get("allow_envoy"); !allow.isTrue() && !allowsEnvoy(rules) && !p.partial {
			severity := Warning
			if rules.get("disallow_is_error").isTrue() {
				severity = Error
			}
			c.reportFor(p, cmp.Or(allow, rules, p.place), severity, "$it may not set x-envoy-* headers, by which it asks Envoy for retries; set mutation_rules: {allow_envoy: true}")
		}
	}
}

// disallowed returns the first header of ours that an expression hits.
func disallowed(expression *node) (string, *node) {
	at := expression.get("regex")
	re, err := regexp.Compile("^(?:" + at.string() + ")$")
	if at == nil || err != nil {
		return "", nil
	}
	for _, name := range []string{"accept-encoding", "x-holdfast-ticket", "x-holdfast-retry", "x-holdfast-hops"} {
		if re.MatchString(name) {
			return name, at
		}
	}
	return "", nil
}

func allowsEnvoy(rules *node) bool {
	at := rules.at("allow_expression", "regex")
	re, err := regexp.Compile("^(?:" + at.string() + ")$")
	return at != nil && err == nil && re.MatchString("x-envoy-retry-on")
}

func checkForwardRules(c *check) {
	// Without the first five Holdfast does nothing; the others are for sessions, resumes and
	// encodings.
	vital := []string{":method", ":path", ":status", "content-type", "accept"}
	useful := []string{":authority", "last-event-id", "content-encoding", "retry-after", "authorization", "x-request-id"}
	for p := range c.candidates {
		rules := p.get("forward_rules")
		if rules == nil {
			continue
		}
		missing := func(names []string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return forwards(rules, name) })
		}
		if hidden := missing(vital); len(hidden) > 0 {
			c.reportFor(p, rules, Error, "these rules hide %s from $it, so it guards no stream; forward all headers, or add these to allowed_headers",
				strings.Join(append(hidden, missing(useful)...), ", "))
		} else if hidden := missing(useful); len(hidden) > 0 {
			c.reportFor(p, rules, Warning, "these rules hide %s from $it, by which it tells sessions apart and resumes; add them, and the header of your session keys, to allowed_headers",
				strings.Join(hidden, ", "))
		}
	}
}

// forwards applies HeaderForwardingRules to a header.
func forwards(rules *node, name string) bool {
	if allowed := rules.get("allowed_headers"); allowed != nil && !matchesAny(allowed, name) {
		return false
	}
	return !matchesAny(rules.get("disallowed_headers"), name)
}

func matchesAny(l *node, name string) bool {
	return slices.ContainsFunc(l.get("patterns").list(), func(m *node) bool { return matches(m, name) })
}

// matches applies a StringMatcher, and in doubt says yes.
func matches(m *node, s string) bool {
	if m.get("ignore_case").isTrue() {
		s = strings.ToLower(s)
	}
	of := func(kind string) string {
		v := m.get(kind).string()
		if m.get("ignore_case").isTrue() {
			v = strings.ToLower(v)
		}
		return v
	}
	switch {
	case m.has("exact"):
		return s == of("exact")
	case m.has("prefix"):
		return strings.HasPrefix(s, of("prefix"))
	case m.has("suffix"):
		return strings.HasSuffix(s, of("suffix"))
	case m.has("contains"):
		return strings.Contains(s, of("contains"))
	case m.has("safe_regex"):
		re, err := regexp.Compile("^(?:" + m.at("safe_regex", "regex").string() + ")$")
		return err != nil || re.MatchString(s)
	}
	return true
}

func checkObservability(c *check) {
	for p := range c.candidates {
		if on := p.get("observability_mode"); on.isTrue() {
			c.reportFor(p, on, Error, "Envoy ignores all that $it says, so nothing is guarded; remove observability_mode, and use mode: observe in Holdfast's policy to look without touching")
		}
	}
}

func checkHTTPService(c *check) {
	for p := range c.candidates {
		if s := p.get("http_service"); s != nil {
			c.reportFor(p, s, Error, "over http_service $it would see headers only, and it does not speak it; use grpc_service")
		}
	}
}

func checkImmediate(c *check) {
	for p := range c.candidates {
		if off := p.get("disable_immediate_response"); off.isTrue() {
			c.reportFor(p, off, Warning, "streams that $it holds by via: immediate, and replays, are dropped; remove disable_immediate_response")
		}
	}
}

func checkAttributes(c *check) {
	for p := range c.candidates {
		if p.partial {
			continue
		}
		for _, want := range [][2]string{{"request_attributes", "xds.cluster_name"}, {"response_attributes", "upstream.address"}} {
			of, name := want[0], want[1]
			if !slices.ContainsFunc(p.get(of).list(), func(a *node) bool { return a.string() == name }) {
				c.reportFor(p, cmp.Or(p.get(of), p.place), Info, "$it does not learn %s, so it cannot judge hosts; add it to %s", name, of)
			}
		}
	}
}

func checkNamespace(c *check) {
	for p := range c.candidates {
		set := p.at("metadata_options", "receiving_namespaces", "untyped")
		if p.partial || slices.ContainsFunc(set.list(), func(n *node) bool { return n.string() == "holdfast" }) {
			continue
		}
		c.reportFor(p, cmp.Or(set, p.place), Warning, "what $it says of a stream's outcome is dropped before the access log; set metadata_options: {receiving_namespaces: {untyped: [holdfast]}}")
	}
}
