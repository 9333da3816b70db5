// Package deps checks what the leaves of the tree are allowed to know: the
// packages that decide things stay free of the world, so that their tests need
// none of it. The linter checks direct imports of every room; here the whole
// reach of the leaves is checked, and with it what lint cannot see.
package deps

import (
	"encoding/json"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// world is what a pure package must not import: clocks live in time, so that
// one is looked at call by call.
var world = []string{
	"context", "crypto/rand", "io", "log", "log/slog", "math/rand", "math/rand/v2",
	"net", "net/http", "os", "os/exec", "os/signal", "sync", "sync/atomic", "syscall",
}

var leaves = []struct {
	dir  string   // below the module's root
	ours []string // packages of this module it may reach
	pure bool     // no clock, no goroutine, no I/O, no randomness
	may  string   // what of the world it needs all the same
}{
	{dir: "processor/sse", pure: true},
	{dir: "processor/splice", ours: []string{"holdfast/processor/sse", "holdfast/processor/health"}, pure: true},
	{dir: "processor/health", pure: true, may: "sync"}, // one Monitor for all streams
	{dir: "processor/live"},
	{dir: "processor/keyfile"},
	{dir: "processor/pass", ours: []string{"holdfast/processor/keyfile"}},
	{dir: "processor/health"},
	{dir: "processor/upstream", ours: []string{"holdfast/processor/pass", "holdfast/processor/keyfile"}},
	{dir: "sessionstore"},
	{dir: "sessionstore/internal/kept", ours: []string{"holdfast/sessionstore"}},
}

func TestLeavesReachOnlyTheStandardLibrary(t *testing.T) {
	for _, leaf := range leaves {
		t.Run(leaf.dir, func(t *testing.T) {
			for _, dep := range reach(t, leaf.dir) {
				if dep.Standard || dep.ImportPath == "holdfast/"+leaf.dir || slices.Contains(leaf.ours, dep.ImportPath) {
					continue
				}
				t.Errorf("%s reaches %s", leaf.dir, dep.ImportPath)
			}
		})
	}
}

func TestPureLeavesDoNotTouchTheWorld(t *testing.T) {
	for _, leaf := range leaves {
		if !leaf.pure {
			continue
		}
		t.Run(leaf.dir, func(t *testing.T) {
			requirePresent(t, leaf.dir)
			pkg, err := build.ImportDir(filepath.Join("..", "..", leaf.dir), 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range pkg.Imports {
				if slices.Contains(world, path) && path != leaf.may {
					t.Errorf("%s imports %s", leaf.dir, path)
				}
			}
			for _, name := range pkg.GoFiles {
				checkSource(t, filepath.Join(pkg.Dir, name))
			}
		})
	}
}

// checkSource looks for a goroutine, a channel and a look at the clock.
func checkSource(t *testing.T, path string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: starts a goroutine", fset.Position(n.Pos()))
		case *ast.ChanType:
			t.Errorf("%s: uses a channel", fset.Position(n.Pos()))
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && pkg.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				t.Errorf("%s: time.%s reads the clock", fset.Position(n.Pos()), n.Sel.Name)
			}
		}
		return true
	})
}

// TestNoPackageIsADrawer keeps out the names under which things get lost.
func TestNoPackageIsADrawer(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		switch name := d.Name(); {
		case path != root && strings.HasPrefix(name, ".") && name != "..", name == "node_modules":
			return fs.SkipDir
		case slices.Contains([]string{"pkg", "util", "utils", "common", "helper", "helpers", "misc"}, name):
			t.Errorf("%s: name a package after what it knows", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOnlyBubblesSleep: a real sleep in a test is too short on a busy machine and
// too long on every other. In a synctest bubble it costs nothing.
func TestOnlyBubblesSleep(t *testing.T) {
	sources(t, func(path string, file *ast.File) {
		bubble := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` })
		if bubble || !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/test/") {
			return // outside of tests the linter forbids it
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
					t.Errorf("%s sleeps outside of a synctest bubble", path)
				}
			}
			return true
		})
	})
}

// sources calls f for every Go file of the module.
func sources(t *testing.T, f func(path string, file *ast.File)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."), d.Name() == "node_modules":
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			f(path, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

type dependency struct {
	ImportPath string
	Standard   bool
}

// reach lists everything the package is built from, itself included.
func reach(t *testing.T, dir string) []dependency {
	t.Helper()
	requirePresent(t, dir)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard", "./"+dir)
	cmd.Dir = filepath.Join("..", "..")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var deps []dependency
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var dep dependency
		if err := dec.Decode(&dep); err != nil {
			t.Fatal(err)
		}
		deps = append(deps, dep)
	}
	return deps
}

func requirePresent(t *testing.T, dir string) {
	t.Helper()
	if matches, _ := filepath.Glob(filepath.Join("..", "..", dir, "*.go")); len(matches) == 0 {
		t.Fatalf("%s has no Go file: remove it from the table, or add the package", dir)
	}
}
