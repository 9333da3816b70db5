//go:build !linux

package process

import (
	"errors"
	"syscall"
	"time"
)

var errNotLinux = errors.New("what another process uses can only be read on Linux; run this in a container")

// CPUTime is for Linux only.
func CPUTime(int) (time.Duration, error) { return 0, errNotLinux }

// Resident is for Linux only.
func Resident(int) (int64, error) { return 0, errNotLinux }

// Children is for Linux only.
func Children(int) ([]int, error) { return nil, errNotLinux }

// Program is for Linux only.
func Program(int) (string, error) { return "", errNotLinux }

func attributes() *syscall.SysProcAttr { return nil }
