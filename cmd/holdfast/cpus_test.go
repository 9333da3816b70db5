package main

import (
	"runtime"
	"testing"
)

func TestShareCPUs(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)

	shareCPUs(func(name string) string { return map[string]string{"GOMAXPROCS": "1"}[name] })
	if now := runtime.GOMAXPROCS(0); now != before {
		t.Errorf("%d CPUs although the user has chosen %d", now, before)
	}
	for had, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 2, 16: 8} {
		runtime.GOMAXPROCS(had)
		shareCPUs(func(string) string { return "" })
		if now := runtime.GOMAXPROCS(0); now != want {
			t.Errorf("of %d CPUs we take %d, want %d", had, now, want)
		}
	}
}
