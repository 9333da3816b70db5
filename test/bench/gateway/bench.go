package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/test/bench/process"
)

// bench runs what is to be measured and writes the tables.
type bench struct {
	effort
	holdfast, rival, envoy string // programs
	names, gateways        *regexp.Regexp
	out                    io.Writer

	dir    string // for configurations
	origin *origin
	serial atomic.Int64 // makes the path of every stream a new one
	missed int          // targets, by more than noise
}

// run measures all of it.
func (b *bench) run(ctx context.Context) (err error) {
	if _, err := process.CPUTime(os.Getpid()); err != nil {
		return err
	}
	for what, program := range map[string]*string{
		"run make build, or name a program with -holdfast":       &b.holdfast,
		"run make envoy, or name a program with -envoy":          &b.envoy,
		"it is named with -against; leave that out, or build it": &b.rival,
	} {
		if *program == "" {
			continue
		}
		if *program, err = filepath.Abs(*program); err != nil {
			return err
		}
		if _, err := os.Stat(*program); err != nil {
			return fmt.Errorf("%w: %s", err, what)
		}
	}
	if b.dir, err = os.MkdirTemp("", "holdfast-bench-"); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(b.dir)) }()
	if b.origin, err = newOrigin(); err != nil {
		return err
	}
	defer b.origin.close()
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{{"paced", b.paced}, {"idle", b.idleStreams}, {"bulk", b.bulk}, {"stopped", b.stoppedClients}, {"resume", b.resume}} {
		if !b.names.MatchString(part.name) {
			continue
		}
		if err := part.measure(ctx); err != nil {
			return cmp.Or(ctx.Err(), fmt.Errorf("%s: %w", part.name, err))
		}
	}
	fmt.Fprintf(b.out, "\nRatios are medians of the rounds', with their quartiles. Times scatter by %.0f %% on a machine that has other work,\n"+
		"so \"noise\" is a target missed by less than that (memory: %.0f %%).\n", 100*timeNoise, 100*memoryNoise)
	return nil
}

// takeTurns lets gateways be measured one after the other, n rounds after one that
// does not count, in which buffers, pools and stacks grow to their size. Who goes
// first changes from round to round, so that a machine that gets faster or slower
// in the course of a round favours nobody.
func takeTurns(gs []*gateway, n int, measure func(i int, g *gateway, count bool) error) error {
	for round := range n + 1 {
		for turn := range gs {
			i := (round + turn) % len(gs)
			runtime.GC() // our own garbage of the turn before
			if err := measure(i, gs[i], round > 0); err != nil {
				return gs[i].Blame(err)
			}
		}
	}
	return nil
}

// each calls f for 0 to n-1, at most some at a time, and returns the first error.
func each(n, some int, f func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(some)
	for i := range n {
		group.Go(func() error { return f(i) })
	}
	return group.Wait()
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

// percentile is of sorted values.
func percentile[T any](sorted []T, percent int) T { return sorted[(len(sorted)-1)*percent/100] }

func median[T cmp.Ordered](values []T) T { return percentile(slices.Sorted(slices.Values(values)), 50) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

const (
	kib = 1 << 10
	mib = 1 << 20
)
