package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that runs, and has said where it can be reached.
type Process struct {
	Address string

	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	gone  chan struct{} // closed when its output has ended

	mu   sync.Mutex
	last []string // lines of output, for when something goes wrong
}

const (
	startPatience = 20 * time.Second
	stopPatience  = 10 * time.Second
	linesKept     = 20
)

// Command is a program to be run.
type Command struct {
	Name    string // for errors and tables
	Program string
	Args    []string
	Env     []string // beside our own environment
	// Find looks for the address in a line of output, on either stream; "" if
	// there is none.
	Find func(line string) (address string)
}

// Start runs a program until ctx ends, or Stop. It returns when the program has
// said where it can be reached. The program's input stays open for as long as it
// is to run, so that one that reads it does not outlive us.
func Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{name: c.Name, gone: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, c.Program, c.Args...)
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopPatience
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.cmd.Stdout // one pipe for both
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	found := make(chan string, 1)
	go p.read(out, func(line string) {
		if a := c.Find(line); a != "" {
			select {
			case found <- a:
			default: // said twice
			}
		}
	})
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	select {
	case p.Address = <-found:
		return p, nil
	case <-p.gone:
		err = errors.New("ended at once")
	case <-patience.C:
		err = fmt.Errorf("is not ready after %v", startPatience)
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.Stop()
	return nil, p.Blame(err)
}

// start starts the program such that the system ends it if we die without having
// done so.
func (p *Process) start() error {
	p.cmd.SysProcAttr = attributes()
	started := make(chan error)
	go func() {
		// "the "parent" in this case is considered to be the thread that created this
		// process", so that one has to live as long.
		// https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			<-p.gone
		}
	}()
	return <-started
}

// read keeps the pipe empty and the last lines at hand.
func (p *Process) read(out io.Reader, tell func(line string)) {
	defer close(p.gone)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		p.mu.Lock()
		if len(p.last) == linesKept {
			p.last = p.last[1:]
		}
		p.last = append(p.last, line)
		p.mu.Unlock()
		tell(line)
	}
}

// Blame adds what the process said last to an error.
func (p *Process) Blame(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf("%s: %w\n  %s", p.name, err, strings.Join(p.last, "\n  "))
}

// Stop ends the process as an operator would, in a while by force, and waits for
// its end.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.stdin.Close()
	late := time.AfterFunc(stopPatience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.gone
	_ = p.cmd.Wait() // a signal ended it, as it should
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Name is for whoever reads errors and tables.
func (p *Process) Name() string { return p.name }
