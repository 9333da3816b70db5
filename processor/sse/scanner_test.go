package sse_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSeedsInEveryCut(t *testing.T) {
	for _, s := range seeds {
		whole := everyCut(t, 0, []byte(s))
		if d := cmp.Diff(oracle([]byte(s)), whole.client(t)); d != "" {
			t.Errorf("%q (-standard +scanner):\n%s", s, d)
		}
		for _, limit := range []int{1, 9, 12, 16, 20, 33} {
			everyCut(t, limit, []byte(s))
		}
	}
}
