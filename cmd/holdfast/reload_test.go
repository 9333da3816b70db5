package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	r := newReloader(&reloader{
		service: &service{cfg: config.Default(), log: zap.New(core)},
		path:    file,
		load:    func() (*config.Config, error) { loads++; return nil, errors.New("bad") },
	}, printOf(file))
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

// mount makes a directory as Kubernetes mounts a ConfigMap: the file is a link through
// a link, and that one is swapped. The returned function does so. Of two versions, not
// even size and time need differ.
func mount(t *testing.T) (file string, swap func(text string)) {
	t.Helper()
	dir, n := t.TempDir(), 0
	long := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	swap = func(text string) {
		t.Helper()
		n++
		version := filepath.Join(dir, fmt.Sprintf("..%d", n))
		for _, err := range []error{
			os.Mkdir(version, 0o700),
			os.WriteFile(filepath.Join(version, "holdfast.yaml"), []byte(text), 0o600),
			os.Chtimes(filepath.Join(version, "holdfast.yaml"), long, long),
			os.Symlink(filepath.Base(version), filepath.Join(dir, "..data_tmp")),
			os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
			os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", n-1))),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	file = filepath.Join(dir, "holdfast.yaml")
	if err := os.Symlink("..data/holdfast.yaml", file); err != nil {
		t.Fatal(err)
	}
	return file, swap
}

// TestLookSeesSwappedLinks: a ConfigMap changes by a link to another directory.
func TestLookSeesSwappedLinks(t *testing.T) {
	file, swap := mount(t)
	swap("a")
	loads := 0
	r := newReloader(&reloader{
		service: &service{cfg: config.Default(), log: zap.NewNop()},
		path:    file,
		load:    func() (*config.Config, error) { loads++; return nil, errors.New("bad") },
	}, printOf(file))
	for i, text := range []string{"b", "c", "d"} {
		swap(text)
		r.look()
		r.look()
		r.look()
		if loads != i+1 {
			t.Fatalf("after %d swaps: loaded %d times", i+1, loads)
		}
	}
}

// TestChangeBeforeTheFirstLook: what changes while the program starts is not missed.
func TestChangeBeforeTheFirstLook(t *testing.T) {
	file, swap := mount(t)
	swap("a")
	loaded := printOf(file)
	swap("b")
	loads := 0
	r := newReloader(&reloader{
		service: &service{cfg: config.Default(), log: zap.NewNop()},
		path:    file,
		load:    func() (*config.Config, error) { loads++; return nil, errors.New("bad") },
	}, loaded)
	for range 3 {
		r.look()
	}
	if loads != 1 {
		t.Errorf("loaded %d times, want once", loads)
	}
}

// TestReloadIsAllOrNothing: whatever it is that fails, nothing has changed.
func TestReloadIsAllOrNothing(t *testing.T) {
	running := config.Default()
	keys := filepath.Join(t.TempDir(), "seal.key")
	running.Seal.KeyFile = keys
	if err := os.WriteFile(keys, []byte(strings.Repeat("0123456789abcdef", 4)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	svc, err := newService(running, zap.NewNop(), zap.NewAtomicLevel(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.stop()
	cert, key := filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem")
	good := new(tls.Config)
	certs := new(certificates)
	certs.current.Store(good)
	next := config.Default()
	next.Policies[0].Name = "other"
	bad := config.Default()
	bad.Policies[0].Mode = "wrong"
	unchanged := func(when string, r *reloader) {
		t.Helper()
		if err := r.apply(); err == nil {
			t.Errorf("%s: accepted", when)
		}
		if svc.admin.effective.Load().Policies[0].Name != "default" || certs.current.Load() != good {
			t.Errorf("%s: something has changed", when)
		}
	}
	loading := func(c *config.Config) func() (*config.Config, error) {
		return func() (*config.Config, error) { return c, nil }
	}
	unchanged("a policy that does not compile", &reloader{service: svc, certs: certs, load: loading(bad)})
	svc.cfg.TLS = config.TLS{Cert: cert, Key: key}
	unchanged("no certificate", &reloader{service: svc, certs: certs, load: loading(next)})
	svc.cfg.TLS = config.TLS{}
	if err := os.WriteFile(keys, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unchanged("a bad key file", &reloader{service: svc, load: loading(next)})
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
