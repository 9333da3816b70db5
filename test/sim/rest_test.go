package sim

import (
	"fmt"
	"slices"
)

// triesAgain are the reasons for which another host is asked.
var triesAgain = []string{"first_event", "bad_status", "not_event_stream", "silence", "ejected"}

// checkRest: nothing is left, and everything was counted once.
func (w *world) checkRest() {
	for _, v := range w.visits {
		for _, a := range v.seen.attempts {
			if a.end == "" {
				w.fail("%s: request %d to the origin is still open", v.name, a.n)
			}
		}
	}
	for _, p := range w.procs {
		if n := p.srv.Live().Len(); n != 0 {
			w.fail("%d streams are still known", n)
		}
		if n := p.dialer.Stats().Live; n != 0 {
			w.fail("%d fetches are open", n)
		}
		if !p.dead.Load() {
			p.checkMetrics()
		}
	}
}

// checkMetrics: each end is counted once, and each attempt comes to one thing.
func (p *process) checkMetrics() {
	w := p.w
	families, err := p.reg.Gather()
	if err != nil {
		w.fail("metrics: %v", err)
		return
	}
	counted, resumes, retries := map[string]int{}, 0, 0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := map[string]string{}
			for _, l := range m.GetLabel() {
				label[l.GetName()] = l.GetValue()
			}
			n := int(m.GetCounter().GetValue())
			switch f.GetName() {
			case "holdfast_streams_total":
				if n > 0 {
					counted[label["policy"]+" "+label["mode"]+" "+label["outcome"]] += n
				}
			case "holdfast_streams_active":
				if g := m.GetGauge().GetValue(); g != 0 {
					w.fail("%v streams are active in mode %s", g, label["mode"])
				}
			case "holdfast_resumes_total":
				resumes += n
			case "holdfast_envoy_retries_total":
				if !slices.Contains(triesAgain, label["reason"]) {
					retries += n
				}
			}
		}
	}
	for _, l := range p.logs.FilterMessage("stream ended").All() {
		m := l.ContextMap()
		counted[fmt.Sprint(m["policy"], " ", m["mode"], " ", m["outcome"])]--
	}
	for what, n := range counted {
		if n != 0 {
			w.fail("streams_total: %s is counted %d times more than it happened", what, n)
		}
	}
	if resumes != retries {
		w.fail("%d attempts, and %d results of them", retries, resumes)
	}
}
