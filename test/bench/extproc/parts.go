package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// saturated keeps both servers busy with every shape of stream in every cut.
func (b *bench) saturated(ctx context.Context) error {
	fmt.Fprintf(b.out, "\n### Saturated: CPU time per chunk\n\n")
	fmt.Fprintln(b.out, "| stream | cut | streams | chunks | echo µs | Holdfast µs | ratio | spread | target | met |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, s := range shapes {
		for _, c := range cuts {
			if !b.names.MatchString(fmt.Sprintf("saturated/%s/%s", s, c)) {
				continue
			}
			scripts, err := b.load(s, c)
			if err != nil {
				return err
			}
			chunks := 0
			for _, x := range scripts {
				chunks += len(x.frames)
			}
			us, err := b.saturate(ctx, scripts, chunks, b.rounds)
			if err == nil && b.again && us.clearly(saturatedCPU, timeNoise) {
				us, err = b.saturate(ctx, scripts, chunks, 3*b.rounds)
			}
			if err != nil {
				return fmt.Errorf("%s, cut %s: %w", s, c, err)
			}
			fmt.Fprintf(b.out, "| %s | %s | %d | %d | %.1f | %.1f | %s |\n", s, c, len(scripts), chunks,
				median(us[theEcho]), median(us[theHoldfast]), b.judge(us, saturatedCPU, timeNoise))
		}
	}
	return nil
}

// load writes the scripts of a saturated run: as many events as make up the
// chunks that are asked for, or the bytes that are allowed, each stream with at
// least one repeat. For that there may be fewer streams than usual; where not even
// one stream of that length is affordable, it has a single event.
func (b *bench) load(s shape, c cut) ([]*script, error) {
	chunks := float64(b.chunks)
	if c == perByte {
		chunks *= 4 // a byte costs little
	}
	events := int(min(chunks/c.perEvent(s, b.largeEvent), float64(b.bytes)/float64(s.size(b.largeEvent))))
	n := min(b.streams, events/repeatEvery)
	each := 1
	if n > 0 {
		each = events / n
	} else {
		n = max(events, 1)
	}
	scripts := make([]*script, n)
	for i := range scripts {
		var err error
		if scripts[i], err = write(generate(s, i, each, b.largeEvent), c, i); err != nil {
			return nil, err
		}
	}
	return scripts, check(scripts, each >= repeatEvery)
}

// saturate is one line of the table: µs of the servers' CPU time per chunk.
func (b *bench) saturate(ctx context.Context, scripts []*script, chunks, rounds int) (*perRound, error) {
	p, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	var us perRound
	return &us, p.rounds(rounds, func(c *client, count bool) error {
		return b.converse(ctx, c, scripts, func(all []*exchange) error {
			used, err := consumed(c.server, func() error {
				return each(all, func(_ int, x *exchange) error { return x.saturate() })
			})
			if count {
				us.add(c.server, micros(used)/float64(chunks))
			}
			return err
		})
	})
}

// paced sends single events at a rate far below what the servers can do, which
// is what streams do all day. Every event then costs its own wake-ups.
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
	figures, err := b.pace(ctx, scripts, gap, b.pacedRounds)
	if err == nil && b.again && (figures.cpu.clearly(pacedCPU, timeNoise) || figures.p50.clearly(pacedMedian, timeNoise)) {
		figures, err = b.pace(ctx, scripts, gap, 3*b.pacedRounds)
	}
	if err != nil {
		return fmt.Errorf("paced: %w", err)
	}
	fmt.Fprintf(b.out, "\n### Paced: %d events of %d B per second over %d streams\n\n", b.rate, llm.size(0), b.streams)
	fmt.Fprintln(b.out, "| what | echo | Holdfast | ratio | spread | target | met |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, row := range []struct {
		what   string
		v      *perRound
		target float64
	}{
		{"CPU time per event, µs", &figures.cpu, pacedCPU},
		{"latency p50, µs", &figures.p50, pacedMedian},
		{"latency p99, µs", &figures.p99, 0},
	} {
		fmt.Fprintf(b.out, "| %s | %.0f | %.0f | %s |\n", row.what, median(row.v[theEcho]), median(row.v[theHoldfast]), b.judge(row.v, row.target, timeNoise))
	}
	return nil
}

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
	fmt.Fprintf(b.out, "\n### Idle: resident memory per stream, %d streams\n\n", len(scripts))
	fmt.Fprintln(b.out, "| streams that have had | garbage collector | echo B | Holdfast B | ratio | spread | target | met |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, collector := range []struct {
		what   string
		env    []string
		target float64
	}{
		{"each its own", nil, idleMemory},
		// Garbage that was not collected yet is resident too, and how much of it there
		// is depends on this setting alone.
		{"`GOGC=100` for both", []string{"GOGC=100"}, 0},
	} {
		var opened, used perRound
		for range b.idleRounds {
			// New processes in every round: memory that was given back is not new.
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
			return c.server.blame(err)
		}
	}
	return nil
}

// hold measures one server's growth after its streams have had their headers,
// and again after each has had an event.
func (b *bench) hold(ctx context.Context, c *client, scripts []*script, opened, used *perRound) error {
	saturate := func(all []*exchange) error {
		return each(all, func(_ int, x *exchange) error { return x.saturate() })
	}
	// What one stream on each connection needs for the first time is not counted.
	if err := b.converse(ctx, c, scripts[:connections], saturate); err != nil {
		return err
	}
	resident := func() (int64, error) {
		if err := until(ctx, b.settle); err != nil {
			return 0, err
		}
		return residentSet(c.server.pid())
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

// consumed is the CPU time that a server uses while f runs.
func consumed(s *server, f func() error) (time.Duration, error) {
	before, err := cpuTime(s.pid())
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := cpuTime(s.pid())
	return after - before, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
