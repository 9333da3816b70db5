package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"holdfast/test/harness"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(fakeEnv); how != "" {
		os.Exit(fakeHoldfast(how, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// TestDemo runs it as make demo does, only shorter, and with Holdfasts that fail.
// The Envoy beside them is always a real one.
func TestDemo(t *testing.T) {
	origin := filepath.Join(t.TempDir(), "origin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", origin, "holdfast/examples/origin").CombinedOutput(); err != nil {
		t.Fatalf("build the origin: %v\n%s", err, out)
	}
	for _, test := range []struct {
		fake      string // "": the real program
		terminal  bool
		wantErr   []string // nil: none
		wantShown []string
	}{
		{wantShown: []string{"every event once", "connections                                    6             1\n", "mode hold, 5 resumes", "------------ Holdfast"}},
		{terminal: true, wantShown: []string{"every event once", "origin killed 2 of 5  [################----", "\x1b[8A\x1b[J"}},
		{fake: "transparent", wantErr: []string{"figures are wrong", "the client connected", "the client saw"}},
		{fake: "lossy", wantErr: []string{"figures are wrong", "events arrived"}},
		{fake: "repeating", wantErr: []string{"figures are wrong", "events arrived again"}},
		{fake: "idle", wantErr: []string{"figures are wrong", "resumed the stream 0 times"}},
		{fake: "broken", wantErr: []string{"holdfast run ended", "exit status 1", "on fire"}},
	} {
		t.Run(fmt.Sprintf("fake=%s terminal=%t", test.fake, test.terminal), func(t *testing.T) {
			holdfast := harness.Holdfast(t)
			if test.fake != "" {
				t.Setenv(fakeEnv, test.fake)
				holdfast = os.Args[0]
			}
			o, err := parse([]string{
				"--origin", origin, "--holdfast", holdfast, "--envoy", harness.Envoy(t),
				"--kills", "5", "--between", "3", "--rate", "40", "--retry", "100ms",
			}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			var shown strings.Builder
			err = run(t.Context(), o, newScreen(&shown, test.terminal))
			wantError(t, err, test.wantErr...)
			for _, want := range test.wantShown {
				if !strings.Contains(shown.String(), want) {
					t.Errorf("the screen lacks %q:\n%s", want, shown.String())
				}
			}
			if test.wantErr != nil && strings.Contains(shown.String(), "every event once") {
				t.Errorf("it praised itself although the figures are wrong:\n%s", shown.String())
			}
			for text := range strings.Lines(shown.String()) {
				if len(text) > 81 /* with its line break */ {
					t.Errorf("a line of %d columns: %q", len(text), text)
				}
			}
		})
	}
}

// TestInterrupted stops the demo while the clients run.
func TestInterrupted(t *testing.T) {
	o, err := parse([]string{"--holdfast", harness.Holdfast(t), "--envoy", harness.Envoy(t), "--kills", "1000"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, o, newScreen(in, false))
		in.Close()
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "kills") {
			cancel()
		}
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}

func TestMissingPrograms(t *testing.T) {
	for _, test := range []struct {
		flag string
		want []string
	}{
		{"--holdfast", []string{"make build", "--holdfast"}},
		{"--envoy", []string{"nothing-here"}},
	} {
		o, err := parse([]string{"--holdfast", os.Args[0], test.flag, filepath.Join(t.TempDir(), "nothing-here")}, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, run(t.Context(), o, newScreen(io.Discard, false)), test.want...)
	}
}

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{{"--kills", "many"}, {"surplus"}, {"--kills", "0"}, {"--between", "0"}} {
		var said strings.Builder
		if _, err := parse(args, &said); err == nil || said.Len() == 0 {
			t.Errorf("%q: got %v and said %q, want an error that is explained", args, err, said.String())
		}
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if len(parts) == 0 {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}
