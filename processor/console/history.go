package console

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const (
	// historyStep is the time between two points of the history, and historyLength
	// how many there are: a quarter of an hour, in which most pages are answered.
	historyStep   = 5 * time.Second
	historyLength = 180
)

// point is what happened in one step.
type point struct {
	Time       time.Time `json:"time"`   // its end
	Active     float64   `json:"active"` // streams, at that moment
	Events     float64   `json:"events"`
	Duplicates float64   `json:"duplicates"`
	Resumed    float64   `json:"resumed"`   // resumes that went well
	Unresumed  float64   `json:"unresumed"` // and that did not
	Bad        float64   `json:"bad"`       // streams that ended as cut or gap
	Ended      float64   `json:"ended"`     // streams that ended, these too
}

// history is the course of a few metrics, from the metrics themselves, so that
// it says what a dashboard would say.
type history struct {
	metrics prometheus.Gatherer

	mu     sync.Mutex
	points []point // oldest first
	last   point   // as totals
	begun  bool
}

// run takes a point each step until ctx ends.
func (h *history) run(ctx context.Context) {
	tick := time.NewTicker(historyStep)
	defer tick.Stop()
	h.sample(now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.sample(now())
		}
	}
}

func (h *history) sample(at time.Time) {
	families, err := h.metrics.Gather()
	if err != nil && len(families) == 0 {
		return
	}
	total := totals(families)
	total.Time = at
	h.mu.Lock()
	defer h.mu.Unlock()
	before, begun := h.last, h.begun
	h.last, h.begun = total, true
	if !begun {
		return
	}
	// A counter that went back is one that began anew.
	since := func(now, before float64) float64 { return max(now-before, 0) }
	if len(h.points) == historyLength {
		h.points = slices.Delete(h.points, 0, 1)
	}
	h.points = append(h.points, point{
		Time: at, Active: total.Active,
		Events:     since(total.Events, before.Events),
		Duplicates: since(total.Duplicates, before.Duplicates),
		Resumed:    since(total.Resumed, before.Resumed),
		Unresumed:  since(total.Unresumed, before.Unresumed),
		Bad:        since(total.Bad, before.Bad),
		Ended:      since(total.Ended, before.Ended),
	})
}

// after returns the points later than t.
func (h *history) after(t time.Time) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearchFunc(h.points, t, func(p point, t time.Time) int {
		if p.Time.After(t) {
			return 1
		}
		return -1
	})
	return slices.Clone(h.points[i:])
}

// totals reads the metrics that the history is made of.
func totals(families []*dto.MetricFamily) (p point) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			switch f.GetName() {
			case "holdfast_streams_active":
				p.Active += v
			case "holdfast_events_total":
				p.Events += v
			case "holdfast_duplicates_dropped_total":
				p.Duplicates += v
			case "holdfast_resumes_total":
				switch label(m, "result") {
				case "resumed", "confirmed", "needless": // it is well, or always was
					p.Resumed += v
				case "abandoned": // by the client, or because the stream was over
				default:
					p.Unresumed += v
				}
			case "holdfast_streams_total":
				p.Ended += v
				switch label(m, "outcome") {
				case "cut", "gap":
					p.Bad += v
				}
			}
		}
	}
	return p
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
