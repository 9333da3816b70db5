package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	bulkThroughput = 0.7
	bulkEvent      = 64 * kib
)

// bulk sends large events as fast as they go, on one stream.
func (b *bench) bulk(ctx context.Context) error {
	all := b.field(b.bare(relay), append([]contestant{b.bare(plain), b.bare(echo)}, b.held(relay)...)...)
	gs, stop, err := b.startAll(ctx, all)
	if err != nil {
		return err
	}
	defer stop()
	pad := strings.Repeat("x", bulkEvent)
	type result struct{ rate, cpu figures }
	results := make([]result, len(gs))
	err = takeTurns(gs, b.rounds, func(i int, g *gateway, count bool) error {
		rate, cpu, err := b.pour(ctx, g, pad)
		if err == nil && count {
			results[i].rate = append(results[i].rate, rate)
			results[i].cpu = append(results[i].cpu, cpu)
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n### Bulk: one stream of events of %d KiB, as fast as they go\n\n", bulkEvent/kib)
	fmt.Fprintln(b.out, "| gateway | MiB/s | to bare relay | spread | target | met | CPU ms per MiB |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- |")
	for i, g := range gs {
		var t target
		if g.program != "" {
			t = atLeast(bulkThroughput, timeNoise)
		}
		r := &results[i]
		fmt.Fprintf(b.out, "| %s | %.0f | %s | %.2f |\n", g.name, median(r.rate), b.ratio(r.rate, results[0].rate, t), median(r.cpu))
	}
	return nil
}

// pour is one gateway's turn: MiB per second, and ms of CPU time per MiB. The
// stream's beginning, in which buffers fill, does not count.
func (b *bench) pour(ctx context.Context, g *gateway, pad string) (rate, cpu float64, err error) {
	p, err := b.open(ctx, g)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- p.flood(ctx, pad, 1<<40) }()
	defer func() {
		cancel()
		p.client.close()
		<-sent // it fails, for the other end is gone
		p.end()
	}()
	read := func(d time.Duration) (events int, took time.Duration, err error) {
		begin := time.Now()
		for took < d {
			if _, err := p.next(); err != nil {
				return 0, 0, err
			}
			events++
			took = time.Since(begin)
		}
		return events, took, nil
	}
	if _, _, err := read(b.bulkFor / 5); err != nil {
		return 0, 0, err
	}
	before, err := g.cpu()
	if err != nil {
		return 0, 0, err
	}
	events, took, err := read(b.bulkFor)
	if err != nil {
		return 0, 0, err
	}
	after, err := g.cpu()
	size := float64(events) * float64(len(pad)) / mib
	return size / took.Seconds(), float64(after.since(before).sum()) / float64(time.Millisecond) / size, err
}
