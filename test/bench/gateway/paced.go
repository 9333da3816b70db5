package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// What a held stream may cost against the duplex echo, the only other way for a
// processor to see every event.
const (
	pacedCPU    = 1.0
	pacedMedian = 1.2
)

// paced sends single events, at a rate far below what the machine can do, which is
// what streams do all day: every event pays its own wake-ups and system calls.
func (b *bench) paced(ctx context.Context) error {
	held := b.held(relay, immediate)
	all := b.field(b.bare(echo), slices.Concat([]contestant{b.bare(plain), b.bare(relay), b.bare(immediate)}, held, peeking(held))...)
	gs, stop, err := b.startAll(ctx, all)
	if err != nil {
		return err
	}
	defer stop()
	streams := make([][]*pair, len(gs))
	defer func() {
		for _, s := range streams {
			closeAll(s)
		}
	}()
	for i, g := range gs {
		if streams[i], err = b.openAll(ctx, g, b.streams); err != nil {
			return err
		}
	}
	type result struct{ cpu, envoy, p50, p99 figures }
	results := make([]result, len(gs))
	err = takeTurns(gs, b.rounds, func(i int, g *gateway, count bool) error {
		used, took, err := b.pace(ctx, g, streams[i])
		if err != nil || !count {
			return err
		}
		r, n := &results[i], float64(len(took))
		r.cpu = append(r.cpu, micros(used.sum())/n)
		r.envoy = append(r.envoy, micros(used.envoy)/n)
		r.p50 = append(r.p50, micros(percentile(took, 50)))
		r.p99 = append(r.p99, micros(percentile(took, 99)))
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n### Paced: %d events of %d B per second over %d streams, origin to client\n\n", b.rate, len(b.origin.pad)+35, b.streams)
	fmt.Fprintln(b.out, "| gateway | CPU µs per event | of it Envoy | to echo | spread | target | met | p50 µs | to echo | spread | target | met | p99 µs |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for i, g := range gs {
		var cpu, p50 target
		if g.program != "" && !g.peek { // which is the price of another thing
			cpu, p50 = atMost(pacedCPU, timeNoise), atMost(pacedMedian, timeNoise)
		}
		r := &results[i]
		fmt.Fprintf(b.out, "| %s | %.1f | %.1f | %s | %.0f | %s | %.0f |\n", g.name, median(r.cpu), median(r.envoy),
			b.ratio(r.cpu, results[0].cpu, cpu), median(r.p50), b.ratio(r.p50, results[0].p50, p50), median(r.p99))
	}
	return nil
}

// pace is one gateway's turn. It returns the CPU time, and how long each event took,
// sorted.
func (b *bench) pace(ctx context.Context, g *gateway, streams []*pair) (used use[time.Duration], took []time.Duration, err error) {
	gap := time.Second * time.Duration(len(streams)) / time.Duration(b.rate)
	perStream := max(int(b.pacedFor/gap), 1)
	before, err := g.cpu()
	if err != nil {
		return used, nil, err
	}
	sent := make(chan error, 1)
	go func() { sent <- send(ctx, streams, perStream, gap) }()
	each1 := make([][]time.Duration, len(streams))
	err = each(len(streams), len(streams), func(i int) error {
		each1[i] = make([]time.Duration, 0, perStream)
		for range perStream {
			at, err := streams[i].next()
			if err != nil {
				return err
			}
			each1[i] = append(each1[i], time.Since(b.origin.epoch)-at)
		}
		return nil
	})
	if err != nil {
		return used, nil, err
	}
	if err := <-sent; err != nil {
		return used, nil, err
	}
	after, err := g.cpu()
	return after.since(before), slices.Sorted(slices.Values(slices.Concat(each1...))), err
}

// send sends the events of a turn, each on time or, if that has passed, at once.
// Streams are out of step, as independent ones are.
func send(ctx context.Context, streams []*pair, perStream int, gap time.Duration) error {
	step := gap / time.Duration(len(streams))
	begin := time.Now()
	for i := range perStream * len(streams) {
		if d := time.Until(begin.Add(step * time.Duration(i))); d > 0 {
			if err := until(ctx, d); err != nil {
				return err
			}
		}
		if err := streams[i%len(streams)].send(); err != nil {
			return err
		}
	}
	return nil
}
