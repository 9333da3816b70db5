package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// returns counts what became of streams whose clients come back.
type returns struct {
	repeats bool // what origins repeat counts, too
	unseen  bool // no client may have to come back

	mu     sync.Mutex
	scores map[string]*returned
	words  []string
}

// returned is what became of those of one kind. Of the score, breaks are connections
// after which a client had to connect again.
type returned struct {
	score

	answers int
	alone   int           // of the answers, those that passed through Envoy with nobody to hold them
	stuck   int           // streams whose client gave up
	wait    time.Duration // the longest for an event on an open connection
}

func newReturns(repeats, unseen bool) *returns {
	return &returns{repeats: repeats, unseen: unseen, scores: map[string]*returned{}}
}

// excused says whether repeats in a group are what was to be expected.
func (t *returns) excused(group string) bool {
	return !t.repeats && strings.HasSuffix(group, "/"+kindOverlap)
}

func (t *returns) score(group string) *returned {
	if t.scores[group] == nil {
		t.scores[group] = new(returned)
	}
	return t.scores[group]
}

// broke counts a connection that ended before the stream did.
func (t *returns) broke(group string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.score(group).breaks++
}

// answered counts an answer; alone says that Envoy marked it as nobody's but the
// origin's, as it does with all that is not held.
func (t *returns) answered(group string, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.score(group)
	r.answers++
	if alone && !strings.HasPrefix(group, viaInline+"/") {
		r.alone++
	}
}

// waited notes how long it took for an event to come.
func (t *returns) waited(group string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.score(group)
	r.wait = max(r.wait, d)
}

// finished adds what became of a stream; why says what its client had enough of.
func (t *returns) finished(group, stream string, c *comparer, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.score(group)
	r.streams++
	r.events += c.events
	r.lost += c.lost + c.all - (c.next - 1)
	r.repeated += c.repeated
	r.altered += c.altered
	if why != "" {
		r.stuck++
		t.say(group, stream, why)
	}
	if c.events == c.all && c.lost == 0 && c.repeated == 0 && c.altered == 0 {
		r.whole++
	}
	if t.excused(group) && c.lost+c.altered == 0 {
		return // what is said is of repeats
	}
	for _, w := range c.words {
		t.say(group, stream, w)
	}
}

func (t *returns) say(group, stream, what string) {
	if len(t.words) < mostWords {
		t.words = append(t.words, fmt.Sprintf("%s/%s: %s", group, stream, what))
	}
}

// clean says whether every client got every event once.
func (t *returns) clean() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for group, r := range t.scores {
		whole := r.whole == r.streams
		if t.excused(group) {
			whole = r.lost+r.altered == 0
		}
		if r.streams == 0 || !whole || r.stuck > 0 || t.unseen && r.breaks > 0 {
			return false
		}
	}
	return len(t.scores) > 0
}

func (t *returns) report(o *options, done int, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.words {
		fmt.Println(w)
	}
	fmt.Printf("%s, store %s, flush %v: %d times in %v\n", o.drill, o.store, o.flush, done, took.Round(time.Millisecond))
	for _, group := range slices.Sorted(maps.Keys(t.scores)) {
		r := t.scores[group]
		fmt.Printf("%-17s  streams %d, whole %d, events %d; lost %d, repeated %d, altered %d, client reconnects %d;"+
			" answers %d, %d by Envoy alone; longest wait for an event %v\n",
			group, r.streams, r.whole, r.events, r.lost, r.repeated, r.altered, r.breaks, r.answers, r.alone, r.wait.Round(time.Millisecond))
	}
}
