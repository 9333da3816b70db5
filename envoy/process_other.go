//go:build !linux

package envoy

import "syscall"

// procAttr gives Envoy a process group of its own, because Ctrl-C in a terminal
// goes to the whole foreground group, and Envoy would be gone before its streams
// are drained. It also is what the watchdog kills.
func procAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// guardChild kills the process group pid when we die, for this kernel has no
// signal for that.
func guardChild(pid int) (release func(), err error) { return watchdog(pid) }
