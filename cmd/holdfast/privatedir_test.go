package main

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

func newTestDir(t *testing.T) *privateDir {
	t.Helper()
	d, err := newPrivateDir(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestPrivateDirIsPrivateAndGoes(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d := newTestDir(t)
	info, err := os.Stat(d.path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", d.path, info.Mode(), err)
	}
	if err := os.WriteFile(d.file("extproc.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.remove(); err != nil || exists(d.path) {
		t.Errorf("not removed: %v", err)
	}
}

// Only what is certainly a leftover of ours is removed.
func TestStaleDirectories(t *testing.T) {
	base := t.TempDir()
	t.Setenv("TMPDIR", base)
	living := newTestDir(t)
	dead := newTestDir(t)
	if err := dead.lock.Close(); err != nil { // as the kernel does when a process dies
		t.Fatal(err)
	}

	place := func(name string, mode os.FileMode, files ...string) string {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(path, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	beginning := place("holdfast-beginning", 0o700, "lock.new")
	shared := place("holdfast-shared", 0o755, "lock")
	elsewhere := place("precious", 0o700, "lock")
	link := filepath.Join(base, "holdfast-link")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	trap := place("holdfast-trap", 0o700)
	if err := os.Symlink(filepath.Join(elsewhere, "lock"), filepath.Join(trap, "lock")); err != nil {
		t.Fatal(err)
	}

	next := newTestDir(t)
	if exists(dead.path) {
		t.Error("what the dead left is still there")
	}
	for _, kept := range []string{living.path, beginning, shared, elsewhere, link, trap, next.path} {
		if !exists(kept) {
			t.Errorf("%s was removed", kept)
		}
	}
}
