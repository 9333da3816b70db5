package envoy

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deaf is an admin interface that nobody serves.
func deaf(t *testing.T) *Admin {
	t.Helper()
	return NewAdmin(Address{Path: t.TempDir() + "/none.sock"})
}

func startScript(t *testing.T, body string) *Process {
	t.Helper()
	p, err := Start(StartOptions{Binary: script(t, t.TempDir(), "envoy", body), Config: "x.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestProcessTellsHowItEnded(t *testing.T) {
	var mu sync.Mutex
	var said []string
	p, err := Start(StartOptions{
		Binary: script(t, t.TempDir(), "envoy", `echo "$@"; i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; printf unfinished >&2; exit 3`),
		Config: "x.yaml",
		Args:   []string{"--more"},
		Line: func(line string) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, line)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	var exit *ExitError
	if !errors.As(p.Err(), &exit) {
		t.Fatalf("error %v", p.Err())
	}
	if exit.How != "exit status 3" {
		t.Errorf("ended by %q", exit.How)
	}
	if n := len(exit.Lines); n != shownLines || exit.Lines[n-2] != "line 30" || exit.Lines[n-1] != "unfinished" {
		t.Errorf("last lines: %q", exit.Lines)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "--config-path x.yaml --disable-hot-restart --more"; said[0] != want {
		t.Errorf("arguments %q, want %q", said[0], want)
	}
	if len(said) != 32 {
		t.Errorf("%d lines were handed on, want 32", len(said))
	}
}

func TestStartSaysWhyNot(t *testing.T) {
	_, err := Start(StartOptions{Binary: t.TempDir() + "/missing"})
	if err == nil || !strings.Contains(err.Error(), "cannot start Envoy") {
		t.Errorf("error %v", err)
	}
}

// An Envoy that does not hear its admin interface hears SIGTERM.
func TestStopBySignal(t *testing.T) {
	p := startScript(t, `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done`)
	p.Stop(t.Context(), deaf(t), 200*time.Millisecond)
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "bye") {
		t.Errorf("it ended with %v", err)
	}
}

// One that hears nothing is killed, and so is what it started: a program on the
// PATH may be a script around the real one.
func TestStopKillsTheGroup(t *testing.T) {
	p := startScript(t, `trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000`)
	var child int
	waitFor(t, "the child's number", func() bool {
		lines := p.out.lastWords()
		if len(lines) == 0 {
			return false
		}
		var err error
		child, err = strconv.Atoi(lines[0])
		return err == nil
	})
	p.Stop(t.Context(), deaf(t), 20*time.Millisecond)
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("it ended with %v", err)
	}
	waitFor(t, "the child's end", func() bool { return !running(child) })
}

func TestWaitReadyEndsWithTheProcess(t *testing.T) {
	p := startScript(t, `echo "bad configuration"; exit 1`)
	_, err := p.WaitReady(t.Context(), deaf(t), PublicListener)
	if err == nil || err.Error() != "Envoy ended (exit status 1). Its last lines:\n  bad configuration" {
		t.Errorf("error %v", err)
	}
}

// The watchdog works wherever there is a shell; it is what kills Envoy on
// systems without a death signal.
func TestWatchdog(t *testing.T) {
	victim := exec.Command("sleep", "1000")
	victim.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Process.Kill()

	release, err := watchdog(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if !running(victim.Process.Pid) {
		t.Fatal("a watchdog that was called off killed its charge")
	}

	// Its master is a process of its own here, which can be killed.
	master := exec.Command(os.Args[0], "-test.run=^TestWatchdogMaster$")
	master.Env = append(os.Environ(), "WATCHDOG_GROUP="+strconv.Itoa(victim.Process.Pid))
	out, err := master.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "guarding\n" {
		t.Fatalf("the master said %q (%v)", line, err)
	}
	master.Process.Kill()
	master.Wait()
	if err := victim.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("after its master's death the charge ended with %v", err)
	}
}

// TestWatchdogMaster is no test: it is the process that TestWatchdog kills.
func TestWatchdogMaster(*testing.T) {
	group, err := strconv.Atoi(os.Getenv("WATCHDOG_GROUP"))
	if err != nil {
		return
	}
	if _, err := watchdog(group); err != nil {
		panic(err)
	}
	os.Stdout.WriteString("guarding\n")
	select {}
}

func TestTail(t *testing.T) {
	var each []string
	w := newTail(2, func(line string) { each = append(each, line) })
	for _, piece := range []string{"a", "b\nc", "\r\n\nlong ", strings.Repeat("x", 2*maxLine), "\nend"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	w.flush()
	long := ("long " + strings.Repeat("x", maxLine))[:maxLine]
	if diff := cmp.Diff([]string{"ab", "c", "", long, "end"}, each); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{long[:shownWidth] + " …", "end"}, w.lastWords()); diff != "" {
		t.Error(diff)
	}
}

// What Envoy says about its end matters, and not what it said about its start.
func TestLastWordsBeginWithTheError(t *testing.T) {
	w := newTail(tailLines, nil)
	for i := range 2 * tailLines {
		fmt.Fprintf(w, "[2026-01-01 00:00:00.000][1][info][main] [a.cc:1] %d\n", i)
	}
	fmt.Fprintln(w, "[2026-01-01 00:00:00.000][1][critical][main] [a.cc:2] no such file")
	fmt.Fprintln(w, "[2026-01-01 00:00:00.000][1][info][main] [a.cc:3] exiting")
	got := w.lastWords()
	if len(got) != 2 || !strings.HasSuffix(got[0], "no such file") || !strings.HasSuffix(got[1], "exiting") {
		t.Errorf("last words: %q", got)
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// running says whether a process does anything; a zombie does not.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || !strings.Contains(string(stat), ") Z ")
}
