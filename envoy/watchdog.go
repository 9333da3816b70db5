package envoy

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// watchdog starts a shell that kills the process group when this process ends,
// in whatever way: it waits for the end of a pipe whose other end only we hold.
// release calls it off; it has to be called as soon as the group is gone, before
// its number can be given to somebody else.
func watchdog(group int) (release func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	defer r.Close()
	dog := exec.Command("/bin/sh", "-c", `read -r _; kill -s KILL -- "-$1"`, "watchdog", strconv.Itoa(group)) //nolint:noctx,gosec // it lives as long as the group, whose number is all it is told
	dog.Stdin = r
	// Its own group, or Ctrl-C would end it before us.
	dog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := dog.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	return func() {
		_ = dog.Process.Kill()
		_ = dog.Wait()
		w.Close()
	}, nil
}
