//go:build load

package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/test/bench/process"
	"holdfast/test/harness"
)

// TestClientThatStopsReading: its origin has to wait, all the way back. Nobody in
// between takes in what nobody reads, and when the client goes on, it misses
// nothing.
func TestClientThatStopsReading(t *testing.T) {
	for _, way := range []string{"inline", "relay"} {
		t.Run(way, func(t *testing.T) { stopsReading(t, ways[way]) })
	}
}

func stopsReading(t *testing.T, config string) {
	const (
		size   = 1 << 10
		total  = 192 << 20
		events = total / size
		// Two TCP connections' socket buffers, which kernels let grow to some tens of
		// MiB each; what Envoy, gRPC and we have under way is small beside them.
		most = 96 << 20
	)
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, config)
	for _, protocol := range []harness.Protocol{harness.H1, harness.H2} {
		t.Run(string(protocol), func(t *testing.T) {
			var written atomic.Int64
			path := origin.Handle("", func(x *harness.Exchange) {
				x.Stream()
				for n := range events {
					event := numbered(n, size)
					x.Send(event)
					written.Add(int64(len(event)))
				}
			})
			before := rss(t, gw.Pid())
			req := harness.Request{}.For(t, gw.URL+path)
			resp, err := harness.NewClient(t, protocol).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}

			stalled := untilQuiet(&written)
			if stalled > most {
				t.Errorf("the origin could send %d MiB to a client that reads nothing", stalled>>20)
			}
			grown := rss(t, gw.Pid()) - before
			if grown > 48<<10 {
				t.Errorf("the processor grew by %d KiB for one client that reads nothing", grown)
			}
			t.Logf("the origin stalled after %d KiB; the processor grew by %d KiB", stalled>>10, grown)

			body := bufio.NewReaderSize(resp.Body, 1<<20)
			got := make([]byte, size)
			for n := range events {
				if _, err := io.ReadFull(body, got); err != nil {
					t.Fatalf("event %d: %v", n, err)
				}
				if string(got) != numbered(n, size) {
					t.Fatalf("event %d is %q", n, got)
				}
			}
			if rest, err := io.ReadAll(body); err != nil || len(rest) != 0 {
				t.Errorf("after the last event: %d bytes, %v", len(rest), err)
			}
		})
	}
}

// TestInjectedClientThatStopsReading: where a response is injected, Envoy takes in
// whatever it is given. On HTTP/2 it tells how much its client was sent, and the
// processor waits; the client misses nothing. On HTTP/1 it gives the client up.
func TestInjectedClientThatStopsReading(t *testing.T) {
	const (
		size = 4 << 10
		// What a stream may be ahead of its client is 2.1 MiB by these limits.
		limits = "limits: {stream_bytes_per_second: 512KiB, burst_bytes: 64KiB}\n"
		events = (5 << 20) / size
		most   = 8 << 10 // KiB
	)
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, limits+ways["immediate"])
	path := origin.Handle("", func(x *harness.Exchange) {
		x.Stream()
		for n := range events {
			x.Send(numbered(n, size))
		}
	})
	envoy := envoyOf(t, gw)
	for _, protocol := range []harness.Protocol{harness.H1, harness.H2} {
		t.Run(string(protocol), func(t *testing.T) {
			before := rss(t, envoy)
			resp, err := narrowClient(t, protocol).Do(harness.Request{}.For(t, gw.URL+path))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			untilQuietMetric(t, gw)
			if grown := rss(t, envoy) - before; grown > most {
				t.Errorf("Envoy grew by %d KiB for one client that reads nothing", grown)
			}
			body := bufio.NewReaderSize(resp.Body, 64<<10)
			got := make([]byte, size)
			for n := range events {
				_, err := io.ReadFull(body, got)
				if err != nil && protocol == harness.H1 {
					return // Envoy has given it up
				}
				if err != nil {
					t.Fatalf("event %d: %v", n, err)
				}
				if string(got) != numbered(n, size) {
					t.Fatalf("event %d is %q", n, got)
				}
			}
		})
	}
}

// narrowClient takes in little of what it does not read.
func narrowClient(t *testing.T, protocol harness.Protocol) *http.Client {
	t.Helper()
	const window = 64 << 10
	client := harness.NewClient(t, protocol)
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("the client's transport is a %T", client.Transport)
	}
	transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: window}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
			err = tcp.SetReadBuffer(window)
		}
		return conn, err
	}
	return client
}

// envoyOf is the process id of a gateway's Envoy.
func envoyOf(t *testing.T, gw *harness.Gateway) int {
	t.Helper()
	children, err := process.Children(gw.Pid())
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range children {
		if program, err := process.Program(pid); err == nil && strings.Contains(filepath.Base(program), "envoy") {
			return pid
		}
	}
	t.Fatal("the gateway has no Envoy among its children")
	return 0
}

// untilQuietMetric waits until events have gone out and then none for three
// seconds, which is longer than Envoy takes to report.
func untilQuietMetric(t *testing.T, gw *harness.Gateway) {
	t.Helper()
	had, since := gw.Metric(t, "holdfast_events_total"), time.Now()
	moved := false
	harness.Eventually(t, "the stream to stand still", func() bool {
		now := gw.Metric(t, "holdfast_events_total")
		if now != had {
			had, since, moved = now, time.Now(), true
		}
		return moved && time.Since(since) > 3*time.Second
	})
}

// numbered is event n, padded to exactly size bytes.
func numbered(n, size int) string {
	head := fmt.Sprintf("id: %d\ndata: ", n)
	return head + strings.Repeat("x", size-len(head)-2) + "\n\n"
}

// untilQuiet waits until the counter has moved and then rested for half a second.
func untilQuiet(counter *atomic.Int64) int64 {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, rested := int64(0), 0
	for range tick.C {
		now := counter.Load()
		if now == last && now > 0 {
			if rested++; rested == 50 {
				return now
			}
			continue
		}
		last, rested = now, 0
	}
	return last
}
