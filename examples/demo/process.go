package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program the demo started.
type process struct {
	name   string
	cmd    *exec.Cmd
	end    context.CancelFunc
	lines  chan string   // of its standard output; closed at its end
	exited chan struct{} // closed when it is gone and everything it said was read
	said   tail
}

// stopPatience is how long a program may take to end in order.
const stopPatience = 10 * time.Second

// startProcess starts a program that stop ends, and that the system ends if this
// process dies without having done so. It does not end with the demo's context:
// programs are stopped one after the other, holdfast before its origin.
func startProcess(name, path string, args ...string) (*process, error) {
	ctx, end := context.WithCancel(context.Background())
	p := &process{
		name:   name,
		cmd:    exec.CommandContext(ctx, path, args...), //nolint:gosec // G702: the user names the programs
		end:    end,
		lines:  make(chan string, 16),
		exited: make(chan struct{}),
	}
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = attributes()
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopPatience // and then it is killed
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			select {
			case p.lines <- in.Text():
			default: // nobody reads on once it has started
			}
		}
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	return p, nil
}

// stop ends the program and returns when it is gone.
func (p *process) stop() {
	p.end()
	<-p.exited
}

// kill ends the program without a chance to say goodbye.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	p.stop()
}

// await returns the rest of the first line of output that begins with prefix.
func (p *process) await(ctx context.Context, prefix string) (string, error) {
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				<-p.exited
				return "", p.died()
			}
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not start: %w%s", p.name, context.Cause(ctx), p.said.quote())
		}
	}
}

// died describes the end of a process that should have lived.
func (p *process) died() error {
	return fmt.Errorf("%s ended: %v%s", p.name, p.cmd.ProcessState, p.said.quote())
}

// tail keeps the end of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 2 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

// quote returns the text for the end of an error message.
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimSpace(t.text)
	if len(text) == 0 {
		return ""
	}
	return "; it said:\n  " + strings.ReplaceAll(string(text), "\n", "\n  ")
}
