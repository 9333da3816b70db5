package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// From the origin's failure to the first new event, where the origin is there at
// once.
const (
	resumeMedian = 2  // ms
	resumeTail   = 10 // ms, 99th percentile
)

// breakage is a way for a response to end before its time.
type breakage string

const (
	byReset breakage = "reset" // of the connection
	byClose breakage = "close" // of the connection, without the last chunk
	byEnd   breakage = "end"   // in order, too early
)

// resume breaks the origin's response off, again and again, on one stream after
// the other.
func (b *bench) resume(ctx context.Context) error {
	all := b.held(relay, immediate)
	gs, stop, err := b.startAll(ctx, b.field(all[0], all[1:]...))
	if err != nil {
		return err
	}
	defer stop()
	ways := []breakage{byReset, byClose, byEnd}
	took := make([]map[breakage][]float64, len(gs))
	fresh := make([][]float64, len(gs))
	for i := range took {
		took[i] = map[breakage][]float64{}
	}
	err = takeTurns(gs, b.rounds, func(i int, g *gateway, count bool) error {
		for _, how := range ways {
			opened, ms, err := b.breakOff(ctx, g, how)
			if err != nil {
				return fmt.Errorf("%s: %w", how, err)
			}
			if count {
				took[i][how] = append(took[i][how], ms...)
				fresh[i] = append(fresh[i], opened)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n### Resume: from the origin's failure to the client's next event, ms, %d failures in a row on one stream\n\n", b.breaks)
	fmt.Fprintln(b.out, "| gateway | failure | measured | p50 | target | met | p90 | p99 | target | met | most | a new request's first event, p50 | `holdfast_resume_seconds` mean |")
	fmt.Fprintln(b.out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for i, g := range gs {
		mean, err := g.resumeMean(ctx)
		if err != nil {
			return err
		}
		for _, how := range ways {
			ms := took[i][how]
			slices.Sort(ms)
			fmt.Fprintf(b.out, "| %s | %s | %d | %.2f | %s | %.2f | %.2f | %s | %.2f | %.2f | %.2f |\n", g.name, how, len(ms),
				percentile(ms, 50), b.judge(percentile(ms, 50), atMost(resumeMedian, timeNoise)),
				percentile(ms, 90), percentile(ms, 99), b.judge(percentile(ms, 99), atMost(resumeTail, timeNoise)),
				ms[len(ms)-1], median(fresh[i]), mean)
		}
	}
	return nil
}

// breakOff is one stream's life. It returns how long the first event took to
// come, and after each failure the next one, in ms.
func (b *bench) breakOff(ctx context.Context, g *gateway, how breakage) (opened float64, ms []float64, err error) {
	path := fmt.Sprintf("/stream/%d", b.serial.Add(1))
	begin := time.Now()
	c, err := request(ctx, g, path)
	if err != nil {
		return 0, nil, err
	}
	defer c.close()
	if _, err := c.next(); err != nil {
		return 0, nil, err
	}
	opened = millis(time.Since(begin))
	var f *feed
	defer func() {
		if f != nil {
			f.end()
		}
	}()
	for range b.breaks {
		if f, err = b.origin.feed(ctx, path); err != nil {
			return 0, nil, err
		}
		// A second event, so that this response is one that is worth going on.
		if err := f.send(); err != nil {
			return 0, nil, err
		}
		if _, err := c.next(); err != nil {
			return 0, nil, err
		}
		begin := time.Now()
		if how == byEnd {
			f.end()
		} else if err := f.kill(how == byReset); err != nil {
			return 0, nil, err
		}
		if _, err := c.next(); err != nil {
			return 0, nil, err
		}
		ms = append(ms, millis(time.Since(begin)))
	}
	return opened, ms, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// resumeMean is the mean of what the processor itself measured, in ms.
func (g *gateway) resumeMean(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.admin+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			values[name], _ = strconv.ParseFloat(value, 64) // comments are none
		}
	}
	http.DefaultClient.CloseIdleConnections()
	const name = "holdfast_resume_seconds"
	if values[name+"_count"] == 0 {
		return 0, fmt.Errorf("%s counts nothing", name)
	}
	return 1000 * values[name+"_sum"] / values[name+"_count"], lines.Err()
}
