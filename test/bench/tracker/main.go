// Command tracker measures the memory of recent events in processor/splice
// against what such a memory usually is, a map of ids and a linked list of them.
//
// The tracker is no public API, so the measuring is done by its benchmark, in
// rounds in which both take turns; this program runs it, prints its medians as a
// markdown table, and compares them with the targets.
//
//	go run ./test/bench/tracker          # prints the table
//	go run ./test/bench/tracker -check   # and exits 1 if a target is missed
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
)

// target is a bound on one metric of one benchmark.
type target struct {
	bench, unit string
	what        string
	bound       float64
	atLeast     bool // otherwise at most
}

func targets() []target {
	return []target{
		{"new", "x-lru", "new ids, times as fast as map + list", 4, true},
		{"half-repeats", "x-lru", "every second id a repeat, times as fast", 4, true},
		{"size", "B@10", "bytes at 10 ids", 300, false},
		{"size", "B@100", "bytes at 100 ids", 1700, false},
		{"size", "B@full", "bytes at 1000 ids, the full window", 12800, false},
	}
}

func main() {
	check := flag.Bool("check", false, "exit with status 1 if a target is missed")
	flag.Parse()
	if flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "usage: tracker [-check]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	missed, err := report(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tracker:", err)
		os.Exit(1)
	}
	if *check && missed > 0 {
		fmt.Fprintf(os.Stderr, "tracker: %d targets missed\n", missed)
		os.Exit(1)
	}
}

func report(ctx context.Context) (missed int, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkTracker$", "-benchtime", "0.5s",
		"holdfast/processor/splice")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("running the benchmark of processor/splice: %w\n%s", err, out)
	}
	metrics := parse(out)
	fmt.Printf("| tracker, window 1000 | measured | target |\n| --- | ---: | ---: |\n")
	for _, t := range targets() {
		got, ok := metrics[t.bench+" "+t.unit]
		if !ok {
			return 0, fmt.Errorf("BenchmarkTracker/%s reports no %s", t.bench, t.unit)
		}
		sign, held := "≤", got <= t.bound
		if t.atLeast {
			sign, held = "≥", got >= t.bound
		}
		mark := ""
		if !held {
			missed++
			mark = " **missed**"
		}
		fmt.Printf("| %s | %s | %s %s%s |\n", t.what, number(got), sign, number(t.bound), mark)
	}
	return missed, nil
}

// parse reads the metrics of "BenchmarkTracker/NAME-2  N  VALUE UNIT ..." lines,
// keyed by "NAME UNIT".
func parse(out []byte) map[string]float64 {
	metrics := map[string]float64{}
	for line := range bytes.Lines(out) {
		f := strings.Fields(string(line))
		if len(f) < 2 {
			continue
		}
		name, ok := strings.CutPrefix(f[0], "BenchmarkTracker/")
		if !ok {
			continue
		}
		// The number of CPUs is appended, unless it is 1.
		if i := strings.LastIndexByte(name, '-'); i >= 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i]
			}
		}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				metrics[name+" "+f[i+1]] = v
			}
		}
	}
	return metrics
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
