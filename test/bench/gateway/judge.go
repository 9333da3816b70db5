package main

import (
	"fmt"
	"slices"
)

// A target is missed for good only beyond these allowances. Times of programs that
// share a machine with others scatter; resident memory hardly does.
const (
	timeNoise   = 0.15
	memoryNoise = 0.05
)

// figures are of one gateway, one for each round.
type figures []float64

// against returns the rounds' ratios, sorted. A ratio is taken within a round,
// where the machine was the same for both, and only then the median of the ratios.
func (f figures) against(base figures) []float64 {
	ratios := make([]float64, len(f))
	for i := range ratios {
		ratios[i] = f[i] / base[i]
	}
	slices.Sort(ratios)
	return ratios
}

// target is a bound of a ratio or a figure; 0: none.
type target struct {
	bound   float64
	atLeast bool
	noise   float64
}

func atMost(bound, noise float64) target  { return target{bound: bound, noise: noise} }
func atLeast(bound, noise float64) target { return target{bound, true, noise} }

// judge says whether a value meets a target, as two columns of a table.
func (b *bench) judge(value float64, t target) string {
	if t.bound == 0 {
		return " | "
	}
	sign, excess := "≤", value/t.bound
	if t.atLeast {
		sign, excess = "≥", t.bound/value
	}
	verdict := "yes"
	switch {
	case excess > 1+t.noise:
		b.missed++
		verdict = "**no**"
	case excess > 1:
		verdict = "noise"
	}
	return fmt.Sprintf("%s %g | %s", sign, t.bound, verdict)
}

// ratio is the median of a gateway's ratios to another one, the quartiles, the
// target and the verdict, as four columns.
func (b *bench) ratio(of, to figures, t target) string {
	sorted := of.against(to)
	n := len(sorted)
	return fmt.Sprintf("%.2f | %.2f-%.2f | %s", percentile(sorted, 50), sorted[n/4], sorted[n-1-n/4], b.judge(percentile(sorted, 50), t))
}
