package main

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestEchoOfSignal: timeout(1), and wrappers under a terminal's Ctrl-C, pass on
// one signal twice within a moment. That is one wish to stop, not two.
func TestEchoOfSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := make(chan os.Signal, 2)
		s, forget := watchStop(c)
		defer forget()
		send := func(sig os.Signal) { c <- sig; synctest.Wait() }

		send(syscall.SIGTERM)
		if s.ctx.Err() == nil {
			t.Fatal("the first signal does not stop")
		}
		time.Sleep(echo - time.Millisecond)
		send(syscall.SIGTERM)
		send(syscall.SIGCONT)
		if s.second.Err() != nil {
			t.Errorf("a signal %v after the first counts as a second one", echo-time.Millisecond)
		}
		time.Sleep(time.Millisecond)
		send(syscall.SIGINT)
		if s.second.Err() == nil {
			t.Errorf("a signal %v after the first does not count as a second one", echo)
		}
		if got := s.first(); got != syscall.SIGTERM {
			t.Errorf("first signal %v, want %v", got, syscall.SIGTERM)
		}
	})
}
