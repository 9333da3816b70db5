package main

import (
	"context"
	"fmt"
	"time"

	"holdfast/test/bench/process"
)

// saturated keeps both servers busy with every shape of stream in every cut.
func (b *bench) saturated(ctx context.Context) error {
	title := "\n### Saturated: CPU time per chunk\n\n" +
		"| stream | cut | streams | chunks | echo µs | Holdfast µs | ratio | spread | target | met |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
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
			fmt.Fprintf(b.out, "%s| %s | %s | %d | %d | %.1f | %.1f | %s |\n", title, s, c, len(scripts), chunks,
				median(us[theEcho]), median(us[theHoldfast]), b.judge(us, saturatedCPU, timeNoise))
			title = "" // is over the first row only
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
	streams, perStream := min(b.streams, events/repeatEvery), 1
	if streams > 0 {
		perStream = events / streams
	} else {
		streams = max(events, 1)
	}
	scripts := make([]*script, streams)
	for i := range scripts {
		var err error
		if scripts[i], err = write(generate(s, i, perStream, b.largeEvent), c, i); err != nil {
			return nil, err
		}
	}
	return scripts, check(scripts, perStream >= repeatEvery)
}

// saturate is one line of the table: µs of the servers' CPU time per chunk that
// was sent. By chunk and not by message that came back, for an echo answers all
// of them, and a filter those that complete something.
func (b *bench) saturate(ctx context.Context, scripts []*script, chunks, rounds int) (*perRound, error) {
	p, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	var us perRound
	return &us, p.rounds(rounds, func(c *client, count bool) error {
		return b.converse(ctx, c, scripts, func(all []*exchange) error {
			used, err := consumed(c.server, func() error { return saturate(all) })
			if count {
				us.add(c.server, micros(used)/float64(chunks))
			}
			return err
		})
	})
}

func saturate(all []*exchange) error {
	return each(all, func(_ int, x *exchange) error { return x.saturate() })
}

// consumed is the CPU time that a server uses while f runs: that of its garbage
// collector too, whenever it is about to run.
func consumed(s *server, f func() error) (time.Duration, error) {
	before, err := process.CPUTime(s.PID())
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := process.CPUTime(s.PID())
	return after - before, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
