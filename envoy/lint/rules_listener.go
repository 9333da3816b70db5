package lint

import (
	"cmp"
	"slices"
)

// listenerRules are about clients that do not read, and about memory.
func listenerRules() []Rule {
	return []Rule{
		{
			ID: "watermark-timeout", Severity: Warning,
			Breaks: "A client that stops reading without closing keeps its buffers for ever. A stream held by `via: immediate` has no back pressure: without this timeout nothing but its pace bounds what piles up.",
			Set:    "`per_connection_buffer_high_watermark_timeout: 300s` on the public listener",
			Check:  checkWatermark,
		},
		{
			ID: "buffer-limit", Severity: Warning,
			Breaks: "`per_connection_buffer_limit_bytes` times the clients that stop reading is what Envoy has to keep.",
			Set:    "`per_connection_buffer_limit_bytes: 262144` on the public listener",
			Check:  checkBufferLimit,
		},
		{
			ID: "heap-limit", Severity: Info,
			Breaks: "Envoy that runs out of memory is killed with every stream; an overload manager gives up the largest buffers first.",
			Set:    "an `overload_manager` with a heap monitor, `envoy.overload_actions.reset_high_memory_stream` and `stop_accepting_requests`",
			Check:  checkHeap,
		},
		{
			ID: "reduce-timeouts", Severity: Warning,
			Breaks: "Under pressure this action shortens timeouts, and those on idle streams end the quiet streams first.",
			Set:    "no `HTTP_DOWNSTREAM_STREAM_IDLE` among the `timer_scale_factors` of `reduce_timeouts`",
			Check:  checkReduceTimeouts,
		},
	}
}

// publicListeners are those with Holdfast's filter.
func (c *check) publicListeners(yield func(*listener) bool) {
	for _, l := range c.listeners {
		has := slices.ContainsFunc(l.managers, func(m *manager) bool { return m.holdfast(c.survey, ours) != nil })
		if has && !l.partial && !yield(l) {
			return
		}
	}
}

func checkWatermark(c *check) {
	for l := range c.publicListeners {
		set := l.get("per_connection_buffer_high_watermark_timeout")
		if limit, ok := set.duration(); set == nil || ok && limit == 0 {
			c.report(cmp.Or(set, l.node), Warning, "%s never closes a client that stops reading, and its buffers stay; set per_connection_buffer_high_watermark_timeout: 300s", l.label())
		}
	}
}

func checkBufferLimit(c *check) {
	const large = 4 << 20
	for l := range c.publicListeners {
		set := l.get("per_connection_buffer_limit_bytes")
		switch n, ok := set.number(); {
		case set == nil:
			c.report(l.node, Info, "%s keeps up to the default of 1 MiB for each client that stops reading; set per_connection_buffer_limit_bytes: 262144", l.label())
		case ok && n > large:
			c.report(set, Warning, "%s keeps up to %d bytes for each client that stops reading; set per_connection_buffer_limit_bytes: 262144", l.label(), n)
		}
	}
}

func checkHeap(c *check) {
	if c.bootstrap == nil || c.bootstrap.has("overload_manager") || c.public() == nil {
		return
	}
	c.report(c.bootstrap, Info, "nothing bounds Envoy's memory, and when the kernel ends it, all streams end; add an overload_manager, as holdfast bootstrap prints it")
}

func checkReduceTimeouts(c *check) {
	for _, action := range c.bootstrap.at("overload_manager", "actions").list() {
		if action.get("name").string() != "envoy.overload_actions.reduce_timeouts" {
			continue
		}
		for _, f := range action.at("typed_config", "timer_scale_factors").list() {
			if timer := f.get("timer"); timer.string() == "HTTP_DOWNSTREAM_STREAM_IDLE" {
				c.report(timer, Warning, "under memory pressure this ends streams that are merely quiet; remove this timer from reduce_timeouts")
			}
		}
	}
}
