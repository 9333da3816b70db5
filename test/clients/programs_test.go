package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// tool is the path of a program that make clients has installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(harness.Root(), ".tools", "clients", "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make clients", err)
	}
	return path
}

// script is the path of a file below this directory.
func script(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// node runs a script in node/.
func node(t *testing.T, name string, args ...string) *harness.Program {
	t.Helper()
	return harness.Start(t, tool(t, "node"), append([]string{script(t, "node", name)}, args...)...)
}

// python runs a script in python/.
func python(t *testing.T, name string, args ...string) *harness.Program {
	t.Helper()
	return harness.Start(t, tool(t, "python"), append([]string{script(t, "python", name)}, args...)...)
}

// result waits for a program's end and decodes what it printed.
func result[T any](t *testing.T, p *harness.Program) (got T) {
	t.Helper()
	if code := p.Wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, p.Output())
	}
	if err := json.Unmarshal([]byte(strings.TrimSpace(p.Stdout())), &got); err != nil {
		t.Fatalf("%v in %q\n%s", err, p.Stdout(), p.Stderr())
	}
	return got
}

func nodeServer(name string) func(*testing.T, *control, string) string {
	return func(t *testing.T, c *control, revision string) string {
		return node(t, name, c.URL, revision).WantLine(t, "ready ")
	}
}

func nodeClient(name string) func(*testing.T, string, *control, string) transcript {
	return func(t *testing.T, url string, c *control, revision string) transcript {
		return result[transcript](t, node(t, name, url, c.URL, revision))
	}
}
