package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"holdfast/test/harness"
)

// now ends streams without spreading them out: with one client there is no herd.
const now = "drain: {spread: 0s, deadline: 20s}\n"

// process is a line of the system's process table.
type process struct {
	pid, parent, group int
	args               string
}

func processes(t *testing.T) []process {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,args=").Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	var ps []process
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 5 || strings.HasPrefix(f[3], "Z") { // a zombie does nothing any more
			continue
		}
		p := process{args: strings.Join(f[4:], " ")}
		for i, n := range []*int{&p.pid, &p.parent, &p.group} {
			*n, _ = strconv.Atoi(f[i])
		}
		ps = append(ps, p)
	}
	return ps
}

// envoyOf is the Envoy that a holdfast has started.
func envoyOf(t *testing.T, p *harness.Program) process {
	t.Helper()
	for _, c := range processes(t) {
		if c.parent == p.Pid() && strings.Contains(c.args, "--config-path") {
			return c
		}
	}
	t.Fatal("holdfast has no Envoy")
	return process{}
}

func wantGone(t *testing.T, pid int) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("process %d to be gone", pid), func() bool {
		for _, p := range processes(t) {
			if p.pid == pid {
				return false
			}
		}
		return true
	})
}

// start runs holdfast with any arguments; unlike harness.Run it expects nothing.
func start(t *testing.T, args ...string) *harness.Program {
	t.Helper()
	return harness.Start(t, harness.Holdfast(t), args...)
}

func refused(url string) bool {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err == nil {
		conn.Close()
	}
	return err != nil
}

// TestRunPrintsOnlyReady: standard output is for scripts.
func TestRunPrintsOnlyReady(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	p := start(t, "run", "--upstream", origin.URL, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	url := p.WantLine(t, "ready ")
	client := harness.NewClient(t, harness.H1)
	path := origin.Body("", events(1, 3))
	// Served at once, not after a while.
	harness.Open(t, client, harness.Request{}.For(t, url+path)).WantBody(t, events(1, 3))

	admin, ok := p.WantLog(t, map[string]string{"msg": "admin is up"})["address"].(string)
	if !ok || strings.HasSuffix(admin, ":0") {
		t.Fatalf("admin is at %q", admin)
	}
	if code, body := harness.Fetch(t, client, admin+"/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d %s", code, body)
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if want := "ready " + url + "\n"; p.Stdout() != want {
		t.Errorf("standard output is %q, want %q", p.Stdout(), want)
	}
}

func TestRunSideBySide(t *testing.T) {
	t.Parallel()
	a, b := harness.NewOrigin(t), harness.NewOrigin(t)
	pathA, pathB := a.Body("/a", events(1, 2)), b.Body("/b", events(5, 6))
	first, second := harness.Run(t, a.URL, now), harness.Run(t, b.URL, now)
	first.Get(t, pathA).WantBody(t, events(1, 2))
	second.Get(t, pathB).WantBody(t, events(5, 6))
	first.Stop(t)
	second.Get(t, pathB).WantBody(t, events(5, 6))
}

// TestTermEndsBetweenEvents: a stream between two events ends at once, one in the
// middle of an event when that is whole. Either way the client sees whole events
// and a clean end.
func TestTermEndsBetweenEvents(t *testing.T) {
	t.Parallel()
	for _, protocol := range []harness.Protocol{harness.H1, harness.H2} {
		t.Run(string(protocol), func(t *testing.T) {
			t.Parallel()
			origin := harness.NewOrigin(t)
			gw := harness.Run(t, origin.URL, now)
			open := func(first string) (*harness.Stream, *harness.Exchange) {
				path := origin.Path("")
				s := gw.Open(t, path, harness.Request{Protocol: protocol})
				x := origin.Accept(t, path)
				x.Stream()
				x.Send(first)
				s.Want(t, events(1, 2))
				return s, x
			}
			between, _ := open(events(1, 2))
			within, x := open(events(1, 2) + "id: 3\ndata: ev")
			gw.Signal(syscall.SIGTERM)
			wantSentAway := func(s *harness.Stream, want string) {
				body, err := s.All(t)
				if got, hint := sentAway(body); got != want || hint == "" || err != nil {
					t.Errorf("the client got %q, %v", body, err)
				}
			}
			wantSentAway(between, events(1, 2))
			x.Send("ent 3\n\n")
			wantSentAway(within, events(1, 3))
			if code := gw.Wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestTermLetsPostsFinish: a POST's stream cannot be taken up again, so it has
// until the deadline; so has a download. Nobody new comes in meanwhile.
func TestTermLetsPostsFinish(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, now)
	path, file := origin.Path(""), origin.Path("")
	post := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
	px := origin.Accept(t, path)
	px.Stream()
	px.Send(events(1, 1))
	post.Want(t, events(1, 1))
	download := gw.Get(t, file)
	dx := origin.Accept(t, file)
	dx.Answer(http.StatusOK, "content-type", "application/octet-stream")
	dx.Send("first half, ")
	download.Want(t, "first half, ")

	gw.Signal(syscall.SIGTERM)
	harness.Eventually(t, "new connections to be refused", func() bool { return refused(gw.URL) })
	px.Send(events(2, 2))
	post.Want(t, events(2, 2))
	px.End()
	post.WantEnd(t)
	dx.Send("second half")
	dx.End()
	download.Want(t, "second half")
	download.WantEnd(t)
	if code := gw.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestDeadlineEndsTheDrain: a POST that never ends does not keep the process.
func TestDeadlineEndsTheDrain(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "drain: {spread: 0s, deadline: 300ms}\n")
	path := origin.Path("")
	s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 1))
	s.Want(t, events(1, 1))
	gw.Signal(syscall.SIGTERM)
	if code := gw.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "drain: {spread: 0s, deadline: 1h}\n")
	envoy := envoyOf(t, gw.Program)
	path := origin.Path("")
	s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 1))
	s.Want(t, events(1, 1))
	gw.Signal(syscall.SIGINT)
	gw.WantLog(t, map[string]string{"msg": "stopping"})
	// One that comes too soon is taken for an echo of the first.
	harness.Eventually(t, "end at another signal", func() bool {
		gw.Signal(syscall.SIGINT)
		return gw.Exited()
	})
	if code := gw.Wait(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if want := "holdfast: stopped at once by a second signal"; !strings.Contains(gw.Stderr(), want) {
		t.Errorf("standard error does not say %q", want)
	}
	wantGone(t, envoy.pid)
}

// TestNoOrphan: SIGKILL gives holdfast no chance to clean up. Its Envoy dies all
// the same, and the next run removes what it left.
func TestNoOrphan(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, now)
	envoy := envoyOf(t, gw.Program)
	if envoy.group != envoy.pid {
		t.Error("Envoy is in holdfast's process group: Ctrl-C in a terminal would kill it before the drain")
	}
	path := origin.Path("")
	s := gw.Get(t, path)
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 1))
	s.Want(t, events(1, 1))

	living := harness.Run(t, origin.URL, now)
	gw.Kill()
	gw.Wait(t)
	wantGone(t, envoy.pid)
	harness.Eventually(t, "its port to be free", func() bool { return refused(gw.URL) })
	if left := privateDirs(t, temp); len(left) != 2 {
		t.Fatalf("private directories: %q, want that of the dead and that of the living", left)
	}

	next := harness.Run(t, origin.URL, now)
	if left := privateDirs(t, temp); len(left) != 2 {
		t.Errorf("private directories: %q, want those of the two living", left)
	}
	living.Get(t, origin.Body("", events(1, 1))).WantBody(t, events(1, 1))
	living.Stop(t)
	next.Stop(t)
	if left := privateDirs(t, temp); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func privateDirs(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "holdfast-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestLongTempDir: a unix socket's path has 108 bytes at most.
func TestLongTempDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, now)
	gw.Get(t, origin.Body("", events(1, 1))).WantBody(t, events(1, 1))
}

func TestEnvoyDies(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	p := start(t, "run", "--upstream", origin.URL, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	p.WantLine(t, "ready ")
	if err := syscall.Kill(envoyOf(t, p).pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{"holdfast: Envoy ended (signal: killed). Its last lines:\n", "starting main dispatch loop"} {
		if !strings.Contains(p.Stderr(), want) {
			t.Errorf("standard error does not say %q", want)
		}
	}
}

// TestRunSaysWhyNot: each mistake costs one line that says what to do.
func TestRunSaysWhyNot(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the parallel subtests
	at := taken.Addr().String()
	noEnvoy := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{
			"listen taken",
			[]string{"--upstream", "http://127.0.0.1:1", "--listen", at, "--admin", "127.0.0.1:0"},
			1,
			"cannot listen at " + at + " (--listen): the address is in use",
		},
		{
			"admin taken",
			[]string{"--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", at},
			1,
			"cannot listen at " + at + " (admin): the address is in use",
		},
		{
			"no Envoy",
			[]string{"--upstream", "http://127.0.0.1:1", "--envoy", noEnvoy},
			1,
			"--envoy names " + noEnvoy + ": there is no such file; run \"make envoy\"",
		},
		{"not Envoy", []string{"--upstream", "http://127.0.0.1:1", "--envoy", "/bin/true"}, 1, "/bin/true is not Envoy"},
		{"bad upstream", []string{"--upstream", "localhost:3000"}, 2, "no scheme; write http://"},
		{"mixed upstreams", []string{"--upstream", "http://127.0.0.1:1", "--upstream", "https://127.0.0.1:2", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, 2, "differ in scheme"},
		{"loop", []string{"--upstream", "http://127.0.0.1:8080"}, 2, "requests would go round in circles"},
		{"bad configuration", []string{"--upstream", "http://127.0.0.1:1", "--config", harness.WriteFile(t, "bad.yaml", "policies:\n- mode: no-such\n")}, 2, "bad.yaml:2:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := harness.RunHoldfast(t, append([]string{"run"}, c.args...)...)
			if code != c.code || stdout != "" || !strings.Contains(stderr, c.says) || !strings.Contains(stderr, "holdfast: ") {
				t.Errorf("exit code %d, want %d; standard error does not say %q:\n%s", code, c.code, c.says, stderr)
			}
		})
	}
}

// TestAccessLogHasMetadata: the contract names what is in it.
func TestAccessLogHasMetadata(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "access.log")
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, now, "--access-log", file)
	path := origin.Body("", events(1, 3))
	gw.Open(t, path+"?secret=1", harness.Request{Method: http.MethodPost}).WantBody(t, events(1, 3))
	gw.Get(t, path+"?secret=1").WantBody(t, events(1, 3))
	gw.Stop(t) // which makes Envoy write what it has
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"path":"` + path + `"`, `"outcome":"complete"`, `"events":3`, `"policy":"default"`, `"mode":"inline"`, `"mode":"hold"`} {
		if !bytes.Contains(log, []byte(want)) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	if bytes.Contains(log, []byte("secret")) {
		t.Errorf("the query is logged: %s", log)
	}
}
