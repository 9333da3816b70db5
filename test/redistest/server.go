// Package redistest starts Redis for tests: the real one, each test its own, in a
// directory of its own. There is no other for the store to be tested against.
package redistest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
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

	tb   testing.TB
	args []string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	output bytes.Buffer
}

// Start starts one, with what else its command line is to say, and ends it with the
// test. It keeps nothing on disk unless told to.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	Require(tb)
	// A socket's path may have a hundred bytes, and a test's name has them easily.
	dir, err := os.MkdirTemp("", "holdfast-redis-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{Dir: dir, Socket: filepath.Join(dir, "redis.sock"), Port: freePort(tb), tb: tb, args: args}
	s.Launch()
	tb.Cleanup(s.Kill)
	return s
}

// URL is the server's address, by its socket.
func (s *Server) URL() string { return "unix://" + s.Socket }

// Address is its host and port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Launch starts it, again if need be, and waits until it answers.
func (s *Server) Launch() {
	s.tb.Helper()
	args := append([]string{
		"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--unixsocket", s.Socket, "--dir", s.Dir,
		"--save", "", "--appendonly", "no", "--loglevel", "warning", "--daemonize", "no",
	}, s.args...)
	cmd := exec.CommandContext(context.Background(), Program(), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	exited := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	Eventually(s.tb, "Redis answers", func() bool {
		select {
		case <-exited:
			s.tb.Fatalf("redis-server ended:\n%s", s.output.String())
		default:
		}
		return s.answers()
	})
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
	_ = cmd.Process.Kill()
	<-exited
}

// Stall stops it as a debugger would: it keeps its connections, and does not answer.
func (s *Server) Stall() { s.signal(syscall.SIGSTOP) }

// Resume has it go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatal(err)
	}
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

func freePort(tb testing.TB) int {
	tb.Helper()
	var c net.ListenConfig
	lis, err := c.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer lis.Close()
	addr, _ := lis.Addr().(*net.TCPAddr)
	return addr.Port
}
