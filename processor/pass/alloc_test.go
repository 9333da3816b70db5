//go:build !race

package pass

import "testing"

// TestAllocations: the verifying side pays for each request that is held. Not
// under the race detector, for there a sync.Pool drops things at random.
func TestAllocations(t *testing.T) {
	s := newSigner(t, Options{}, keyA)
	tokens := make([]string, 0, 300)
	for range cap(tokens) {
		tokens = append(tokens, sign(t, s, start, Ticket, feed))
	}
	i := 0
	got := testing.AllocsPerRun(len(tokens)-1, func() {
		if _, err := s.Verify(start, Ticket, tokens[i], feed); err != nil {
			t.Fatal(err)
		}
		i++
	})
	if got > 2 { // the policy's name, and now and then a bigger set of nonces
		t.Errorf("Verify allocates %v times", got)
	}
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Sign(start, Ticket, feed) }); got > 2 {
		t.Errorf("Sign allocates %v times", got)
	}
}
