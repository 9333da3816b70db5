//go:build load

// Package load holds many streams open at once through a real Envoy. It takes
// its time and most of the machine's file descriptors, so it has a target of
// its own: make e2e-load.
package load

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"holdfast/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streams is how many are open at once: far more than the 1024 at which
// Envoy's default circuit breakers answer 500.
const streams = 5000

// ways to own a response, each as a configuration.
var ways = map[string]string{
	"inline":    "policies: [{name: load, mode: inline, heartbeat: 0s}]\n",
	"relay":     "policies: [{name: load, mode: hold, via: relay, heartbeat: 0s}]\n",
	"immediate": "policies: [{name: load, mode: hold, via: immediate, heartbeat: 0s}]\n",
}

// TestManyStreamsAtOnce: every one of them is open at the same time, each gets
// events while all are open, and no event is lost, repeated or mixed up.
func TestManyStreamsAtOnce(t *testing.T) {
	// The origin and the clients live in this process: two sockets per stream.
	raiseFileLimit(t, 2*streams+500)
	for name, config := range ways {
		t.Run(name, func(t *testing.T) { manyStreams(t, config) })
	}
}

func manyStreams(t *testing.T, config string) {
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, config)

	const rounds = 5
	var next [rounds]chan struct{} // closed when the round begins
	for i := range next {
		next[i] = make(chan struct{})
	}
	path := origin.Handle("", func(x *harness.Exchange) {
		x.Stream()
		for round, begin := range next {
			x.Wait(begin)
			x.Send(message(x.Request.URL.Query().Get("n"), round))
		}
	})

	idle, goroutines := rss(t, gw.Pid()), gw.Metric(t, "go_goroutines")
	var open [streams]*harness.Stream
	inBatches(func(n int) {
		open[n] = gw.Get(t, fmt.Sprintf("%s?n=%d", path, n), "mcp-session-id", fmt.Sprint(n))
	}, func(n int) { open[n].WantOpen(t) })
	gw.WantMetric(t, streams, "holdfast_streams_active")
	t.Logf("%d streams open; the processor grew by %d KiB per stream", streams, (rss(t, gw.Pid())-idle)/streams)

	for round, begin := range next {
		close(begin)
		for n, s := range open {
			s.Want(t, message(fmt.Sprint(n), round))
		}
		if t.Failed() {
			return
		}
		t.Logf("round %d: every stream got its event", round+1)
	}
	for _, s := range open {
		s.WantEnd(t)
	}
	gw.WantMetric(t, streams, "holdfast_streams_total", "outcome=complete")
	// An origin that is asked whether that was all may say all of it again.
	harness.Eventually(t, "each event to be counted once", func() bool {
		return gw.Metric(t, "holdfast_events_total")-gw.Metric(t, "holdfast_duplicates_dropped_total") == streams*rounds
	})
	gw.WantIdle(t)
	// Connections with Envoy stay open, a handful of goroutines each.
	const connections = 100
	harness.Eventually(t, "the streams' goroutines to end", func() bool {
		return gw.Metric(t, "go_goroutines") < goroutines+connections
	})
}

func message(n string, round int) string {
	return fmt.Sprintf("id: %s-%d\ndata: {\"stream\":%s,\"round\":%d}\n\n", n, round, n, round)
}

// inBatches starts n things, a few hundred at a time: the kernel's queue of
// connections that nobody has accepted yet is short.
func inBatches(start, wait func(n int)) {
	const batch = 250
	for from := 0; from < streams; from += batch {
		var group sync.WaitGroup
		for n := from; n < from+batch; n++ {
			group.Go(func() { start(n) })
		}
		group.Wait()
		for n := from; n < from+batch; n++ {
			wait(n)
		}
	}
}

func raiseFileLimit(t *testing.T, need uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < need {
		t.Fatalf("this test needs %d open files and may have only %d: raise `ulimit -Hn`", need, limit.Cur)
	}
}

// rss is a process's resident memory in KiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(kib)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
