package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"time"

	"holdfast/test/bench/process"
)

// bench runs what is to be measured and writes the tables.
type bench struct {
	effort
	holdfast string // program
	names    *regexp.Regexp
	out      io.Writer

	dir    string // for the configuration
	serial int    // makes the names of sessions new in every run
	missed int    // targets, by more than noise
}

// run measures all of it.
func (b *bench) run(ctx context.Context) (err error) {
	if _, err := process.CPUTime(os.Getpid()); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "holdfast-bench-"); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(b.dir)) }()
	for _, part := range []func(context.Context) error{b.saturated, b.paced, b.idle} {
		if err := part(ctx); err != nil {
			return cmp.Or(ctx.Err(), err)
		}
	}
	fmt.Fprintf(b.out, "\nRatios are Holdfast to echo: medians of the rounds', quartiles behind them. Times scatter by %.0f %% on a machine that\n"+
		"has other work, so \"noise\" is a target missed by less than that (memory: %.0f %%).\n", 100*timeNoise, 100*memoryNoise)
	return nil
}

// pair is the two servers, side by side.
type pair struct {
	servers [2]*server // echo, Holdfast
	clients [2]*client
}

const (
	theEcho = iota
	theHoldfast
)

// start starts both servers, with env beside our own environment.
func (b *bench) start(ctx context.Context, env ...string) (p *pair, err error) {
	p = new(pair)
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	if p.servers[theEcho], err = startEcho(ctx, env); err != nil {
		return nil, err
	}
	if p.servers[theHoldfast], err = startHoldfast(ctx, b.holdfast, b.dir, env); err != nil {
		return nil, err
	}
	for i, s := range p.servers {
		if p.clients[i], err = dial(s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pair) stop() {
	for _, c := range p.clients {
		if c != nil {
			c.close()
		}
	}
	for _, s := range p.servers {
		if s != nil {
			s.Stop()
		}
	}
}

// rounds lets the two take turns: n rounds of measure after one that does not
// count, in which buffers, pools and stacks grow to their size. Who goes first
// changes from round to round: a machine that gets faster or slower in the course
// of a round then favours each of them half of the time.
func (p *pair) rounds(n int, measure func(c *client, count bool) error) error {
	for round := range n + 1 {
		for turn := range p.clients {
			c := p.clients[(round+turn)%len(p.clients)]
			runtime.GC() // the client's garbage of the turn before
			if err := measure(c, round > 0); err != nil {
				return c.server.Blame(err)
			}
		}
	}
	return nil
}

// session names the sessions of one run. Holdfast knows returning sessions again,
// and would take the same events for repeats.
func (b *bench) session() string {
	b.serial++
	return fmt.Sprintf("run%d", b.serial)
}

// converse opens a stream per script, calls f with them, and ends them in order.
// The end is the last check: only then must everything have come back, and what
// came too much has been seen.
func (b *bench) converse(ctx context.Context, c *client, scripts []*script, f func([]*exchange) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all, err := c.open(ctx, b.session(), scripts)
	if err != nil {
		return err
	}
	if err := f(all); err != nil {
		return err
	}
	end, err := endOfStream()
	if err != nil {
		return err
	}
	return each(all, func(_ int, x *exchange) error { return x.finish(end) })
}

// perRound has one figure per server and round. A ratio is taken within a round,
// where the machine was the same for both, and then the median of the ratios:
// the ratio of two medians would compare rounds with one another.
type perRound [2][]float64

func (v *perRound) add(s *server, x float64) {
	i := theEcho
	if s.filters {
		i = theHoldfast
	}
	v[i] = append(v[i], x)
}

func (v *perRound) ratios() []float64 {
	out := make([]float64, len(v[theHoldfast]))
	for r := range out {
		out[r] = v[theHoldfast][r] / v[theEcho][r]
	}
	slices.Sort(out)
	return out
}

// middle is the median of sorted values.
func middle(sorted []float64) float64 { return sorted[len(sorted)/2] }

func median(values []float64) float64 { return middle(slices.Sorted(slices.Values(values))) }

// judge is a ratio with its quartiles, the target, and whether that is met, as
// columns of a table. No target is 0.
func (b *bench) judge(v *perRound, target, noise float64) string {
	sorted := v.ratios()
	n, ratio := len(sorted), middle(sorted)
	figures := fmt.Sprintf("%.2f | %.2f-%.2f", ratio, sorted[n/4], sorted[n-1-n/4])
	switch {
	case target == 0:
		return figures + " | | "
	case ratio <= target:
		return fmt.Sprintf("%s | ≤ %g | yes", figures, target)
	case ratio <= target*(1+noise):
		return fmt.Sprintf("%s | ≤ %g | noise", figures, target)
	}
	b.missed++
	return fmt.Sprintf("%s | ≤ %g | **no**", figures, target)
}

// clearly says whether a ratio misses its target by more than noise.
func (v *perRound) clearly(target, noise float64) bool {
	return middle(v.ratios()) > target*(1+noise)
}

// until waits, unless the context ends before.
func until(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
