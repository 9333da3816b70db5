//go:build !race

package processor

import "testing"

// TestAllocationsPerSealedChunk is not for the race detector, under which a
// sync.Pool drops things at random: the ids are sealed in buffers of one.
func TestAllocationsPerSealedChunk(t *testing.T) {
	allocationsPerChunk(t, `- {name: p, dedup: always, ids: sealed}`)
}
