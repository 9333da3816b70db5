// Command chaos kills the origin of event streams again and again, at random
// bytes and in every way, while clients read through Holdfast and a real Envoy.
// A client makes one connection for each stream and never another. What it got is
// compared, byte for byte, with what the origin has.
//
//	go run ./test/chaos -kills 2000
//
// When bytes and processes meet is not to be repeated; what is found here is worth a
// schedule for make sim. It prints what it did and exits 0 if no event was lost, none repeated, none
// altered and no client had to connect again; 1 otherwise. It needs bin/holdfast
// and .tools/envoy: see make chaos.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// options are the flags.
type options struct {
	drill    string
	store    string
	flush    time.Duration
	kills    int
	timeout  time.Duration
	vias     []string
	streams  int // at once, for each way and pair of protocols
	events   int // of each stream
	pace     time.Duration
	distance int // bytes between breaks, on average
	deaths   time.Duration
	holdfast string
	envoy    string
}

func main() {
	var o options
	flag.StringVar(&o.drill, "drill", originKills, aboutDrills())
	flag.StringVar(&o.store, "store", "", "where processors keep state: memory, bolt or redis")
	flag.DurationVar(&o.flush, "flush", 100*time.Millisecond, "store.flush of the processors")
	flag.IntVar(&o.kills, "kills", 0, "how many kills there are before no new stream is begun (default: 2000, or what the drill says)")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "longest time for all of it")
	via := flag.String("via", "both", "how Holdfast holds streams: relay, immediate or both")
	flag.IntVar(&o.streams, "streams", 2, "streams at once, for each way of holding and pair of upstream's and client's protocol")
	flag.IntVar(&o.events, "events", 200, "events of each stream")
	flag.DurationVar(&o.pace, "pace", 4*time.Millisecond, "between two events of a stream")
	flag.IntVar(&o.distance, "distance", 3000, "bytes between two breaks of a stream, on average")
	flag.DurationVar(&o.deaths, "deaths", 300*time.Millisecond, "between two deaths of an origin's process, on average, once they begin; or between two of what another drill does")
	flag.StringVar(&o.holdfast, "holdfast", "bin/holdfast", "the program under test")
	flag.StringVar(&o.envoy, "envoy", ".tools/envoy", "the Envoy to use")
	child := flag.String("origin", "", "be the origin, at this address (used by this program itself)")
	flag.Parse()
	if *child != "" {
		fail(serveOrigin(*child, &o))
		return
	}
	fail(o.check(*via))
	what, play := "over its one connection", run
	if o.drill != originKills {
		what, play = "", runDrill
	}
	ok, err := play(&o)
	fail(err)
	if !ok {
		fmt.Fprintln(os.Stderr, "chaos: not every client got every event once", what)
		os.Exit(1)
	}
}

func (o *options) check(via string) (err error) {
	switch via {
	case "both":
		o.vias = []string{"relay", "immediate"}
	case "relay", "immediate":
		o.vias = []string{via}
	default:
		return fmt.Errorf("-via %q: want relay, immediate or both", via)
	}
	if o.drill != originKills {
		if err := o.checkDrill(); err != nil {
			return err
		}
	} else if o.store != "" {
		return errors.New("-store is for another -drill: here processors never die")
	}
	o.kills = cmp.Or(o.kills, 2000)
	if o.kills < 1 || o.streams < 1 || o.events < 2 || o.pace <= 0 || o.distance < 1 || o.deaths <= 0 {
		return errors.New("every number has to be positive, and -events at least 2")
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: every option is a flag, see -help", flag.Arg(0))
	}
	if o.holdfast, err = filepath.Abs(o.holdfast); err != nil {
		return err
	}
	o.envoy, err = filepath.Abs(o.envoy)
	return err
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}
