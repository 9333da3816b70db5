package envoy

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// StartOptions is how to run Envoy.
type StartOptions struct {
	Binary string            // path of the program
	Config string            // path of the configuration; .yaml or .json
	Args   []string          // more command line arguments
	Line   func(line string) // called with every line of output, in order; may be nil
}

// Process is a running Envoy. It dies with us: however this process ends, even by
// SIGKILL, the kernel or a watchdog kills Envoy.
type Process struct {
	cmd  *exec.Cmd
	out  *tail
	done chan struct{} // closed when the process is gone and its output read
	err  error         // how it ended, after done
}

// ExitError says that Envoy ended although nobody asked it to.
type ExitError struct {
	How   string   // "exit status 1", "signal: killed"
	Lines []string // the last it said
}

// Error has Envoy's last lines below the sentence.
func (e *ExitError) Error() string {
	if len(e.Lines) == 0 {
		return fmt.Sprintf("Envoy ended (%s) without a word", e.How)
	}
	return fmt.Sprintf("Envoy ended (%s). Its last lines:\n  %s", e.How, strings.Join(e.Lines, "\n  "))
}

// Start runs Envoy. It returns when the program runs, which is long before it
// serves: see WaitReady.
func Start(o StartOptions) (*Process, error) {
	args := append([]string{
		"--config-path", o.Config,
		// Hot restart means shared memory under a number that other Envoys of this
		// machine may use as well. There is only ever one of ours.
		"--disable-hot-restart",
	}, o.Args...)
	p := &Process{
		cmd:  exec.Command(o.Binary, args...), //nolint:noctx // it ends by Stop, in several steps
		out:  newTail(tailLines, o.Line),
		done: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// A child of Envoy that keeps the pipe open must not keep us from noticing the end.
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = procAttr()

	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start Envoy: %w", err)
	}
	return p, nil
}

// run lives as long as the child.
func (p *Process) run(started chan<- error) {
	// "the "parent" in this case is considered to be the thread that created this
	// process": the death signal is sent when that thread ends, so the thread has to
	// be ours until the child is gone. It is not unlocked, and ends with us.
	// https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
	runtime.LockOSThread()

	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	guard, err := guardChild(p.cmd.Process.Pid)
	if err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		started <- err
		return
	}
	started <- nil
	err = p.cmd.Wait()
	guard()
	p.out.flush()
	switch {
	case p.cmd.ProcessState != nil:
		p.err = &ExitError{How: p.cmd.ProcessState.String(), Lines: p.out.lastWords()}
	default:
		p.err = &ExitError{How: err.Error(), Lines: p.out.lastWords()}
	}
	close(p.done)
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when Envoy is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how Envoy ended, as an *ExitError; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Kill ends Envoy, and whatever it started, at once, and waits for the end.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// signal goes to the process group, which Envoy leads: a program on the PATH may
// be a script that runs the real one as its child.
func (p *Process) signal(sig syscall.Signal) {
	select {
	case <-p.done: // its number may already be somebody else's
	default:
		_ = syscall.Kill(-p.Pid(), sig)
	}
}

// Stop ends Envoy: it is asked on the admin interface, then by SIGTERM, then
// killed, each time after a share of grace. It returns when Envoy is gone.
func (p *Process) Stop(ctx context.Context, a *Admin, grace time.Duration) {
	steps := []func(){
		func() {
			ctx, cancel := context.WithTimeout(ctx, grace/4)
			defer cancel()
			_ = a.Quit(ctx) // if it does not hear us, it hears the signal
		},
		func() { p.signal(syscall.SIGTERM) },
	}
	for _, step := range steps {
		step()
		select {
		case <-p.done:
			return
		case <-ctx.Done():
		case <-time.After(grace / 2):
		}
	}
	p.Kill()
}

// WaitReady waits until a request to the listener would be served: Envoy is live,
// the listener is known, and a connection to it is accepted. It returns the
// address to connect to. If Envoy ends first, the error is an *ExitError.
func (p *Process) WaitReady(ctx context.Context, a *Admin, listenerName string) (Address, error) {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		if a.Live(ctx) {
			if at, err := a.ListenerAddress(ctx, listenerName); err == nil && accepts(ctx, at) {
				return at, nil
			}
		}
		select {
		case <-p.done:
			return Address{}, p.err
		case <-ctx.Done():
			return Address{}, fmt.Errorf("Envoy was not ready in time (%w). Its last lines:\n  %s", //nolint:staticcheck // Envoy is a name
				context.Cause(ctx), strings.Join(p.out.lastWords(), "\n  "))
		case <-poll.C:
		}
	}
}

// accepts connects as a client would. An address that means "all of them" is
// reached on this machine's own.
func accepts(ctx context.Context, at Address) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, at.Network(), at.Reachable().Dial())
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

const (
	// tailLines is how much of Envoy's talk is kept for its obituary, and shownLines
	// how much of that is printed where nothing in it is marked as an error.
	tailLines  = 100
	shownLines = 10
	// shownWidth cuts printed lines: Envoy lists its extensions in lines of kilobytes.
	shownWidth = 400
)

// tail is a writer that hands on every line and remembers the last ones.
type tail struct {
	each func(string)

	mu    sync.Mutex
	part  []byte // of a line not finished yet
	lines []string
	keep  int
}

// maxLine cuts lines that would otherwise grow without bound.
const maxLine = 4 << 10

func newTail(keep int, each func(string)) *tail { return &tail{keep: keep, each: each} }

// Write takes output in pieces of any size. It never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := cutLine(b)
		if room := maxLine - len(t.part); room > 0 {
			t.part = append(t.part, line[:min(len(line), room)]...)
		}
		if whole {
			t.emit()
		}
		b = rest
	}
	return n, nil
}

func cutLine(b []byte) (line, rest []byte, whole bool) {
	for i, c := range b {
		if c == '\n' {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}

func (t *tail) emit() {
	line := strings.TrimRight(string(t.part), "\r")
	t.part = t.part[:0]
	t.lines = append(t.lines, line)
	if len(t.lines) > t.keep {
		t.lines = append(t.lines[:0], t.lines[len(t.lines)-t.keep:]...)
	}
	if t.each != nil {
		t.each(line)
	}
}

// flush takes what was said without a line end as a line.
func (t *tail) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.part) > 0 {
		t.emit()
	}
}

// lastWords are the lines worth showing: from the first error on, else the last
// few.
func (t *tail) lastWords() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := max(0, len(t.lines)-shownLines)
	for i, line := range t.lines {
		if strings.Contains(line, "][error][") || strings.Contains(line, "][critical][") {
			from = max(i, len(t.lines)-2*shownLines)
			break
		}
	}
	var shown []string
	for _, line := range t.lines[from:] {
		if len(line) > shownWidth {
			line = strings.ToValidUTF8(line[:shownWidth], "") + " …"
		}
		shown = append(shown, line)
	}
	return shown
}
