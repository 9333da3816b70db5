package envoy

import "syscall"

// procAttr makes the kernel kill Envoy when we die. The runtime closes the gap
// between fork and that request: a child whose parent is already gone kills
// itself.
//
// Envoy gets a process group of its own, because Ctrl-C in a terminal goes to
// the whole foreground group, and Envoy would be gone before its streams are
// drained.
func procAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// guardChild has nothing left to do: the kernel does it.
func guardChild(int) (release func(), err error) { return func() {}, nil }
