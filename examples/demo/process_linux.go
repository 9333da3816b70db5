package main

import "syscall"

// attributes keep a terminal's Ctrl-C from the programs, so that they are ended
// in order, and end them with us should we be killed. SIGTERM and not SIGKILL:
// holdfast has an Envoy to take with it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
