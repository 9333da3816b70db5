package lint

import (
	"slices"
	"strings"
)

// filterRules are about what stands beside Holdfast in a chain.
func filterRules() []Rule {
	return []Rule{
		{
			ID: "buffer-filter", Severity: Warning,
			Breaks: "The buffer filter waits for the end of a request's body before the server sees anything of it, and refuses what is larger than its limit with 413: long POSTs stall, and streamed ones never begin.",
			Set:    "disable it on the routes of streams, by `typed_per_filter_config` with `BufferPerRoute: {disabled: true}`",
			Check:  checkBuffer,
		},
		{
			ID: "response-buffered", Severity: Error,
			Breaks: "A filter that takes in the whole response before it lets go of it delivers an event stream when it is over, or never: past the buffer's limit it becomes a 500.",
			Set:    "`response_body_mode` `NONE` or `STREAMED`, or the filter off on the routes of streams",
			Check:  checkResponseBuffered,
		},
		{
			ID: "two-duplex", Severity: Error,
			Breaks: "Two ext_proc filters in one chain that both stream bodies in full-duplex mode truncate responses (Envoy issues 41654 and 43983).",
			Set:    "one of them into another chain, or another mode for the one that is not Holdfast",
			Check:  checkTwoDuplex,
		},
		{
			ID: "compressor-order", Severity: Error,
			Breaks: "Responses run through a chain from its end to its beginning, so a compressor behind Holdfast compresses before Holdfast sees the events. It can read none of them, and passes the stream on unguarded.",
			Set:    "the compressor before the ext_proc filter in `http_filters`",
			Check:  checkCompressorOrder,
		},
		{
			ID: "filter-order", Severity: Warning,
			Breaks: "A response that Holdfast gives itself (`via: immediate`) has not passed the filters behind it: what they check or limit is then not checked or limited.",
			Set:    "Holdfast last, just before the router",
			Check:  checkFilterOrder,
		},
	}
}

func checkBuffer(c *check) {
	for _, m := range c.managers {
		for _, f := range m.filters {
			if f.kind == "buffer" && !f.get("disabled").isTrue() {
				c.report(f.node, Warning, "the buffer filter of %s keeps each request back until its body is complete; disable it on routes that stream", m.label())
			}
		}
	}
}

func checkResponseBuffered(c *check) {
	for _, m := range c.managers {
		severity := Warning
		if m.holdfast(c.survey, ours) != nil {
			severity = Error
		}
		for _, f := range m.filters {
			if f.kind != "file_system_buffer" {
				continue
			}
			behavior := f.config.at("response", "behavior")
			for _, waits := range []string{"fully_buffer", "fully_buffer_and_always_inject_content_length"} {
				if behavior.has(waits) {
					c.report(behavior.get(waits), severity, "the file_system_buffer filter of %s delivers an event stream only when it is over; set behavior: {bypass: {}} for responses", m.label())
				}
			}
		}
	}
	for _, p := range c.processors {
		mode := p.at("processing_mode", "response_body_mode")
		if !strings.HasPrefix(mode.string(), "BUFFERED") || p.sure == ours { // static-body-mode says it for ours
			continue
		}
		severity := Warning
		if p.manager.holdfast(c.survey, ours) != nil {
			severity = Error
		}
		c.report(mode, severity, "%s takes in whole responses (%s), so an event stream arrives when it is over or, being too large, as a 500; set NONE or STREAMED, or turn it off on routes that stream", p.label(), mode.string())
	}
}

const duplex = "FULL_DUPLEX_STREAMED"

// isDuplex says that the filter streams bodies in full-duplex mode by itself.
func (p *processor) isDuplex() *node {
	for _, of := range []string{"response_body_mode", "request_body_mode"} {
		if mode := p.at("processing_mode", of); mode.string() == duplex {
			return mode
		}
	}
	return nil
}

func checkTwoDuplex(c *check) {
	for _, m := range c.managers {
		var in []*processor
		for _, p := range c.processors {
			if p.manager == m {
				in = append(in, p)
			}
		}
		for i, p := range in {
			others := slices.Concat(in[:i], in[i+1:])
			mode := p.isDuplex()
			switch {
			case mode == nil || p.sure == ours:
			case slices.ContainsFunc(others, func(o *processor) bool { return o.sure == ours }):
				c.report(mode, Error, "%s streams bodies in full-duplex mode, and so does Holdfast in the same chain: responses get truncated; "+
					"set another mode here, or move it to another chain", p.label())
			case slices.ContainsFunc(others, func(o *processor) bool { return o.isDuplex() != nil }):
				c.report(mode, Error, "two ext_proc filters of %s stream bodies in full-duplex mode: responses get truncated; one of them needs another mode or chain", m.label())
			}
		}
	}
}

const eventStream = "text/event-stream"

func checkCompressorOrder(c *check) {
	for _, m := range c.managers {
		p := m.holdfast(c.survey, maybe)
		if p == nil {
			continue
		}
		for i, f := range m.filters {
			if i < p.index || f.kind != "compressor" {
				continue
			}
			if at := compresses(f.config); at != nil {
				c.reportFor(p, at, Error, "this compressor compresses event streams before $it sees them, so they pass unguarded; move it before the ext_proc filter")
			} else {
				c.reportFor(p, f.node, Info, "this compressor stands behind $it, where it would hide event streams; it does not compress these now, but belongs before the ext_proc filter")
			}
		}
	}
}

// compresses returns where a compressor's configuration names event streams.
func compresses(config *node) *node {
	for _, types := range []*node{config.at("response_direction_config", "common_config", "content_type"), config.get("content_type")} {
		for _, t := range types.list() {
			if strings.EqualFold(t.string(), eventStream) {
				return t
			}
		}
	}
	return nil
}

// guards are filters that decide whether a request may go on.
func guards() []string {
	return []string{
		"ext_authz", "jwt_authn", "rbac", "oauth2", "basic_auth", "api_key_auth", "csrf",
		"ratelimit", "local_ratelimit", "rate_limit_quota",
	}
}

func checkFilterOrder(c *check) {
	for _, m := range c.managers {
		p := m.holdfast(c.survey, ours)
		if p == nil {
			continue
		}
		for i, f := range m.filters {
			if i > p.index && slices.Contains(guards(), f.kind) {
				c.report(f.node, Warning, "%s stands behind Holdfast, so what Holdfast answers itself (via: immediate) does not pass it; move it before the ext_proc filter", f.kind)
			}
		}
	}
}
