package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// paced sends single events at a rate far below what the servers can do, which
// is what streams do all day. Nothing is batched then: every event costs its own
// wake-ups and system calls, which a saturated run hardly shows.
func (b *bench) paced(ctx context.Context) error {
	if !b.names.MatchString("paced") {
		return nil
	}
	gap := time.Second * time.Duration(b.streams) / time.Duration(b.rate)
	events := max(int(b.pacedFor/gap), repeatEvery)
	scripts := make([]*script, b.streams)
	for i := range scripts {
		var err error
		if scripts[i], err = write(generate(llm, i, events, b.largeEvent), perBlock, i); err != nil {
			return err
		}
	}
	f, err := b.pace(ctx, scripts, gap, b.pacedRounds)
	if err == nil && b.again && (f.cpu.clearly(pacedCPU, timeNoise) || f.p50.clearly(pacedMedian, timeNoise)) {
		f, err = b.pace(ctx, scripts, gap, 3*b.pacedRounds)
	}
	if err != nil {
		return fmt.Errorf("paced: %w", err)
	}
	fmt.Fprintf(b.out, "\n### Paced: %d events of %d B per second over %d streams\n\n", b.rate, llm.size(0), b.streams)
	fmt.Fprintln(b.out, "| per event | echo | Holdfast | ratio | spread | target | met |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, row := range []struct {
		what   string
		v      *perRound
		target float64
	}{
		{"CPU time, µs", &f.cpu, pacedCPU},
		{"latency p50, µs", &f.p50, pacedMedian},
		// A hundredth of the events meet whatever else the machine does, so their
		// ratio is worth a look and no target.
		{"latency p99, µs", &f.p99, 0},
	} {
		fmt.Fprintf(b.out, "| %s | %.0f | %.0f | %s |\n", row.what,
			median(row.v[theEcho]), median(row.v[theHoldfast]), b.judge(row.v, row.target, timeNoise))
	}
	return nil
}

// pacedFigures are µs. Latencies include the client's, so that their ratios are
// closer to 1 than the servers alone would have them.
type pacedFigures struct{ cpu, p50, p99 perRound }

func (b *bench) pace(ctx context.Context, scripts []*script, gap time.Duration, rounds int) (*pacedFigures, error) {
	p, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	var f pacedFigures
	return &f, p.rounds(rounds, func(c *client, count bool) error {
		return b.converse(ctx, c, scripts, func(all []*exchange) error {
			took := make([][]time.Duration, len(all))
			used, err := consumed(c.server, func() error {
				begin := time.Now().Add(gap)
				return each(all, func(i int, x *exchange) (err error) {
					// Streams are out of step, as independent ones are.
					took[i], err = x.pace(ctx, begin.Add(gap*time.Duration(i)/time.Duration(len(all))), gap)
					return err
				})
			})
			if err != nil || !count {
				return err
			}
			sorted := slices.Sorted(slices.Values(slices.Concat(took...)))
			f.cpu.add(c.server, micros(used)/float64(len(scripts)*len(scripts[0].frames)))
			f.p50.add(c.server, micros(sorted[len(sorted)/2]))
			f.p99.add(c.server, micros(sorted[len(sorted)*99/100]))
			return nil
		})
	})
}
