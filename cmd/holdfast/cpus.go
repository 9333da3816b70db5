package main

import "runtime"

// shareCPUs leaves half of the CPUs to the Envoy beside us, rounded in our favour,
// unless the user has set GOMAXPROCS, the Go runtime's own variable. Envoy has a
// worker thread for each, and does the larger part of the work for every byte, so
// more is never ours. What it saves is the waking up: with a CPU to spare the
// runtime wakes another thread for every goroutine that has become ready, and an
// event makes several of them ready, one after the other. On two CPUs that is a
// seventh of what a paced event costs, Envoy included.
func shareCPUs(getenv func(string) string) {
	if getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(half(runtime.GOMAXPROCS(0)))
	}
}

func half(cpus int) int { return (cpus + 1) / 2 }
