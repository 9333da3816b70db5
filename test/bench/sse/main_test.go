package main

import (
	"strings"
	"testing"
)

// TestReport runs every contestant once: that they agree on the streams is
// checked on the way. Ratios of a single pass mean nothing.
func TestReport(t *testing.T) {
	var table strings.Builder
	if _, err := report(&table, 1, 0); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(table.String(), "\n"), 2+2*len(shapes)+1; got != want {
		t.Errorf("%d lines, want %d:\n%s", got, want, &table)
	}
}
