package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is one of the two processes that are compared.
type server struct {
	name    string
	filters bool // drops repeats; else it echoes
	address string

	cmd   *exec.Cmd
	stdin io.Closer
	gone  chan struct{} // closed when its output has ended

	mu   sync.Mutex
	last []string // lines of output, for when something goes wrong
}

const (
	startPatience = 20 * time.Second
	stopPatience  = 5 * time.Second
	linesKept     = 20
)

// holdfastConfig is everything at its default but what has to be known here:
// where it listens, that it is quiet, and which events it drops.
const holdfastConfig = `listen: 127.0.0.1:0
admin: ""
drain: {deadline: 1s, spread: 0s}
policies:
- name: bench
  dedup: always
`

func startHoldfast(ctx context.Context, binary, dir string, env []string) (*server, error) {
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w: run make build, or name a program with -holdfast", err)
	}
	file := filepath.Join(dir, "holdfast.yaml")
	if err := os.WriteFile(file, []byte(holdfastConfig), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "serve", "--config", file)
	cmd.Env = append(os.Environ(), env...)
	return start(ctx, "Holdfast", true, cmd, func(line string) string {
		var entry struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "serving ext_proc" {
			return ""
		}
		return entry.Address
	})
}

func startEcho(ctx context.Context, env []string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, echoCommand)
	cmd.Env = append(os.Environ(), env...)
	return start(ctx, "echo", false, cmd, func(line string) string {
		address, ok := strings.CutPrefix(line, echoReady)
		if !ok {
			return ""
		}
		return address
	})
}

// start waits until a line of output tells the address.
func start(ctx context.Context, name string, filters bool, cmd *exec.Cmd, address func(line string) string) (*server, error) {
	s := &server{name: name, filters: filters, cmd: cmd, gone: make(chan struct{})}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout // one pipe for both
	if s.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go s.read(out, func(line string) {
		if a := address(line); a != "" {
			select {
			case found <- a:
			default: // said twice
			}
		}
	})
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	select {
	case s.address = <-found:
		return s, nil
	case <-s.gone:
		err = errors.New("ended at once")
	case <-patience.C:
		err = fmt.Errorf("is not ready after %v", startPatience)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.stop()
	return nil, s.blame(err)
}

// read keeps the pipe empty and the last lines at hand. It tells of each line
// until the first that says where the server listens.
func (s *server) read(out io.Reader, tell func(line string)) {
	defer close(s.gone)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		s.mu.Lock()
		if len(s.last) == linesKept {
			s.last = s.last[1:]
		}
		s.last = append(s.last, line)
		s.mu.Unlock()
		tell(line)
	}
}

// blame adds what the server said last to an error.
func (s *server) blame(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("%s: %w\n  %s", s.name, err, strings.Join(s.last, "\n  "))
}

// stop ends the process and waits for its end. Its streams have ended before, or
// something went wrong and they do not matter.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.stdin.Close()
	late := time.AfterFunc(stopPatience, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	<-s.gone
	_ = s.cmd.Wait() // a signal ended it, as it should
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// of picks what a stream's script expects of this server.
func (s *server) of(x *script) *answer {
	if s.filters {
		return &x.filter
	}
	return &x.echo
}
