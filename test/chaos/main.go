// Command chaos kills the origin of event streams again and again, at random
// bytes and in every way, while clients read through Holdfast and a real Envoy.
// A client makes one connection for each stream and never another. What it got is
// compared, byte for byte, with what the origin has.
//
//	go run ./test/chaos -kills 2000
//
// It prints what it did and exits 0 if no event was lost, none repeated and no
// client had to connect again; 1 otherwise. It needs bin/holdfast and
// .tools/envoy: see make chaos.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// options are the flags.
type options struct {
	kills    int
	timeout  time.Duration
	streams  int // at once, for each pair of protocols
	events   int // of each stream
	pace     time.Duration
	distance int // bytes between kills, on average
	sigkill  time.Duration
	seed     uint64
	holdfast string
	envoy    string
}

func main() {
	var o options
	flag.IntVar(&o.kills, "kills", 2000, "how many kills there are before no new stream is begun")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "longest time for all of it")
	flag.IntVar(&o.streams, "streams", 4, "streams at once, for each pair of upstream's and client's protocol")
	flag.IntVar(&o.events, "events", 200, "events of each stream")
	flag.DurationVar(&o.pace, "pace", 4*time.Millisecond, "between two events of a stream")
	flag.IntVar(&o.distance, "distance", 3000, "bytes between two kills of a stream, on average")
	flag.DurationVar(&o.sigkill, "sigkill", 3*time.Second, "between two deaths of an origin's process")
	flag.Uint64Var(&o.seed, "seed", 0, "of every random choice; 0: a random one, which is printed")
	flag.StringVar(&o.holdfast, "holdfast", "bin/holdfast", "the program under test")
	flag.StringVar(&o.envoy, "envoy", ".tools/envoy", "the Envoy to use")
	child := flag.String("origin", "", "be the origin, at this address (used by this program itself)")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	if *child != "" {
		fail(serveOrigin(*child, &o))
		return
	}
	ok, err := run(&o)
	fail(err)
	if !ok {
		os.Exit(1)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// errTimeout is the cause of the context's end when time is up.
var errTimeout = errors.New("time is up; raise -timeout, or lower -kills")

// run plays with one gateway for each protocol of upstreams.
func run(o *options) (bool, error) {
	var err error
	if o.holdfast, err = filepath.Abs(o.holdfast); err != nil {
		return false, err
	}
	if o.envoy, err = filepath.Abs(o.envoy); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), o.timeout, errTimeout)
	defer cancel()
	fmt.Printf("seed %d\n", o.seed)
	begin := time.Now()
	t := &tally{want: o.kills, kills: map[breakage]int{}, when: map[place]pending{}, latency: map[breakage][]time.Duration{}}
	var wg sync.WaitGroup
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for i, scheme := range []string{"http", "h2c"} {
		origin, err := startOrigin(ctx, o, uint64(i), t)
		if err != nil {
			return false, err
		}
		stops = append(stops, origin.stop)
		gw, err := startGateway(ctx, o, scheme+"://"+origin.address)
		if err != nil {
			return false, err
		}
		stops = append(stops, gw.stop)
		for _, h2 := range []bool{false, true} {
			client := newClient(h2)
			for n := range o.streams {
				wg.Go(func() {
					for round := 0; t.more() && ctx.Err() == nil; round++ {
						name := fmt.Sprintf("%s-%t-%d-%d", scheme, h2, n, round)
						readStream(ctx, client, gw.url, name, o, t)
					}
				})
			}
		}
	}
	wg.Wait()
	t.print(time.Since(begin))
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return t.clean(), nil
}
