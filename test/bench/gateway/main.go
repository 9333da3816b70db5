// Command gateway measures what holding streams costs, on the whole way from an
// origin to its clients: Holdfast with a real Envoy, against the least that a
// gateway of the same shape can be, around the same Envoy. The bare gateways look
// at nothing and survive nothing.
//
//	go run ./test/bench/gateway           # prints markdown tables; about ten minutes
//	go run ./test/bench/gateway -short    # within three
//	go run ./test/bench/gateway -check    # and exits 1 if a target is clearly missed
//	go run ./test/bench/gateway -run paced
//
// Gateways take turns in every round, and what is compared are the ratios within
// a round: absolute figures are worth little on a machine that others use too.
// Every event is checked: one that is lost, repeated or out of order ends the run.
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

// effort is how much is measured.
type effort struct {
	rounds int // of paced, bulk and resume runs

	streams  int           // of a paced run
	rate     int           // events per second over all streams
	pacedFor time.Duration // a turn of one gateway

	idle       int // streams
	idleRounds int

	bulkFor time.Duration // a turn of one gateway

	stopped      int // clients that stop reading
	stoppedBytes int // that each of them is sent in all

	breaks int // in one round of each gateway and way to break
}

var (
	full = effort{
		rounds: 15, streams: 100, rate: 5000, pacedFor: 2 * time.Second,
		idle: 3000, idleRounds: 3,
		bulkFor: time.Second,
		stopped: 200, stoppedBytes: 16 * mib,
		breaks: 40,
	}
	short = effort{
		rounds: 5, streams: 100, rate: 5000, pacedFor: time.Second,
		idle: 1000, idleRounds: 1,
		bulkFor: time.Second / 2,
		stopped: 50, stoppedBytes: 16 * mib,
		breaks: 20,
	}
)

func main() {
	if shape, upstream, envoy, ok := isBare(os.Args); ok {
		if err := serveBare(shape, upstream, envoy, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bare gateway:", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{out: os.Stdout}
	var (
		check  = flag.Bool("check", false, "exit with status 1 if a target is missed by more than the noise allowance")
		brief  = flag.Bool("short", false, "fewer and shorter rounds")
		rounds = flag.Int("rounds", 0, "rounds of the paced, bulk and resume runs (0: 15, with -short 5)")
		only   = flag.String("run", "", "measure only what this regular `expression` matches: paced, idle, bulk, stopped, resume")
	)
	which := flag.String("gateways", "", "measure only the gateways that this regular `expression` matches, and what they are compared with")
	flag.StringVar(&b.holdfast, "holdfast", filepath.Join("bin", "holdfast"), "the holdfast `program` to measure")
	flag.StringVar(&b.rival, "against", "", "another holdfast `program`, of an older version say, to measure beside it")
	flag.StringVar(&b.envoy, "envoy", filepath.Join(".tools", "envoy"), "the Envoy `program` of all gateways")
	flag.Parse()
	var err error
	b.names, err = regexp.Compile(*only)
	if err == nil {
		b.gateways, err = regexp.Compile(*which)
	}
	if err != nil || flag.NArg() != 0 || *rounds < 0 {
		fmt.Fprintln(os.Stderr, "usage: gateway [-check] [-short] [-rounds N] [-run REGEXP] [-gateways REGEXP] [-holdfast PROGRAM] [-against PROGRAM] [-envoy PROGRAM]")
		os.Exit(2)
	}
	b.effort = full
	if *brief {
		b.effort = short
	}
	if *rounds > 0 {
		b.rounds = *rounds
	}
	debug.SetGCPercent(400) // these are the origin and the clients, whose cost is not in question

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = b.run(ctx)
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	case *check && b.missed > 0:
		fmt.Fprintf(os.Stderr, "gateway: %d targets are missed by more than noise explains; run again on a quiet machine, then profile\n", b.missed)
		os.Exit(1)
	}
}
