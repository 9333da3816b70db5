package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// What a client that does not read may cost, at the defaults.
const (
	stoppedRelay     = 2 * mib // whole path
	stoppedImmediate = 8 * mib // in Envoy
	stoppedEvent     = 4 * kib
	stoppedSocket    = 64 * kib
)

// stoppedClients has many clients that stop reading, of an origin that does not
// stop sending. Later they go on, and must find every event.
func (b *bench) stoppedClients(ctx context.Context) error {
	held := b.held(relay, immediate)
	for _, c := range held {
		c.http2, c.name = true, c.name+", HTTP/2"
		held = append(held, c)
	}
	all := b.field(b.bare(relay), append([]contestant{b.bare(echo)}, held...)...)
	title := fmt.Sprintf("\n### Stopped: memory per client that does not read, %d clients, an origin that would send each %d MiB\n\n", b.stopped, b.stoppedBytes/mib) +
		"| gateway | Envoy KiB | target | met | processor KiB | sum KiB | target | met | origin could send KiB | then read |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
	for _, c := range all {
		r, err := b.stop(ctx, c)
		if err != nil {
			return err
		}
		var envoy, sum target
		switch {
		case c.program != "" && c.shape == relay:
			sum = atMost(stoppedRelay/kib, memoryNoise)
		case c.program != "":
			envoy = atMost(stoppedImmediate/kib, memoryNoise)
		}
		per := func(bytes int64) float64 { return float64(bytes) / kib / float64(b.stopped) }
		fmt.Fprintf(b.out, "%s| %s | %.0f | %s | %.0f | %.0f | %s | %.0f | %s |\n", title, c.name,
			per(r.grown.envoy), b.judge(per(r.grown.envoy), envoy), per(r.grown.processor),
			per(r.grown.sum()), b.judge(per(r.grown.sum()), sum), per(r.sent), r.then)
		title = "" // is over the first row only
	}
	return nil
}

type stoppedResult struct {
	grown use[int64] // the most that was seen
	sent  int64
	then  string // what the clients found when they went on
}

// narrow makes both ends' socket buffers small. On a loopback they would grow to
// MiBs each, in which a small response is gone before anybody has to wait.
func (p *pair) narrow() error {
	if p.client.conn != nil { // else it is the stream's window that is small
		if err := p.client.conn.SetReadBuffer(stoppedSocket); err != nil {
			return err
		}
	}
	return p.feed.conn.SetWriteBuffer(stoppedSocket)
}

// stop is one gateway's.
func (b *bench) stop(ctx context.Context, c contestant) (r stoppedResult, err error) {
	g, err := b.start(ctx, c)
	if err != nil {
		return r, err
	}
	defer g.Stop()
	streams, err := b.openAll(ctx, g, b.stopped)
	if err != nil {
		return r, err
	}
	defer closeAll(streams)
	if err := until(ctx, settle); err != nil {
		return r, err
	}
	before, err := g.memory()
	if err != nil {
		return r, err
	}
	for _, p := range streams {
		if err := p.narrow(); err != nil {
			return r, err
		}
	}
	pad := strings.Repeat("x", stoppedEvent)
	counts := make([]atomic.Int64, len(streams))
	flooded := make(chan error, 1)
	go func() {
		flooded <- each(len(streams), len(streams), func(i int) error {
			f := streams[i].feed
			for range b.stoppedBytes / stoppedEvent {
				if err := f.sendPadded(pad); err != nil {
					return err
				}
				counts[i].Add(int64(len(f.buf)))
			}
			return nil
		})
	}()
	sum := func() (n int64) {
		for i := range counts {
			n += counts[i].Load()
		}
		return n
	}
	// Until nothing moves any more.
	for rested := 0; rested < 10; {
		last := sum()
		if err := until(ctx, 200*time.Millisecond); err != nil {
			return r, err
		}
		now, err := g.memory()
		if err != nil {
			return r, err
		}
		grown := now.since(before)
		r.grown.envoy, r.grown.processor = max(r.grown.envoy, grown.envoy), max(r.grown.processor, grown.processor)
		if r.sent = sum(); r.sent > last {
			rested = 0
		} else {
			rested++
		}
	}
	// And on.
	begin := time.Now()
	var closed atomic.Int64
	err = each(len(streams), len(streams), func(i int) error {
		for range b.stoppedBytes / stoppedEvent {
			_, err := streams[i].next()
			if err != nil {
				closed.Add(1)
				return nil //nolint:nilerr // Envoy may close clients that do not read; an event too many or too few is found by next
			}
		}
		return nil
	})
	took := time.Since(begin)
	for _, p := range streams {
		p.client.close()
	}
	<-flooded // it fails where Envoy has closed a client
	r.then = fmt.Sprintf("every event, %.0f MiB/s", float64(b.stopped)*float64(b.stoppedBytes)/mib/took.Seconds())
	if n := closed.Load(); n > 0 {
		r.then = fmt.Sprintf("%d were closed", n)
	}
	return r, err
}
