package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/test/harness"
)

// The test binary is the bare gateways too, as the program is.
func TestMain(m *testing.M) {
	if shape, upstream, envoy, ok := isBare(os.Args); ok {
		if err := serveBare(shape, upstream, envoy, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// tiny is enough to see events go through. Its figures mean nothing.
var tiny = effort{rounds: 1, streams: 4, rate: 1000, pacedFor: 20 * time.Millisecond, idle: 4, idleRounds: 1, bulkFor: 20 * time.Millisecond, stopped: 2, stoppedBytes: mib, breaks: 2}

func tinyBench(t *testing.T) (*bench, *strings.Builder) {
	t.Helper()
	out := new(strings.Builder)
	b := &bench{effort: tiny, holdfast: harness.Holdfast(t), envoy: harness.Envoy(t), names: regexp.MustCompile("resume"), gateways: regexp.MustCompile(""), out: out, dir: t.TempDir()}
	var err error
	if b.origin, err = newOrigin(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.origin.close)
	return b, out
}

// Each bare gateway lets events through as they come, and its use can be read.
func TestBareGateways(t *testing.T) {
	b, _ := tinyBench(t)
	for _, s := range []shape{plain, echo, relay, immediate} {
		t.Run(string(s), func(t *testing.T) {
			g, err := b.start(t.Context(), b.bare(s))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Stop()
			streams, err := b.openAll(t.Context(), g, b.streams)
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(streams)
			used, took, err := b.pace(t.Context(), g, streams)
			if err != nil {
				t.Fatal(err)
			}
			if len(took) != 20 || used.envoy <= 0 {
				t.Errorf("%d events, CPU time %+v", len(took), used)
			}
			if m, err := g.memory(); err != nil || m.envoy < mib || m.processor < mib {
				t.Errorf("memory %+v, %v", m, err)
			}
		})
	}
}

// A whole part, from its gateways to its table.
func TestResumeTable(t *testing.T) {
	b, out := tinyBench(t)
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(out.String(), "\n| Holdfast "); rows != 6 {
		t.Errorf("%d rows, want 6:\n%s", rows, out)
	}
}

// An event that is lost, repeated or cut ends the run.
func TestWrongEventsEndTheRun(t *testing.T) {
	event := func(n int) string { return fmt.Sprintf("id: %d\ndata: %d x\n\n", n, n) }
	for stream, want := range map[string]string{
		event(1) + ": alive\n\n" + event(2): "",
		event(2):                            `event "2" follows event 0`,
		event(1) + event(1):                 `event "1" follows event 1`,
		event(1) + event(2)[:8]:             errGone.Error(),
		event(1) + "id: 2\ndata: " + strings.Repeat("9", 10000) + "\n\n": "value out of range",
	} {
		c := &client{body: bufio.NewReaderSize(strings.NewReader(stream), 64)}
		var err error
		for range 2 {
			if _, err = c.next(); err != nil {
				break
			}
		}
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%.40q: %v, want %q", stream, err, want)
		}
	}
}

// Verdicts: met, missed within the noise, missed.
func TestJudge(t *testing.T) {
	b := new(bench)
	for ratio, want := range map[float64]string{1: "yes", 1.2: "yes", 1.3: "noise", 1.5: "**no**"} {
		base := figures{10, 20, 30}
		f := figures{10 * ratio, 20 * ratio, 60 * ratio}
		if got := b.ratio(f, base, atMost(1.2, timeNoise)); !strings.HasSuffix(got, want) {
			t.Errorf("ratio %g: %s, want %s", ratio, got, want)
		}
	}
	for value, want := range map[float64]string{0.7: "yes", 0.65: "noise", 0.5: "**no**"} {
		if got := b.judge(value, atLeast(0.7, timeNoise)); !strings.HasSuffix(got, want) {
			t.Errorf("%g: %s, want %s", value, got, want)
		}
	}
	if got := b.judge(1, target{}); got != " | " {
		t.Errorf("no target: %q", got)
	}
	if b.missed != 2 {
		t.Errorf("%d missed, want 2", b.missed)
	}
}

func TestNoProgram(t *testing.T) {
	for _, b := range []*bench{
		{holdfast: "no-such-program", envoy: os.Args[0]},
		{holdfast: os.Args[0], envoy: "no-such-program"},
	} {
		if err := b.run(t.Context()); err == nil || !strings.Contains(err.Error(), "run make") {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
}
