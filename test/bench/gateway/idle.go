package main

import (
	"context"
	"fmt"
	"time"
)

const (
	idleMemory    = 1.4      // whole path, against the bare gateway of the same shape
	idleProcessor = 40 * kib // in the processor
)

// idleStreams holds many streams open on which nothing happens.
func (b *bench) idleStreams(ctx context.Context) error {
	held := b.held(relay, immediate)
	held = append(held, peeking(held)...)
	all := []contestant{b.bare(relay), b.bare(immediate)} // with which the others are compared
	for _, c := range append([]contestant{b.bare(plain), b.bare(echo)}, held...) {
		if b.gateways.MatchString(c.name) {
			all = append(all, c)
		}
	}
	type result struct{ sum, processor figures }
	results := map[string]*result{}
	for _, c := range all {
		results[c.name] = new(result)
	}
	for range b.idleRounds {
		for _, c := range all {
			grown, err := b.hold(ctx, c)
			if err != nil {
				return err
			}
			r := results[c.name]
			r.sum = append(r.sum, float64(grown.sum())/float64(b.idle))
			r.processor = append(r.processor, float64(grown.processor)/float64(b.idle))
		}
	}
	fmt.Fprintf(b.out, "\n### Idle: resident memory per stream, %d streams that have had one event\n\n", b.idle)
	fmt.Fprintln(b.out, "| gateway | KiB | to the bare one | spread | target | met | of it the processor | target | met |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, c := range all {
		r := results[c.name]
		var sum, processor target
		if c.program != "" && !c.peek {
			sum, processor = atMost(idleMemory, memoryNoise), atMost(idleProcessor/kib, memoryNoise)
		}
		own := median(r.processor) / kib
		fmt.Fprintf(b.out, "| %s | %.1f | %s | %.1f | %s |\n", c.name, median(r.sum)/kib,
			b.ratio(r.sum, results[b.bare(c.shape).name].sum, sum), own, b.judge(own, processor))
	}
	return nil
}

// settle is for what is given back a moment later.
const settle = 2 * time.Second

// hold returns what a new gateway grows by, in bytes. New in every round: memory
// that a process was given before, and has free now, would be used again and not
// be seen.
func (b *bench) hold(ctx context.Context, c contestant) (grown use[int64], err error) {
	g, err := b.start(ctx, c)
	if err != nil {
		return grown, err
	}
	defer g.Stop()
	// What the first streams need is not counted.
	some, err := b.openAll(ctx, g, opening)
	closeAll(some)
	if err == nil {
		err = until(ctx, settle)
	}
	if err != nil {
		return grown, err
	}
	before, err := g.memory()
	if err != nil {
		return grown, err
	}
	streams, err := b.openAll(ctx, g, b.idle)
	if err != nil {
		return grown, err
	}
	defer closeAll(streams)
	if err := until(ctx, settle); err != nil {
		return grown, err
	}
	after, err := g.memory()
	return after.since(before), err
}
