package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

// stream is events from..to of one, as bytes.
func stream(name string, from, to int) string {
	var b []byte
	for n := from; n <= to; n++ {
		b = appendEvent(b, name, n)
	}
	return string(b)
}

// TestFaultsAreFound: a check that nothing can fail would find nothing.
func TestFaultsAreFound(t *testing.T) {
	whole := stream("s", 1, 6)
	for _, test := range []struct {
		name, got string
		why       string // the stream ended
		want      score
	}{
		{"all", whole, "", score{streams: 1, whole: 1, events: 6}},
		{"heartbeats", strings.Replace(whole, "\n\n", "\n\n:\n\n", 2), "", score{streams: 1, whole: 1, events: 6}},
		{"one missing", stream("s", 1, 2) + stream("s", 4, 6), "", score{streams: 1, events: 5, lost: 1}},
		{"the end missing", stream("s", 1, 4), "unexpected EOF", score{streams: 1, events: 4, lost: 2, breaks: 1}},
		{"half an event", strings.TrimSuffix(whole, "\n"), "unexpected EOF", score{streams: 1, events: 5, lost: 1, breaks: 1}},
		{"one again", stream("s", 1, 3) + stream("s", 3, 6), "", score{streams: 1, events: 6, repeated: 1}},
		{"all again", whole + whole, "", score{streams: 1, events: 6, repeated: 6}},
		{
			"in the wrong order", stream("s", 1, 2) + stream("s", 4, 4) + stream("s", 3, 3) + stream("s", 5, 6), "",
			score{streams: 1, events: 5, lost: 1, repeated: 1},
		},
		{"somebody else's", stream("s", 1, 3) + stream("t", 4, 4) + stream("s", 4, 6), "", score{streams: 1, events: 6, altered: 1}},
		{
			"two halves in one", stream("s", 1, 3) + strings.TrimSuffix(stream("s", 4, 4), "\n") + stream("s", 5, 6), "",
			score{streams: 1, events: 4, lost: 2, altered: 1},
		},
		{"broken off for good", whole, "a reset", score{streams: 1, whole: 1, events: 6, breaks: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for cut := range test.got {
				c := newComparer("s", 6)
				c.took([]byte(test.got[:cut]))
				c.took([]byte(test.got[cut:]))
				tl := newTally(1)
				tl.opened("relay")
				tl.finished("relay", "s", c, test.why)
				tl.died()
				if got := *tl.scores["relay"]; got != test.want {
					t.Fatalf("cut at %d: %+v, want %+v", cut, got, test.want)
				}
				if clean := test.want == (score{streams: 1, whole: 1, events: 6}); tl.clean() != clean {
					t.Errorf("clean is %t", !clean)
				}
			}
		})
	}
	tl := newTally(0)
	if tl.refusal("relay") {
		t.Error("a 503 is excused although no origin may die")
	}
	tl.untime()
	if tl.opened("relay"); !tl.refusal("relay") || tl.scores["relay"].streams != 0 {
		t.Error("a 503 from a dead origin counts as a stream")
	}
	if newTally(0).clean() {
		t.Error("without a stream nothing is proven")
	}
}

// TestSealedIDsAreOpened: an event with an id of ours is the origin's but for that.
func TestSealedIDsAreOpened(t *testing.T) {
	sealed := strings.NewReplacer("id: 1\n", "id: AAAA\n", "id: 2\n", "id: BBBB\n", "id: 3\n", "id: CCCC\n")
	c := newComparer("s", 3)
	c.sealed = true
	c.took([]byte(sealed.Replace(stream("s", 1, 2))))
	if c.next != 3 || c.lastID != "BBBB" || len(c.words) > 0 {
		t.Errorf("next is %d, the last id %q; %v", c.next, c.lastID, c.words)
	}
	c.took([]byte(sealed.Replace(strings.Replace(stream("s", 3, 3), "x", "y", 1))))
	c.took([]byte(sealed.Replace(stream("s", 2, 2))))
	if c.altered+c.repeated == 0 || c.lastID != "BBBB" {
		t.Errorf("%d altered, %d repeated, the last id %q", c.altered, c.repeated, c.lastID)
	}
}

// TestLatency: a break is told before the next event arrives, or after.
func TestLatency(t *testing.T) {
	at := time.Unix(100, 0)
	tl := newTally(10)
	for n := range 3 {
		tl.took("s", at.Add(time.Duration(n)*time.Second))
	}
	tl.broke(byFIN, "s", 0, 1, at.Add(900*time.Millisecond)) // event 2 came 100 ms later
	tl.broke(byRST, "s", 1, 3, at.Add(2500*time.Millisecond))
	tl.broke(byRST, "s", 3, 3, at) // brought nothing
	tl.took("s", at.Add(2750*time.Millisecond))
	tl.untime()
	tl.broke(byEnd, "s", 3, 4, at)
	tl.took("s", at.Add(time.Hour))
	if got := tl.latency; len(got) != 2 || got[byFIN][0] != 100*time.Millisecond || got[byRST][0] != 250*time.Millisecond {
		t.Errorf("measured %v", got)
	}
	if tl.total != 4 {
		t.Errorf("%d kills counted, want 4", tl.total)
	}
	select {
	case <-tl.reached(4):
	default:
		t.Error("4 kills are not reached")
	}
}

func TestHistogram(t *testing.T) {
	h := histogram{bounds: []float64{0.001, 0.002, 0.01, math.Inf(1)}, counts: []uint64{50, 98, 99, 100}}
	if got, want := h.String(), "p50 ≤ 1ms, p99 ≤ 10ms, p99.9 > 10ms (100 measured)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (histogram{}).String(); got != "none" {
		t.Errorf("nothing measured is %q", got)
	}
}
