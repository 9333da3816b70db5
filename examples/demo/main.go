// Command demo shows what Holdfast is for. It starts an origin whose event
// streams end early and repeat themselves (examples/origin), Envoy and Holdfast
// in front of it, and two clients of the same kind: one goes straight to the
// origin, one through Holdfast. Then it compares what they saw.
//
// It exits with 0 only if the figures are right.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
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

// options of the demo. The feed's are those of the example origin.
type options struct {
	holdfast, envoy, origin string

	events     int
	rate       float64
	overReplay int
	endEvery   int
	retry      time.Duration
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	s := flag.NewFlagSet("demo", flag.ContinueOnError)
	s.SetOutput(stderr)
	s.StringVar(&o.holdfast, "holdfast", "bin/holdfast", "the holdfast program")
	s.StringVar(&o.envoy, "envoy", "", "the Envoy program (default: holdfast looks for one)")
	s.StringVar(&o.origin, "origin", "", "the example origin, if it is built already (default: build it)")
	s.IntVar(&o.events, "events", 120, "how many events there are")
	s.Float64Var(&o.rate, "rate", 12, "events per second; 0 for as fast as possible")
	s.IntVar(&o.overReplay, "over-replay", 4, "events the origin repeats to a client that returns")
	s.IntVar(&o.endEvery, "end-every", 12, "events after which the origin ends a stream")
	s.DurationVar(&o.retry, "retry", 200*time.Millisecond, "how long clients are told to wait before they return")
	if err := s.Parse(args); err != nil {
		return o, err
	}
	if s.NArg() > 0 || o.overReplay < 1 || o.endEvery < 1 || o.events <= o.endEvery {
		err := errors.New("nothing to compare: --over-replay and --end-every must be positive, --events larger than --end-every, and there are no arguments")
		fmt.Fprintln(stderr, err)
		return o, err
	}
	return o, nil
}

const (
	startTimeout = 30 * time.Second // for a cold Envoy on a busy machine; it takes one
	patience     = 30 * time.Second // beyond what the feed itself takes
	refresh      = 100 * time.Millisecond
)

// run is the demo: it returns nil if the figures are right. Whatever it started
// is gone when it returns.
func run(ctx context.Context, o options, scr *screen) error {
	dir, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left in a directory for such things does no harm

	scr.printf("An origin sends %d numbered events. It ends each response after %d of them, and repeats %d to a client\n"+
		"that comes back. Two clients read it to the end: one straight from it, one through Holdfast.\n\n",
		o.events, o.endEvery, o.overReplay)
	s, err := start(ctx, o, dir)
	if err != nil {
		return err
	}
	defer s.stop()
	scr.printf("  origin    %s\n  Holdfast  %s\n  admin     %s\n\n", s.originURL, s.gatewayURL, s.adminURL)

	r, err := s.compare(ctx, o, scr)
	if err != nil {
		return err
	}
	scr.report(r)
	return r.verdict()
}

// stage is what the clients play on.
type stage struct {
	origin, gateway                 *process
	originURL, gatewayURL, adminURL string
}

func start(ctx context.Context, o options, dir string) (_ *stage, err error) {
	s := new(stage)
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	if o.origin == "" {
		o.origin = filepath.Join(dir, "origin")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.origin, "holdfast/examples/origin")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot build the example origin (run this in the project's directory): %w\n%s", err, out)
		}
	}
	// Port 0 wherever a program tells which it took, so that nothing that runs
	// already is in the way.
	s.origin, err = startProcess("the origin", o.origin,
		"--listen", "127.0.0.1:0",
		"--events", strconv.Itoa(o.events),
		"--rate", strconv.FormatFloat(o.rate, 'g', -1, 64),
		"--over-replay", strconv.Itoa(o.overReplay),
		"--end-every", strconv.Itoa(o.endEvery),
		"--retry", o.retry.String(),
		"--comments", "5",
	)
	if err != nil {
		return nil, err
	}
	if s.originURL, err = s.origin.await(ctx, ""); err != nil {
		return nil, err
	}

	if _, err := exec.LookPath(o.holdfast); err != nil {
		return nil, fmt.Errorf("%w: `make build` makes bin/holdfast, --holdfast says where else it is", err)
	}
	admin, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s.adminURL = "http://" + admin
	args := []string{"run", "--upstream", s.originURL, "--listen", "127.0.0.1:0", "--admin", admin}
	if o.envoy != "" {
		args = append(args, "--envoy", o.envoy)
	}
	if s.gateway, err = startProcess("holdfast run", o.holdfast, args...); err != nil {
		return nil, err
	}
	s.gatewayURL, err = s.gateway.await(ctx, "ready ") // if it misses Envoy it says so, and what to do
	return s, err
}

// stop ends what was started, and waits for it.
func (s *stage) stop() {
	for _, p := range []*process{s.gateway, s.origin} {
		if p != nil {
			p.stop()
		}
	}
}

// compare runs both clients to their end and collects what there is to know.
func (s *stage) compare(ctx context.Context, o options, scr *screen) (result, error) {
	feed := patience
	if o.rate > 0 {
		feed += time.Duration(float64(o.events)/o.rate*float64(time.Second)) +
			time.Duration(o.events/o.endEvery)*2*o.retry
	}
	ctx, cancel := context.WithTimeoutCause(ctx, feed, fmt.Errorf("the clients are not done after %v", feed))
	defer cancel()

	// The same request but for the names: the origin counts by client, and Holdfast
	// takes the session key from the query.
	direct := subscribe(ctx, s.originURL+"/events?client=direct", o)
	through := subscribe(ctx, s.gatewayURL+"/events?client=holdfast&session=demo", o)
	defer direct.wait()
	defer through.wait()
	defer cancel() // before the waits: deferred calls run last in, first out

	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for running := 2; running > 0; {
		select {
		case <-tick.C:
			scr.progress(direct.tally(), through.tally())
		case err := <-direct.done:
			if err != nil {
				return result{}, fmt.Errorf("the direct client: %w", err)
			}
			running--
		case err := <-through.done:
			if err != nil {
				return result{}, fmt.Errorf("the client behind Holdfast: %w", err)
			}
			running--
		case <-s.origin.exited:
			return result{}, s.origin.died()
		case <-s.gateway.exited:
			return result{}, s.gateway.died()
		case <-ctx.Done():
			return result{}, context.Cause(ctx)
		}
	}
	scr.progress(direct.tally(), through.tally())

	r := result{events: o.events, direct: direct.tally(), through: through.tally()}
	var err error
	if r.sentDirect, err = sent(ctx, s.originURL, "direct"); err != nil {
		return r, err
	}
	if r.sentThrough, err = sent(ctx, s.originURL, "holdfast"); err != nil {
		return r, err
	}
	r.session, err = lookUp(ctx, s.adminURL)
	return r, err
}
