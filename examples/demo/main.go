// Command demo shows what Holdfast is for. It starts an origin of event streams
// (examples/origin) with two proxies before it, plain Envoy and `holdfast run`,
// and a client of the same kind behind each. Then it kills the origin, again and
// again, and compares what the clients saw.
//
// It exits with 0 only if the client behind Holdfast got every event once over
// its one connection.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

func main() { os.Exit(demo()) }

func demo() (exitCode int) {
	// Processes are started from this thread and told to end with it (see
	// process_linux.go), so it has to stay.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	o, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // what is wrong has been said
	}
	err = run(ctx, o, newScreen(os.Stdout, isTerminal(os.Stdout)))
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything it had started is stopped")
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		return 1
	}
	return 0
}

// options of the demo.
type options struct {
	holdfast, envoy, origin string

	kills      int
	between    int
	rate       float64
	overReplay int
	retry      time.Duration
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	s := flag.NewFlagSet("demo", flag.ContinueOnError)
	s.SetOutput(stderr)
	s.StringVar(&o.holdfast, "holdfast", "bin/holdfast", "the holdfast program")
	s.StringVar(&o.envoy, "envoy", "", "the Envoy program (default: $HOLDFAST_ENVOY, one on the PATH, or .tools/envoy)")
	s.StringVar(&o.origin, "origin", "", "the example origin, if it is built already (default: build it)")
	s.IntVar(&o.kills, "kills", 20, "how often the origin is killed")
	s.IntVar(&o.between, "between", 5, "events that both clients get before the next kill")
	s.Float64Var(&o.rate, "rate", 15, "events per second; 0 for as fast as possible")
	s.IntVar(&o.overReplay, "over-replay", 3, "events the origin repeats to whoever comes back")
	s.DurationVar(&o.retry, "retry", 200*time.Millisecond, "how long clients are told to wait before they return")
	if err := s.Parse(args); err != nil {
		return o, err
	}
	if s.NArg() > 0 || o.kills < 1 || o.between < 1 {
		err := errors.New("nothing to compare: --kills and --between must be positive, and there are no arguments")
		fmt.Fprintln(stderr, err)
		return o, err
	}
	return o, nil
}

const (
	startTimeout = 30 * time.Second // for a cold Envoy on a busy machine; it takes one
	patience     = 30 * time.Second // for both clients to get the next events
	poll         = 10 * time.Millisecond
)

// run is the demo: it returns nil if the figures are right. Whatever it started
// is gone when it returns.
func run(ctx context.Context, o options, scr *screen) error {
	dir, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left in a directory for such things does no harm

	scr.printf("An origin streams numbered events. Two clients of the same kind read them, one\n"+
		"through plain Envoy, one through Holdfast. The origin's process is killed\n"+
		"(SIGKILL) and started again, %d times.\n\n", o.kills)
	s, err := start(ctx, o, dir)
	if err != nil {
		return err
	}
	defer s.stop()
	scr.printf("  origin       %s\n  plain Envoy  %s\n  Holdfast     %s (admin %s)\n\n", s.originURL, s.plain.url, s.gatewayURL, s.adminURL)

	r, err := s.compare(ctx, o, scr)
	if err != nil {
		return err
	}
	scr.report(r)
	return r.verdict()
}
