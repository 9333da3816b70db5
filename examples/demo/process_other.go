//go:build !linux

package main

import "syscall"

// attributes keep a terminal's Ctrl-C from the programs, so that they are ended
// in order.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
