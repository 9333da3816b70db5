package splice

import (
	"testing"

	"holdfast/processor/sse"
)

func TestMatcher(t *testing.T) {
	failed, text := "error", "oops"
	m := NewMatcher([]Completion{{Event: &failed}, {Data: &text}, {}})
	for in, want := range map[string]bool{
		"event: error\ndata: x\n\n": true,
		"data: oops\n\n":            true,
		"data: x\n\n":               false,
		"event: error\n\n":          false, // no event at all
	} {
		s := sse.NewScanner(1 << 10)
		s.Feed([]byte(in))
		ev, ok := s.Next()
		if !ok || m.Matches(&ev) != want || m.Matches(&ev) != want {
			t.Errorf("%q: want %v, twice", in, want)
		}
	}
}
