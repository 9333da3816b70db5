package main

import (
	"context"
	"fmt"
	"slices"

	"holdfast/test/bench/process"
)

// idle holds many streams open on which nothing happens.
func (b *bench) idle(ctx context.Context) error {
	if !b.names.MatchString("idle") {
		return nil
	}
	one, err := write(generate(llm, 0, 1, b.largeEvent), perBlock, 0)
	if err != nil {
		return err
	}
	scripts := slices.Repeat([]*script{one}, b.effort.idle)
	collectors := []struct {
		what   string
		env    []string
		target float64
	}{
		{"each its own", nil, idleMemory},
		// Garbage that was not collected yet is resident too, and how much of it there
		// may be is this setting's choice. With the same for both, what differs is
		// what the streams hold on to.
		{"`GOGC=100` for both", []string{"GOGC=100"}, 0},
	}
	if !b.alike {
		collectors = collectors[:1]
	}
	fmt.Fprintf(b.out, "\n### Idle: resident memory per stream, %d streams\n\n", len(scripts))
	fmt.Fprintln(b.out, "| streams that have had | garbage collector | echo B | Holdfast B | ratio | spread | target | met |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, collector := range collectors {
		var opened, used perRound
		for range b.idleRounds {
			// New processes in every round: memory that a process was given before and
			// has free now would be used again, and not be seen.
			if err := b.idleRound(ctx, scripts, collector.env, &opened, &used); err != nil {
				return fmt.Errorf("idle: %w", err)
			}
		}
		for _, row := range []struct {
			what string
			v    *perRound
		}{{"headers", &opened}, {"headers and one event", &used}} {
			fmt.Fprintf(b.out, "| %s | %s | %.0f | %.0f | %s |\n", row.what, collector.what,
				median(row.v[theEcho]), median(row.v[theHoldfast]), b.judge(row.v, collector.target, memoryNoise))
		}
	}
	return nil
}

func (b *bench) idleRound(ctx context.Context, scripts []*script, env []string, opened, used *perRound) error {
	p, err := b.start(ctx, env...)
	if err != nil {
		return err
	}
	defer p.stop()
	for _, c := range p.clients {
		if err := b.hold(ctx, c, scripts, opened, used); err != nil {
			return c.server.Blame(err)
		}
	}
	return nil
}

// hold measures one server's growth, in bytes per stream, after its streams have
// had their headers, and again after each has had an event.
func (b *bench) hold(ctx context.Context, c *client, scripts []*script, opened, used *perRound) error {
	// What the first stream on each connection needs is not counted.
	if err := b.converse(ctx, c, scripts[:connections], saturate); err != nil {
		return err
	}
	resident := func() (int64, error) {
		if err := until(ctx, b.settle); err != nil {
			return 0, err
		}
		return process.Resident(c.server.PID())
	}
	before, err := resident()
	if err != nil {
		return err
	}
	grown := func(v *perRound) error {
		now, err := resident()
		v.add(c.server, float64(now-before)/float64(len(scripts)))
		return err
	}
	return b.converse(ctx, c, scripts, func(all []*exchange) error {
		if err := grown(opened); err != nil {
			return err
		}
		if err := saturate(all); err != nil {
			return err
		}
		return grown(used)
	})
}
