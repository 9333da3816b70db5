package main

import (
	"fmt"
	"sync"
	"time"
)

// score is what became of the streams that were held one way.
type score struct {
	streams  int
	whole    int // streams that the client has from first to last event
	events   int
	lost     int
	repeated int
	altered  int // blocks that the origin never sent
	breaks   int // streams after which a client would have had to connect again
	refused  int // requests answered 503 because the origin was dead: no stream began
}

func (s *score) clean() bool {
	return s.lost == 0 && s.repeated == 0 && s.altered == 0 && s.breaks == 0 && s.whole == s.streams && s.streams > 0
}

// tally counts what all streams did.
type tally struct {
	want int

	mu     sync.Mutex
	kills  map[breakage]int
	total  int
	marks  map[int]chan struct{} // closed when there were so many kills
	scores map[string]*score     // by the way they were held
	words  []string              // about what went wrong

	// A break and the event behind it are told by different processes, and in any
	// order.
	untimed bool
	arrived map[string][]time.Time // by stream, of its events
	pending map[place]pending      // breaks behind which nothing has arrived
	latency map[breakage][]time.Duration
}

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

func newTally(want int) *tally {
	return &tally{
		want: want, kills: map[breakage]int{}, marks: map[int]chan struct{}{}, scores: map[string]*score{},
		arrived: map[string][]time.Time{}, pending: map[place]pending{}, latency: map[breakage][]time.Duration{},
	}
}

// reached returns a channel that is closed once there were n kills.
func (t *tally) reached(n int) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	ch := make(chan struct{})
	if t.total >= n {
		close(ch)
	} else {
		t.marks[n] = ch
	}
	return ch
}

func (t *tally) count(how breakage) {
	t.kills[how]++
	t.total++
	if ch := t.marks[t.total]; ch != nil {
		close(ch)
	}
}

// died counts the death of an origin.
func (t *tally) died() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(byDeath)
}

// untime ends the measuring: from now on streams come back when their origin does,
// and after pauses, which says nothing about us.
func (t *tally) untime() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.untimed = true
	clear(t.pending)
}

// broke counts a break of a response that began behind event first of a stream and
// ended behind event last.
func (t *tally) broke(how breakage, stream string, first, last int, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(how)
	if t.untimed || last == first {
		return
	}
	if has := t.arrived[stream]; len(has) > last {
		t.latency[how] = append(t.latency[how], has[last].Sub(at))
		return
	}
	t.pending[place{stream, last + 1}] = pending{how, at}
}

func (t *tally) more() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total < t.want
}

// opened counts a stream that is held one way.
func (t *tally) opened(via string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.score(via).streams++
}

func (t *tally) score(via string) *score {
	if t.scores[via] == nil {
		t.scores[via] = new(score)
	}
	return t.scores[via]
}

// refusal counts a stream that did not begin, because its origin was dead when the
// client asked. While none may die there is no such excuse.
func (t *tally) refusal(via string) (excused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.untimed {
		return false
	}
	t.score(via).refused++
	t.score(via).streams--
	return true
}

// took notes when the next event of a stream arrived.
func (t *tally) took(stream string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arrived[stream] = append(t.arrived[stream], at)
	p := place{stream, len(t.arrived[stream])}
	if broke, ok := t.pending[p]; ok {
		t.latency[broke.how] = append(t.latency[broke.how], at.Sub(broke.at))
		delete(t.pending, p)
	}
}

// finished adds what became of a stream; why is empty if it ended as it should.
func (t *tally) finished(via, stream string, c *comparer, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.score(via)
	missing := c.lost + c.all - (c.next - 1)
	s.events += c.events
	s.lost += missing
	s.repeated += c.repeated
	s.altered += c.altered
	if why != "" {
		s.breaks++
		t.say("%s: ended behind event %d: %s", stream, c.next-1, why)
	}
	if missing == 0 && c.repeated == 0 && c.altered == 0 {
		s.whole++
	}
	for _, w := range c.words {
		t.say("%s: %s", stream, w)
	}
	delete(t.arrived, stream)
}

// note keeps what an origin says that is not understood.
func (t *tally) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.say(format, args...)
}

const mostWords = 20

func (t *tally) say(format string, args ...any) {
	if len(t.words) < mostWords {
		t.words = append(t.words, fmt.Sprintf(format, args...))
	}
}

func (t *tally) clean() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.scores {
		if !s.clean() {
			return false
		}
	}
	return len(t.scores) > 0 && t.total >= t.want
}

func (t *tally) print(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
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
	for _, via := range []string{"relay", "immediate"} {
		if s := t.scores[via]; s != nil {
			fmt.Printf("via %-9s  streams %d, whole %d, events %d; lost %d, repeated %d, altered %d, client reconnects %d\n",
				via, s.streams, s.whole, s.events, s.lost, s.repeated, s.altered, s.breaks)
			if s.refused > 0 {
				fmt.Printf("               %d more did not begin: the origin was dead, and the client was told so (503)\n", s.refused)
			}
		}
	}
	fmt.Println("break to next event at the client, origin there at once:")
	var all []time.Duration
	for _, how := range []breakage{byFIN, byRST, byReset, byEnd} {
		if len(t.latency[how]) > 0 {
			all = append(all, t.latency[how]...)
			fmt.Printf("  %-5s  %s\n", how, percentiles(t.latency[how], short))
		}
	}
	if len(all) > 0 {
		fmt.Printf("  any    %s\n", percentiles(all, short))
	}
}

func short(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
