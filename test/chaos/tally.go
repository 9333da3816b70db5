package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// place is an event of a stream.
type place struct {
	stream string
	event  int
}

// pending is a break whose stream has not gone on yet.
type pending struct {
	how breakage
	at  time.Time
}

// tally counts what all streams did.
type tally struct {
	want int

	mu       sync.Mutex
	kills    map[breakage]int
	total    int
	streams  int
	whole    int // streams that the client has from first to last event
	lost     int
	repeated int // or otherwise not what had to come next
	breaks   int // streams after which a client would have had to connect again
	events   int

	// when tells the time of each break behind this event, until the next has
	// arrived.
	when    map[place]pending
	latency map[breakage][]time.Duration
	words   []string // about what went wrong
}

// killed counts a break after which event after of a stream is the next to come.
// Only breaks of responses that had brought something are timed: behind the
// others there is a pause on purpose.
func (t *tally) killed(how breakage, stream string, first, last int, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kills[how]++
	t.total++
	if stream == "" {
		// A process died; what comes back late, comes back late for that.
		clear(t.when)
		return
	}
	p := place{stream, last + 1}
	if last > first {
		t.when[p] = pending{how, at}
	} else {
		delete(t.when, p)
	}
}

func (t *tally) more() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total < t.want
}

func (t *tally) opened() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams++
}

func (t *tally) arrived(stream string, n int, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events++
	p := place{stream, n}
	if broke, ok := t.when[p]; ok {
		t.latency[broke.how] = append(t.latency[broke.how], at.Sub(broke.at))
		delete(t.when, p)
	}
}

func (t *tally) strange(stream string, n int, got string) {
	t.say("%s: instead of event %d the client got %q", stream, n, got)
}

// broken counts a stream that ended, with what the client has, other than it
// should.
func (t *tally) broken(stream string, has int, why string) {
	t.mu.Lock()
	t.breaks++
	t.mu.Unlock()
	t.say("%s: ended behind event %d: %s", stream, has, why)
}

func (t *tally) finished(lost, repeated int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost += max(lost, 0)
	t.repeated += repeated
	if lost == 0 && repeated == 0 {
		t.whole++
	}
}

const mostWords = 20

func (t *tally) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.words) < mostWords {
		t.words = append(t.words, fmt.Sprintf(format, args...))
	}
}

func (t *tally) clean() bool {
	return t.lost == 0 && t.repeated == 0 && t.breaks == 0 && t.whole == t.streams && t.total >= t.want
}

func (t *tally) print(took time.Duration) {
	for _, w := range t.words {
		fmt.Println(w)
	}
	fmt.Printf("kills %d (", t.total)
	for i, how := range []breakage{byFIN, byRST, byReset, byEnd, byDeath} {
		if i > 0 {
			fmt.Print(", ")
		}
		fmt.Printf("%s %d", how, t.kills[how])
	}
	fmt.Printf(") in %v\n", took.Round(time.Millisecond))
	fmt.Printf("streams %d, whole %d, events %d\n", t.streams, t.whole, t.events)
	fmt.Printf("lost %d, repeated %d, client reconnects %d\n", t.lost, t.repeated, t.breaks)
	var all []time.Duration
	for _, how := range []breakage{byFIN, byRST, byReset, byEnd} {
		all = append(all, t.latency[how]...)
		printLatency(string(how), t.latency[how])
	}
	printLatency("any break", all)
}

func printLatency(of string, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	at := func(percent int) time.Duration {
		return took[(len(took)-1)*percent/100].Round(10 * time.Microsecond)
	}
	fmt.Printf("%s to next event: p50 %v, p99 %v, most %v (%d measured)\n", of, at(50), at(99), at(100), len(took))
}
