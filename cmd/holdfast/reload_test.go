package main

import (
	"errors"
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

func TestNeedRestart(t *testing.T) {
	old, now := config.Default(), config.Default()
	now.Policies[0].Name = "other"
	now.Log.Level = "debug"
	if keys := needRestart(old, now); len(keys) != 0 {
		t.Errorf("%v would need a restart", keys)
	}
	now.Listen, now.Limits.Sessions = "127.0.0.1:1", 1
	if keys := needRestart(old, now); len(keys) != 2 || keys[0] != "listen" || keys[1] != "limits" {
		t.Errorf("keys %v, want listen and limits", keys)
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
