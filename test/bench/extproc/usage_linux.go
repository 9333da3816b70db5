package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time that a process has used, user and system, in all its
// threads. The clock of a process has nanoseconds where /proc/PID/stat counts
// ticks of 10 ms.
// https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
func cpuTime(pid int) (time.Duration, error) {
	// The kernel's encoding (posix-timers.h): the complement of the process id
	// above three bits, of which 2 is CPUCLOCK_SCHED.
	const sched = 2
	var now unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &now); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(now.Nano()), nil
}

// residentSet is the memory of a process that is in RAM, in bytes.
// https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
func residentSet(pid int) (int64, error) {
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
