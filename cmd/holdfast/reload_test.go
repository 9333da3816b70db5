package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/processor/config"
)

// TestLookWaitsForQuiet: a file that is still being written is not taken at its
// word, and one that was refused is not tried again and again.
func TestLookWaitsForQuiet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "holdfast.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	core, logs := observer.New(zap.InfoLevel)
	loads := 0
	r := &reloader{
		service: &service{cfg: config.Default(), log: zap.New(core)},
		path:    file,
		load:    func() (*config.Config, error) { loads++; return nil, errors.New("bad") },
	}
	r.applied = r.print()
	r.seen = r.applied
	want := func(n int, when string) {
		t.Helper()
		r.look()
		if loads != n {
			t.Fatalf("%s: loaded %d times, want %d", when, loads, n)
		}
	}
	want(0, "nothing happened")
	write("ab")
	want(0, "just changed")
	write("abc")
	want(0, "changed again")
	want(1, "unchanged since the last look")
	want(1, "refused, and still the same")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	want(1, "just removed")
	want(2, "still missing")
	want(2, "known to be missing")
	if n := logs.FilterMessageSnippet("the old one stays").Len(); n != 2 {
		t.Errorf("%d refusals were logged, want 2", n)
	}
}

// TestReloadApplies: what a reload reaches is in effect, and shown; what it does
// not reach is named, and shown as it still is.
func TestReloadApplies(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	svc, err := newService(config.Default(), zap.New(core), zap.NewAtomicLevel(), nil)
	if err != nil {
		t.Fatal(err)
	}
	next := config.Default()
	next.Policies[0].Name = "other"
	next.Limits.EventBytes, next.Limits.Sessions = 2*config.MiB, 7
	r := &reloader{service: svc, load: func() (*config.Config, error) { return next, nil }}
	if err := r.apply(); err != nil {
		t.Fatal(err)
	}
	got := svc.admin.effective.Load()
	if got.Policies[0].Name != "other" || got.Limits.EventBytes != 2*config.MiB || got.Limits.Sessions != config.Default().Limits.Sessions {
		t.Errorf("in effect is said to be policy %q and %+v", got.Policies[0].Name, got.Limits)
	}
	warnings := logs.All()
	if len(warnings) != 1 {
		t.Fatalf("%d warnings, want 1", len(warnings))
	}
	if keys := fmt.Sprint(warnings[0].ContextMap()["keys"]); keys != "[limits.sessions]" {
		t.Errorf("a restart is said to be needed for %s", keys)
	}
}

func TestContainerMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.max")
	for text, want := range map[string]int64{"max\n": 0, "1073741824\n": 1 << 30, "": 0} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := containerMemory(file); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
	if got := containerMemory(file + ".missing"); got != 0 {
		t.Errorf("without the file: %d", got)
	}
}
