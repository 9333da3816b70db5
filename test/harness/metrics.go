package harness

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Metric sums the samples of a metric whose labels include all of the given
// ones, each written as name=value. A metric without samples counts 0.
func (g *Gateway) Metric(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	status, text := g.Fetch(tb, "/metrics")
	if status != http.StatusOK {
		tb.Fatalf("GET /metrics: status %d", status)
	}
	return SumMetric(text, name, labels...)
}

// WantMetric waits until Metric is want. Counters move a moment after the client
// has seen the effect.
func (g *Gateway) WantMetric(tb testing.TB, want float64, name string, labels ...string) {
	tb.Helper()
	what := name + "{" + strings.Join(labels, ",") + "} = " + strconv.FormatFloat(want, 'g', -1, 64)
	var got float64
	reached := false
	defer func() {
		if !reached {
			tb.Logf("%s is %g", name, got)
		}
	}()
	Eventually(tb, what, func() bool {
		got = g.Metric(tb, name, labels...)
		return got == want
	})
	reached = true
}

// SumMetric is Metric on a page in Prometheus's text format.
func SumMetric(page, name string, labels ...string) float64 {
	var sum float64
sample:
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || (rest != "" && rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		set, value := "", rest
		if end := strings.LastIndexByte(rest, '}'); end >= 0 {
			set, value = ","+rest[1:end]+",", rest[end+1:]
		}
		for _, label := range labels {
			key, val, _ := strings.Cut(label, "=")
			if !strings.Contains(set, ","+key+"="+strconv.Quote(val)+",") {
				continue sample
			}
		}
		// A sample may carry a timestamp after its value.
		if fields := strings.Fields(value); len(fields) > 0 {
			if v, err := strconv.ParseFloat(fields[0], 64); err == nil {
				sum += v
			}
		}
	}
	return sum
}
