//go:build load

package load

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/test/harness"
)

// TestClientThatStopsReading: its origin has to wait, all the way back. Nobody in
// between takes in what nobody reads, and when the client goes on, it misses
// nothing.
func TestClientThatStopsReading(t *testing.T) {
	const (
		size   = 1 << 10
		total  = 192 << 20
		events = total / size
		// Two TCP connections' socket buffers, which kernels let grow to some tens of
		// MiB each; what Envoy, gRPC and we have under way is small beside them.
		most = 96 << 20
	)
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
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
