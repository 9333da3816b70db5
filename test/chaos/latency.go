package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// histogram is one of Prometheus's: how many observations are not above each
// bound, in seconds, in rising order.
type histogram struct {
	bounds []float64
	counts []uint64
}

// resumeTimes adds up holdfast_resume_seconds of all gateways.
func resumeTimes(ctx context.Context, gateways []*gateway) (sum histogram, err error) {
	for _, gw := range gateways {
		h, err := gw.resumeTimes(ctx)
		if err != nil {
			return sum, err
		}
		if sum.bounds == nil {
			sum = h
			continue
		}
		for i := range h.counts {
			sum.counts[i] += h.counts[i]
		}
	}
	return sum, nil
}

func (gw *gateway) resumeTimes(ctx context.Context) (h histogram, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, gw.admin+"/metrics", http.NoBody)
	if err != nil {
		return h, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, err
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		return h, fmt.Errorf("%s/metrics: %w", gw.admin, err)
	}
	const name = "holdfast_resume_seconds"
	if families[name] == nil || len(families[name].GetMetric()) != 1 {
		return h, fmt.Errorf("%s/metrics has no %s", gw.admin, name)
	}
	buckets := families[name].GetMetric()[0].GetHistogram().GetBucket()
	for _, b := range buckets {
		h.bounds = append(h.bounds, b.GetUpperBound())
		h.counts = append(h.counts, b.GetCumulativeCount())
	}
	if len(h.bounds) == 0 || !math.IsInf(h.bounds[len(h.bounds)-1], 1) {
		h.bounds = append(h.bounds, math.Inf(1))
		h.counts = append(h.counts, families[name].GetMetric()[0].GetHistogram().GetSampleCount())
	}
	return h, nil
}

// below is the bound that a share of the observations does not exceed.
func (h histogram) below(share float64) string {
	total := h.counts[len(h.counts)-1]
	want := uint64(math.Ceil(share * float64(total)))
	i := slices.IndexFunc(h.counts, func(n uint64) bool { return n >= want })
	if math.IsInf(h.bounds[i], 1) {
		return "> " + seconds(h.bounds[i-1])
	}
	return "≤ " + seconds(h.bounds[i])
}

func seconds(s float64) string { return time.Duration(s * float64(time.Second)).String() }

func (h histogram) String() string {
	if len(h.counts) == 0 || h.counts[len(h.counts)-1] == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s (%d measured)", h.below(0.5), h.below(0.99), h.below(0.999), h.counts[len(h.counts)-1])
}

// percentiles describes measured times.
func percentiles[T cmp.Ordered](took []T, text func(T) string) string {
	slices.Sort(took)
	at := func(percent int) string { return text(took[(len(took)-1)*percent/100]) }
	return fmt.Sprintf("p50 %s, p99 %s, most %s (%d measured)", at(50), at(99), at(100), len(took))
}
