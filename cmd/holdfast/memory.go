package main

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
)

// cgroupLimit is where Linux tells a container how much memory it may use.
const cgroupLimit = "/sys/fs/cgroup/memory.max"

// limitMemory applies unless the user has set GOMEMLIMIT, the Go runtime's own
// variable. In a container the limit makes the collector work harder before the
// kernel kills us. GOGC stays what it is: 300 would save up to a tenth of the CPU
// of a busy stream, and cost a quarter more memory for each of the many that idle.
func limitMemory(getenv func(string) string) {
	if getenv("GOMEMLIMIT") == "" {
		if limit := containerMemory(cgroupLimit); limit > 0 {
			debug.SetMemoryLimit(limit / 10 * 9)
		}
	}
}

// containerMemory is in bytes; zero if there is no limit.
func containerMemory(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil { // "max"
		return 0
	}
	return n
}
