package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is the CPU time that a process has used, user and system, in all its
// threads. The clock of a process has nanoseconds where /proc/PID/stat counts
// ticks of 10 ms.
// https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
func CPUTime(pid int) (time.Duration, error) {
	// The kernel's encoding (posix-timers.h): the complement of the process id
	// above three bits, of which 2 is CPUCLOCK_SCHED.
	const sched = 2
	var now unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &now); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(now.Nano()), nil
}

// Resident is the memory of a process that is in RAM, in bytes.
// https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
func Resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return resident * int64(os.Getpagesize()), nil
}

// Children are the processes that pid has started and that run still, by their
// ids in ascending order.
func Children(pid int) ([]int, error) {
	// One file for each thread, because any thread may start a process.
	// https://man7.org/linux/man-pages/man5/proc_tid_children.5.html
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var children []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return nil, err
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list, err)
			}
			children = append(children, child)
		}
	}
	slices.Sort(children)
	return children, nil
}

// Program is the path of the program that a process runs.
func Program(pid int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) }

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
