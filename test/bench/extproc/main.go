// Command extproc measures what Holdfast costs as an ext_proc processor, against
// the least that one can cost: a server that sends every chunk back, written as
// anybody would write it with the protobuf library. Both are processes of their
// own, reached over loopback TCP; the client's cost does not count.
//
//	go run ./test/bench/extproc          # prints markdown tables; about five minutes
//	go run ./test/bench/extproc -short   # within one
//	go run ./test/bench/extproc -check   # and exits 1 if a target is clearly missed
//
// Only ratios are worth comparing: the two take turns in every round, and every
// figure is the median of the rounds' ratios. What came back is checked byte by
// byte, in every round.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"syscall"
	"time"
)

// Ratios of Holdfast to the echo that are to be held.
const (
	saturatedCPU = 1.2
	pacedCPU     = 1.15
	pacedMedian  = 1.2
	idleMemory   = 1.15
)

// A ratio fails the check only beyond these allowances. Times of programs that
// share a machine with others scatter; resident memory does not.
const (
	timeNoise   = 0.15
	memoryNoise = 0.05
)

// effort is how much is measured.
type effort struct {
	rounds      int
	streams     int // at most, of saturated and paced runs
	chunks      int // about, of a saturated run
	bytes       int // at most, of a saturated run
	largeEvent  int // bytes of data in an event of the large shape
	rate        int // events per second, over all streams of a paced run
	pacedFor    time.Duration
	pacedRounds int
	idle        int // streams
	idleRounds  int
	settle      time.Duration // before memory is read
	alike       bool          // measure memory with the same garbage collector too
	again       bool          // measure a missed ratio a second time before it counts
}

var (
	full = effort{
		rounds: 9, streams: 100, chunks: 50_000, bytes: 64 << 20, largeEvent: 64 << 10,
		rate: 5000, pacedFor: 3 * time.Second, pacedRounds: 11,
		idle: 10_000, idleRounds: 3, settle: 2 * time.Second, alike: true,
	}
	short = effort{
		rounds: 3, streams: 100, chunks: 12_000, bytes: 24 << 20, largeEvent: 64 << 10,
		rate: 5000, pacedFor: time.Second, pacedRounds: 5,
		idle: 5000, idleRounds: 3, settle: 500 * time.Millisecond,
	}
)

func main() {
	if isEcho(os.Args) {
		if err := serveEcho(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
			os.Exit(1)
		}
		return
	}
	var (
		check  = flag.Bool("check", false, "exit with status 1 if a ratio misses its target by more than the noise allowance")
		brief  = flag.Bool("short", false, "fewer and shorter rounds: under a minute")
		rounds = flag.Int("rounds", 0, "rounds of each saturated and paced run (0: 9 and 11, with -short 3 and 5)")
		binary = flag.String("holdfast", filepath.Join("bin", "holdfast"), "the holdfast `program` to measure")
		only   = flag.String("run", "", "measure only what this regular `expression` matches: saturated/llm/event, paced, idle")
	)
	flag.Parse()
	names, err := regexp.Compile(*only)
	if err != nil || flag.NArg() != 0 || *rounds < 0 {
		fmt.Fprintln(os.Stderr, "usage: extproc [-check] [-short] [-rounds N] [-run REGEXP] [-holdfast PROGRAM]")
		os.Exit(2)
	}
	e := full
	if *brief {
		e = short
	}
	if *rounds > 0 {
		e.rounds, e.pacedRounds = *rounds, *rounds
	}
	e.again = *check
	debug.SetGCPercent(400) // this is the client, whose cost is not in question

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b := &bench{effort: e, holdfast: *binary, names: names, out: os.Stdout}
	err = b.run(ctx)
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "extproc:", err)
		os.Exit(1)
	case *check && b.missed > 0:
		fmt.Fprintf(os.Stderr, "extproc: %d of the ratios miss their targets by more than noise explains; run again on a quiet machine, then profile\n", b.missed)
		os.Exit(1)
	}
}
