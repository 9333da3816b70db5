// Command sse measures processor/sse against two yardsticks in the same run:
// tmaxmax/go-sse, the fastest event stream reader for Go that decodes fields,
// and a loop of bytes.IndexByte('\n'), which no line-based scanner outruns.
//
// Absolute speeds drift on shared machines, so the contestants take turns in
// every round, what counts is the CPU time of the process (the garbage
// collector's included), and every figure is the median of the rounds' ratios.
//
//	go run ./test/bench/sse          # prints a markdown table
//	go run ./test/bench/sse -check   # and exits 1 if a target is clearly missed
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"holdfast/processor/sse"
)

const (
	usualChunk = 16 << 10 // bytes per chunk, unless said otherwise
	smallChunk = 256
	// tmaxmaxEvent is the largest event that tmaxmax is told to expect.
	tmaxmaxEvent = 1 << 20
)

// targets are the ratios to hold, by shape.
var shapes = []struct {
	shape   shape
	events  int
	tmaxmax float64 // at least this many times its throughput
	index   float64 // at least this share of the IndexByte loop's
}{
	{llm, 2000, 10, 0.5},
	{mcp, 400, 25, 0.5},
	{large, 32, 60, 0.3},
	{heartbeat, 2000, 3, 0.4},
}

// slowest is how much slower large events may be in small chunks.
const slowest = 5

// noise is how far a ratio may miss its target before that counts: CPU times of
// the same code scatter by as much on a machine whose caches are shared.
const noise = 0.15

func main() {
	check := flag.Bool("check", false, "exit with status 1 if a ratio misses its target by more than the noise allowance")
	rounds := flag.Int("rounds", 11, "rounds per shape")
	slice := flag.Duration("slice", 15*time.Millisecond, "least CPU time per contestant and round")
	flag.Parse()
	if flag.NArg() != 0 || *rounds < 1 {
		fmt.Fprintln(os.Stderr, "usage: sse [-check] [-rounds N] [-slice DURATION], N at least 1")
		os.Exit(2)
	}
	missed, err := report(os.Stdout, *rounds, *slice)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sse:", err)
		os.Exit(1)
	}
	if *check && missed > 0 {
		fmt.Fprintf(os.Stderr, "sse: %d of the ratios miss their targets by more than %.0f %%; run again on a quiet machine, then profile\n", missed, 100*noise)
		os.Exit(1)
	}
}

// report measures everything, writes the table and returns how many targets
// were missed.
func report(w io.Writer, rounds int, slice time.Duration) (missed int, err error) {
	atLeast := func(ratio, target float64) string {
		switch {
		case ratio >= target:
			return "yes"
		case ratio >= target*(1-noise):
			return "within noise"
		}
		missed++
		return "**no**"
	}
	fmt.Fprintln(w, "| stream | ns per event | compared with | ratio | spread | target | met |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, sh := range shapes {
		stream := generate(sh.shape, sh.events)
		if err := agree(cut(stream, usualChunk), sh.events); err != nil {
			return missed, fmt.Errorf("%s: %w", sh.shape, err)
		}
		chunks := cut(endless(stream), usualChunk)
		scanner := sse.NewScanner(0)
		t := race(rounds, slice,
			func() { scanAll(scanner, chunks) },
			func() { tmaxmaxAll(chunks) },
			func() { indexAll(chunks) },
		)
		perEvent := float64(t.median(0)) / float64(sh.events)
		vs := t.ratios(1, 0)
		fmt.Fprintf(w, "| %s | %.0f | tmaxmax/go-sse `sse.Read` | %.1f | %s | ≥ %g | %s |\n",
			sh.shape, perEvent, middle(vs), spread(vs), sh.tmaxmax, atLeast(middle(vs), sh.tmaxmax))
		vs = t.ratios(2, 0)
		fmt.Fprintf(w, "| %s | | `IndexByte` per line | %.2f | %s | ≥ %g | %s |\n",
			sh.shape, middle(vs), spread(vs), sh.index, atLeast(middle(vs), sh.index))
	}

	const events = 32
	stream := generate(large, events)
	if err := agree(cut(stream, smallChunk), events); err != nil {
		return missed, fmt.Errorf("large in %d byte chunks: %w", smallChunk, err)
	}
	stream = endless(stream)
	usual, small := cut(stream, usualChunk), cut(stream, smallChunk)
	scanner := sse.NewScanner(0)
	t := race(rounds, slice, func() { scanAll(scanner, small) }, func() { scanAll(scanner, usual) })
	vs := t.ratios(0, 1)
	fmt.Fprintf(w, "| large, %d B chunks | %.0f | itself, %d KiB chunks (slower by) | %.1f | %s | ≤ %d | %s |\n",
		smallChunk, float64(t.median(0))/events, usualChunk>>10, middle(vs), spread(vs), slowest, atLeast(slowest/middle(vs), 1))
	return missed, nil
}

// timing holds the CPU time of one pass, by contestant and round.
type timing [][]time.Duration

// race lets the contestants take turns. Each repeats its pass for at least
// slice of CPU time per round.
func race(rounds int, slice time.Duration, contestants ...func()) timing {
	repeat := make([]int, len(contestants))
	for i, run := range contestants {
		run() // warm up
		for repeat[i] = 1; ; repeat[i] *= 2 {
			if took := cpu(run, repeat[i]); took >= slice {
				break
			}
		}
	}
	t := make(timing, len(contestants))
	for range rounds {
		for i, run := range contestants {
			t[i] = append(t[i], cpu(run, repeat[i])/time.Duration(repeat[i]))
		}
	}
	return t
}

// ratios are the rounds' quotients of contestant a's time by b's.
func (t timing) ratios(a, b int) []float64 {
	out := make([]float64, len(t[a]))
	for r := range out {
		out[r] = float64(t[a][r]) / float64(t[b][r])
	}
	slices.Sort(out)
	return out
}

func (t timing) median(i int) time.Duration {
	s := slices.Clone(t[i])
	slices.Sort(s)
	return s[len(s)/2]
}

func middle(sorted []float64) float64 { return sorted[len(sorted)/2] }

// spread shows the quartiles.
func spread(sorted []float64) string {
	n := len(sorted)
	return fmt.Sprintf("%.2f-%.2f", sorted[n/4], sorted[n-1-n/4])
}

// cpu returns the CPU time that n calls of run take, in all threads.
func cpu(run func(), n int) time.Duration {
	start := usage()
	for range n {
		run()
	}
	return usage() - start
}

func usage() time.Duration {
	var r syscall.Rusage
	// It cannot fail for RUSAGE_SELF and a valid pointer.
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
