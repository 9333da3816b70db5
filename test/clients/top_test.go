package clients

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"holdfast/processor/live"
	"holdfast/test/harness"
)

// terminal is a tmux with a program in it.
type terminal struct {
	t      *testing.T
	socket string
}

// inTerminal starts a command in a terminal of its own. Its shell says "gone", and
// with which code, when the command has ended.
func inTerminal(t *testing.T, width, height string, command ...string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("no tmux: install it (Debian, Ubuntu: apt-get install tmux)")
	}
	// The name of a socket must be short.
	dir, err := os.MkdirTemp("", "top") //nolint:usetesting // t.TempDir is too long
	if err != nil {
		t.Fatal(err)
	}
	tm := &terminal{t, filepath.Join(dir, "s")}
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", tm.socket, "kill-server").Run()
		_ = os.RemoveAll(dir)
	})
	shell := strings.Join(command, " ") + "; echo gone $?; exec cat"
	tm.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, shell)
	return tm
}

func (tm *terminal) tmux(args ...string) string {
	tm.t.Helper()
	cmd := exec.CommandContext(tm.t.Context(), "tmux", append([]string{"-S", tm.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		tm.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func (tm *terminal) screen() string { return tm.tmux("capture-pane", "-p") }

func (tm *terminal) press(keys ...string) {
	tm.t.Helper()
	tm.tmux(append([]string{"send-keys"}, keys...)...)
}

// until waits for a screen that is as wanted, and returns it.
func (tm *terminal) until(what string, ok func(screen string) bool) string {
	tm.t.Helper()
	last := ""
	defer func() {
		if tm.t.Failed() {
			tm.t.Logf("the screen was:\n%s", last)
		}
	}()
	harness.Eventually(tm.t, what, func() bool {
		last = tm.screen()
		return ok(last)
	})
	return last
}

func (tm *terminal) shows(texts ...string) string {
	tm.t.Helper()
	return tm.until(strings.Join(texts, ", ")+" on the screen", func(s string) bool {
		for _, text := range texts {
			if !strings.Contains(s, text) {
				return false
			}
		}
		return true
	})
}

// TestTop: the table in a terminal, its keys, another size, a server that goes
// away, and a terminal that is afterwards as it was.
func TestTop(t *testing.T) {
	t.Parallel()
	w := busyDay(t)
	at := strings.TrimPrefix(w.url, "http://")
	tm := inTerminal(t, "150", "24", harness.Holdfast(t), "top", "--admin", at)
	s := tm.shows("holdfast v1.2.3", "ready", "240 streams (hold", "out of use: 10.4.0.12:8443", "4 being resumed", "AGE▼", " 1-18 of 240, running, by started")
	if lines := strings.Split(strings.TrimRight(s, "\n"), "\n"); len(lines) != 24 || !strings.Contains(lines[5], "GET /v1/feeds/240/events") {
		t.Errorf("%d lines:\n%s", len(lines), s)
	}

	// It is live.
	w.streams.Remove(240)
	fresh := w.add(240, nil)
	fresh.change(func(s *live.Stream) { s.Events = 777_777 })
	tm.shows("778k")

	tm.press("n")
	tm.shows(" 19-36 of 240, running")
	tm.press(">", ">")
	tm.shows("EVENTS▼", " 1-18 of 240, running, by events")
	tm.press("f")
	tm.shows("1-4 of 4, resuming")
	tm.press("f", "f")
	tm.shows("ended badly, by ended", "cut", "gap", "1-2 of 2")
	tm.press("f", "/")
	tm.shows("find: _")
	tm.press("chat/comp")
	tm.shows("find: chat/comp_", "POST /v1/chat/completions")
	tm.press("Enter")
	tm.shows("all, by started with chat/comp", "1-10 of 10")
	tm.press("Escape")
	tm.shows(" of 245, all, by started  ")

	// Another size, in both directions.
	tm.tmux("resize-window", "-x", "70", "-y", "12")
	s = tm.shows(" 1-6 of 245", "REQUEST")
	if strings.Contains(s, "POLICY") {
		t.Errorf("at 70 columns:\n%s", s)
	}
	tm.tmux("resize-window", "-x", "170", "-y", "30")
	tm.shows(" 1-24 of 245", "POLICY", "CURSOR")

	tm.press("Space")
	tm.shows("paused")
	fresh.change(func(s *live.Stream) { s.Events = 888_888 })
	tm.press("Space")
	tm.until("the pause to be over", func(s string) bool { return strings.Contains(s, "889k") && !strings.Contains(s, "paused") })

	w.stop()
	tm.shows("no connection since", "connection")
	tm.press("q")
	s = tm.shows("gone 0")
	if strings.Contains(s, "REQUEST") {
		t.Errorf("the table is still there:\n%s", s)
	}
	if flags := tm.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}"); strings.TrimSpace(flags) != "0 1" {
		t.Errorf("alternate screen and cursor are %s", flags)
	}
}

// TestTopEnds: by Ctrl-C and by a signal, with the terminal as it was.
func TestTopEnds(t *testing.T) {
	t.Parallel()
	w := busyDay(t)
	at := strings.TrimPrefix(w.url, "http://")
	tm := inTerminal(t, "100", "20", harness.Holdfast(t), "top", "--admin", at)
	tm.shows("240 streams")
	tm.press("C-c")
	tm.shows("gone 0")

	pidFile := filepath.Join(t.TempDir(), "pid")
	tm = inTerminal(t, "100", "20", "sh -c 'echo $$ > "+pidFile+"; exec "+harness.Holdfast(t)+" top --admin "+at+"'")
	tm.shows("240 streams")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	tm.shows("gone 0")
}

// TestTopIsQuiet: nothing is sent to a terminal on which nothing changes but the
// clock and the ages, but those.
func TestTopIsQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := 1; n <= 10; n++ {
		w.add(n, nil)
	}
	log := filepath.Join(t.TempDir(), "sent")
	tm := inTerminal(t, "120", "20", harness.Holdfast(t), "top", "--admin", strings.TrimPrefix(w.url, "http://"))
	tm.shows("10 streams")
	tm.tmux("pipe-pane", "-o", "exec cat > "+log)
	var sent []byte
	harness.Eventually(t, "three seconds of the table", func() bool {
		sent, _ = os.ReadFile(log)
		return bytes.Count(sent, []byte("\x1b[?2026h")) >= 3
	})
	if bytes.Contains(sent, []byte("\x1b[2J")) {
		t.Error("the screen is cleared")
	}
	if bytes.Contains(sent, []byte("REQUEST")) || bytes.Contains(sent, []byte("nothing is wrong")) {
		t.Errorf("lines are sent that have not changed: %q", sent)
	}
	tm.press("q")
	tm.shows("gone 0")
}
