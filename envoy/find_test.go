package envoy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script writes an executable shell script and returns its path.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	named := script(t, filepath.Join(root, "named"), "envoy", "")
	env := script(t, filepath.Join(root, "env"), "my-envoy", "")
	onPath := script(t, filepath.Join(root, "path"), "envoy", "")
	checkout := filepath.Join(root, "checkout")
	write(t, filepath.Join(checkout, "Makefile"), "")
	write(t, filepath.Join(checkout, "go.mod"), "module holdfast\n\ngo 1.26.0\n")
	tools := script(t, filepath.Join(checkout, ".tools"), "envoy", "")
	foreign := filepath.Join(root, "foreign")
	write(t, filepath.Join(foreign, "Makefile"), "")
	write(t, filepath.Join(foreign, "go.mod"), "module example.com/other\n")
	script(t, filepath.Join(foreign, ".tools"), "envoy", "")
	below := filepath.Join(checkout, "a", "b")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name, flag, env, path string
		dir, exe              string
		want                  Binary
	}{
		{name: "flag first", flag: named, env: env, path: onPath, dir: checkout, want: Binary{named, "--envoy"}},
		{name: "flag on the PATH", flag: "envoy", path: onPath, want: Binary{onPath, "--envoy"}},
		{name: "then environment", env: env, path: onPath, dir: checkout, want: Binary{env, "$HOLDFAST_ENVOY"}},
		{name: "then PATH", path: onPath, dir: checkout, want: Binary{onPath, "PATH"}},
		{name: "then the checkout", dir: checkout, want: Binary{tools, ".tools"}},
		{name: "from below", dir: below, want: Binary{tools, ".tools"}},
		{name: "from our program", dir: root, exe: filepath.Join(checkout, "bin", "holdfast"), want: Binary{tools, ".tools"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", filepath.Dir(c.path))
			got, err := Find(c.flag, Place{Getenv: func(string) string { return c.env }, Dir: c.dir, Executable: c.exe})
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}

	t.Run("nowhere", func(t *testing.T) {
		t.Setenv("PATH", root)
		_, err := Find("", Place{Getenv: func(string) string { return "" }, Dir: foreign})
		if err == nil || !strings.Contains(err.Error(), "make envoy") || !strings.Contains(err.Error(), "$HOLDFAST_ENVOY (not set)") {
			t.Errorf("error %v", err)
		}
		if strings.Contains(err.Error(), foreign) {
			t.Errorf("another project's .tools was looked at: %v", err)
		}
	})
	t.Run("not in the checkout yet", func(t *testing.T) {
		t.Setenv("PATH", root)
		empty := t.TempDir()
		write(t, filepath.Join(empty, "Makefile"), "")
		write(t, filepath.Join(empty, "go.mod"), "module holdfast\n")
		_, err := Find("", Place{Getenv: func(string) string { return "" }, Dir: empty})
		if err == nil || !strings.Contains(err.Error(), filepath.Join(empty, ".tools", "envoy")) {
			t.Errorf("error %v does not name the place", err)
		}
	})
}

// What was asked for by name is never replaced by something else.
func TestFindInsists(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	write(t, plain, "")
	for _, c := range []struct{ flag, env, says string }{
		{flag: filepath.Join(dir, "missing"), says: "--envoy names " + filepath.Join(dir, "missing") + ": there is no such file"},
		{flag: dir, says: "that is a directory"},
		{flag: plain, says: "that file is not executable"},
		{env: plain, says: "$HOLDFAST_ENVOY names " + plain},
		{flag: filepath.Join(plain, "envoy"), says: "not a directory"},
	} {
		_, err := Find(c.flag, Place{Getenv: func(string) string { return c.env }, Dir: dir})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Find(%q) with environment %q: %v, want an error that says %q", c.flag, c.env, err, c.says)
		}
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	good := script(t, dir, "good", `echo; echo "$0  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL"`)
	v, err := Probe(t.Context(), good)
	if err != nil || v != (Version{1, 40, 0}) || v.String() != "1.40.0" {
		t.Errorf("got %v, %v", v, err)
	}
	for body, says := range map[string]string{
		`echo "cat (GNU coreutils) 9.1"`:       `is not Envoy: its --version says: "cat (GNU coreutils) 9.1"`,
		`echo "no such library" >&2; exit 127`: `exit status 127: "no such library"`,
		`exit 0`:                               "is not Envoy",
	} {
		if _, err := Probe(t.Context(), script(t, dir, "bad", body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

func TestParseVersion(t *testing.T) {
	if v, err := ParseVersion("1.40.0"); err != nil || v != (Version{Major: 1, Minor: 40}) {
		t.Errorf("%v, %v", v, err)
	}
	for _, s := range []string{"", "1", "1.40", "v1.40.0", "1.40.0-dev", "1.40.0.1", "1.-4.0", "1.040.0", "1.40.0 "} {
		if v, err := ParseVersion(s); err == nil || !strings.Contains(err.Error(), "1.40.0") {
			t.Errorf("%q: %v, %v", s, v, err)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	for _, c := range []struct {
		a, b Version
		want bool
	}{
		{Version{1, 36, 9}, Recommended(), true},
		{Version{1, 37, 0}, Recommended(), true},
		{Version{1, 38, 0}, Recommended(), false},
		{Version{2, 0, 0}, Recommended(), false},
		{Version{0, 99, 0}, Recommended(), true},
		{Version{1, 37, 0}, Version{1, 37, 1}, true},
	} {
		if got := c.a.Before(c.b); got != c.want {
			t.Errorf("%v before %v: %v", c.a, c.b, got)
		}
	}
}
