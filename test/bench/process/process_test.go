package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(script string) Command {
	return Command{Name: "the shell", Program: "/bin/sh", Args: []string{"-c", script}, Find: func(line string) string {
		address, ok := strings.CutPrefix(line, "at ")
		if !ok {
			return ""
		}
		return address
	}}
}

// A process is known by what it says, counts what it uses, and ends with its input.
func TestProcess(t *testing.T) {
	c := shell(`echo no; echo "at $NAME"; cat >/dev/null; true`)
	c.Env = []string{"NAME=home"}
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if p.Address != "home" {
		t.Errorf("address %q", p.Address)
	}
	if used, err := CPUTime(p.PID()); err != nil || used <= 0 {
		t.Errorf("CPU time %v, %v", used, err)
	}
	if bytes, err := Resident(p.PID()); err != nil || bytes < 4096 {
		t.Errorf("%d bytes resident, %v", bytes, err)
	}
	children, err := Children(p.PID())
	if err != nil || len(children) > 1 { // it may not have got to its child yet
		t.Errorf("children %v, %v", children, err)
	}
	if self, err := Program(os.Getpid()); err != nil || !strings.Contains(self, "process.test") {
		t.Errorf("we are %q, %v", self, err)
	}
}

func TestNoSuchProcess(t *testing.T) {
	const nobody = 1<<22 + 1 // beyond the kernel's largest
	for what, err := range map[string]error{
		"CPU time": second(CPUTime(nobody)),
		"memory":   second(Resident(nobody)),
		"program":  second(Program(nobody)),
	} {
		if err == nil {
			t.Errorf("%s of a process that does not exist", what)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What does not start says why.
func TestStartFails(t *testing.T) {
	if _, err := Start(t.Context(), Command{Name: "nobody", Program: "no-such-program"}); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	_, err := Start(t.Context(), shell("echo cannot go on >&2"))
	if err == nil || !strings.Contains(err.Error(), "the shell") || !strings.Contains(err.Error(), "cannot go on") {
		t.Errorf("the error does not say who and why: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, shell("echo at home; read line")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
