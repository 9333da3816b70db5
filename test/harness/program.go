// Package harness gives end-to-end tests their equipment: the built program
// before a real Envoy, an origin that does exactly what a test tells it, and
// clients that see exactly which bytes arrived.
//
// Tests speak the domain: an Exchange is one request as the origin sees it, a
// Stream is one response as the client sees it. Nothing here sleeps; what has
// to be waited for is polled with a deadline (Eventually).
package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a test waits for something that should take
// milliseconds. It is long because CI machines stall; a passing test never
// waits it out.
const Patience = 20 * time.Second

// Root is the module's directory.
func Root() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		// Built with -trimpath: tests run in their package's directory.
		dir, err := filepath.Abs(filepath.Join("..", ".."))
		if err != nil {
			panic(err)
		}
		return dir
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// build makes bin/holdfast once per test binary. The toolchain leaves an
// up-to-date program alone, so that this costs little after `make build` and
// still never tests an old one.
var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HOLDFAST_BIN"); path != "" {
		return path, nil
	}
	cmd := exec.CommandContext(context.Background(), "make", "build")
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return filepath.Join(Root(), "bin", "holdfast"), nil
})

// Holdfast is the path of the program under test: $HOLDFAST_BIN, else
// bin/holdfast, built if it is out of date.
func Holdfast(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// Envoy is the path of the Envoy to test with: $HOLDFAST_ENVOY, else
// .tools/envoy. A test that needs it fails without it.
func Envoy(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv("HOLDFAST_ENVOY")
	if path == "" {
		path = filepath.Join(Root(), ".tools", "envoy")
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		tb.Fatalf("no Envoy at %s: run make envoy", path)
	}
	return path
}

// OldEnvoyVersion is the newest of those that do not know streamed immediate responses.
const OldEnvoyVersion = "1.36.4"

// OldEnvoy is the path of an Envoy that is too old for some of what Holdfast does.
func OldEnvoy(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(Root(), ".tools", "envoy-"+OldEnvoyVersion)
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		tb.Fatalf("no Envoy at %s: run make old-envoy", path)
	}
	return path
}

// Program is a process that a test started. Its output is kept and shown only
// if the test fails.
type Program struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone

	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// Start starts a program, in a directory of its own, that is killed, if need be,
// when the test ends.
func Start(tb testing.TB, name string, args ...string) *Program {
	tb.Helper()
	return StartIn(tb, tb.TempDir(), name, args...)
}

// StartIn is Start in a certain directory.
func StartIn(tb testing.TB, dir, name string, args ...string) *Program {
	tb.Helper()
	p := &Program{name: filepath.Base(name), cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "HOLDFAST_ENVOY="+Envoy(tb))
	p.cmd.Stdout = lockedWriter{&p.mu, &p.stdout}
	p.cmd.Stderr = lockedWriter{&p.mu, &p.stderr}
	// A grandchild that keeps the pipes open must not keep us waiting.
	p.cmd.WaitDelay = Patience
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code is in ProcessState
	}()
	tb.Cleanup(func() {
		p.Kill()
		<-p.done
		if strings.Contains(p.Stderr(), "WARNING: DATA RACE") { // built with -race, see the Makefile
			tb.Errorf("%s has a data race", p.name)
		}
		if tb.Failed() {
			tb.Logf("%s %s (%v)\nstdout:\n%s\nstderr:\n%s", p.name, strings.Join(args, " "),
				p.cmd.ProcessState, lastLines(p.Stdout(), 50), lastLines(p.Stderr(), 150))
		}
	})
	return p
}

// Pid is the process's id.
func (p *Program) Pid() int { return p.cmd.Process.Pid }

// Stdout is what the program has printed so far.
func (p *Program) Stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// Stderr is what the program has logged so far.
func (p *Program) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// Output is both.
func (p *Program) Output() string { return p.Stdout() + p.Stderr() }

// Exited says whether the process is gone.
func (p *Program) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal; a process that is gone already gets none.
func (p *Program) Signal(sig os.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(err)
	}
}

// Kill ends the process without giving it a chance to say goodbye.
func (p *Program) Kill() { p.Signal(syscall.SIGKILL) }

// Wait waits for the process's end and returns its exit code; -1 if a signal
// ended it.
func (p *Program) Wait(tb testing.TB) int {
	tb.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		tb.Fatalf("%s did not exit within %v", p.name, Patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// WantLine waits for a line of stdout that begins with prefix and returns the rest.
func (p *Program) WantLine(tb testing.TB, prefix string) string {
	tb.Helper()
	var rest string
	Eventually(tb, fmt.Sprintf("a line %q from %s", prefix, p.name), func() bool {
		if p.Exited() && !strings.Contains(p.Stdout(), prefix) {
			tb.Fatalf("%s ended (%v) without printing %q:\n%s", p.name, p.cmd.ProcessState, prefix, lastLines(p.Output(), 40))
		}
		for line := range lines(p.Stdout()) {
			if after, ok := strings.CutPrefix(line, prefix); ok {
				rest = strings.TrimSpace(after)
				return true
			}
		}
		return false
	})
	return rest
}

// Eventually polls until cond holds, and fails the test after Patience.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(Patience)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("waited %v in vain for %s", Patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// lines yields the finished lines of s: a process may be in the middle of one.
func lines(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for line := range strings.Lines(s) {
			whole, finished := strings.CutSuffix(line, "\n")
			if !finished || !yield(whole) {
				return
			}
		}
	}
}

func lastLines(s string, n int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) > n {
		all = append([]string{fmt.Sprintf("… %d lines before", len(all)-n)}, all[len(all)-n:]...)
	}
	return "  " + strings.Join(all, "\n  ")
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// RunHoldfast runs a command of the program to its end and returns its exit
// code and output.
func RunHoldfast(tb testing.TB, args ...string) (code int, stdout, stderr string) {
	tb.Helper()
	p := Start(tb, Holdfast(tb), args...)
	code = p.Wait(tb)
	return code, p.Stdout(), p.Stderr()
}

// scanJSONLines yields the lines of s that look like JSON objects.
func scanJSONLines(s string) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		sc := bufio.NewScanner(strings.NewReader(s))
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			if line := sc.Bytes(); len(line) > 0 && line[0] == '{' && !yield(line) {
				return
			}
		}
	}
}
