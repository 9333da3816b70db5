// Package redistest starts Redis for tests: the real one, each test its own, in a
// directory of its own. There is no other for the store to be tested against.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/test/quietport"
)

// Patience is how long something is waited for that should take milliseconds.
const Patience = 20 * time.Second

// Program is where redis-server is: $HOLDFAST_REDIS, or on the PATH; empty: nowhere.
func Program() string {
	if path := os.Getenv("HOLDFAST_REDIS"); path != "" {
		return path
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return ""
	}
	return path
}

// Require fails a test that needs Redis where there is none. Only who has said so,
// with HOLDFAST_REDIS=none, as `make test` does and tells, goes without.
func Require(tb testing.TB) string {
	tb.Helper()
	path := Program()
	switch path {
	case "none":
		tb.Skip("not run: there is no redis-server, and HOLDFAST_REDIS=none accepts that")
	case "":
		tb.Fatal("redis-server is not on the PATH: run `make redis`, name it by HOLDFAST_REDIS, " +
			"or set HOLDFAST_REDIS=none to do without these tests")
	}
	return path
}

// Server is a Redis that listens on a unix socket and on a port of the loopback
// interface.
type Server struct {
	Dir    string
	Socket string
	Port   int

	args []string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	output bytes.Buffer
}

// New starts one, with what else its command line is to say. It keeps nothing on
// disk unless told to. Close ends it.
func New(args ...string) (*Server, error) {
	return start(func(s *Server) []string {
		return append([]string{
			"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--unixsocket", s.Socket, "--dir", s.Dir,
			"--save", "", "--appendonly", "no", "--loglevel", "warning", "--daemonize", "no",
		}, args...)
	})
}

// start starts one whose command line depends on where it is.
func start(args func(*Server) []string) (*Server, error) {
	// A socket's path may have a hundred bytes, and a test's name has them easily.
	dir, err := os.MkdirTemp("", "holdfast-redis-")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, Socket: filepath.Join(dir, "redis.sock")}
	if s.Port, err = quietPort(); err == nil {
		s.args = args(s)
		err = s.Run()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// quietPort is one that stays a server's own while it is down.
func quietPort() (int, error) {
	address, err := quietport.Free(context.Background())
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// Start is New for a test, which ends the server with it.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	Require(tb)
	s, err := New(args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// URL is the server's address, by its socket.
func (s *Server) URL() string { return "unix://" + s.Socket }

// Address is its host and port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Launch is Run for a test.
func (s *Server) Launch(tb testing.TB) {
	tb.Helper()
	if err := s.Run(); err != nil {
		tb.Fatal(err)
	}
}

// Run starts it, again if need be, and waits until it answers.
func (s *Server) Run() error {
	cmd := exec.CommandContext(context.Background(), Program(), s.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); !s.answers(); <-tick.C {
		select {
		case <-exited:
			return fmt.Errorf("redis-server ended:\n%s", s.output.String())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("redis-server does not answer after %v", Patience)
		}
	}
	return nil
}

// answers says whether it takes commands; a refusal for want of a password is one.
func (s *Server) answers() bool {
	conn, err := net.DialTimeout("unix", s.Socket, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 8)
	n, err := conn.Read(answer)
	return err == nil && (bytes.HasPrefix(answer[:n], []byte("+PONG")) || bytes.HasPrefix(answer[:n], []byte("-NOAUTH")))
}

// Kill ends it at once, and waits for its end. What is not on disk is lost.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-exited
}

// Close ends it and removes its directory.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.Dir)
}

// Stall stops it as a debugger would: it keeps its connections, and does not answer.
func (s *Server) Stall() { s.signal(syscall.SIGSTOP) }

// Resume has it go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// signal sends one; a server that is gone gets none.
func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Signal(sig)
}

// Eventually waits until a condition holds.
func Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("waited %v for this: %s", Patience, what)
		}
	}
}
