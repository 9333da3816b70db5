package splice

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A line is what the tests below are about: one client that loses its connection
// again and again, one origin that repeats what it likes, and the states that
// the streams in between leave behind.

// block is one event in the origin's log. Its place in the log is who it is: two
// blocks may be equal in every byte and still be two.
type block struct {
	place int
	id    string // "" if it carries none
	text  string // exact bytes
}

// origin writes its log by a scheme of ids.
type origin struct {
	scheme string
	eol    string
	log    []block
	clock  int
}

// Schemes by what their ids promise. The upright ones never use an id twice.
func upright() []string { return []string{"counter", "stream_index", "random", "sparse"} }
func hostile() []string { return []string{"constant", "cycle", "clock", "absent"} }

func (o *origin) write(t *rapid.T) {
	n := len(o.log)
	id, data := "", "d"+strconv.Itoa(n)
	switch o.scheme {
	case "counter":
		id = strconv.Itoa(n)
	case "stream_index":
		id = "s-7_" + strconv.Itoa(n)
	case "random":
		id = fmt.Sprintf("%x", uint32(n+1)*2654435761)
	case "sparse": // with events in between that have no id, and often the same data
		if id = strconv.Itoa(n); rapid.Bool().Draw(t, "nameless") {
			id, data = "", "ping"
		}
	case "constant":
		id = "msg"
		data = rapid.SampledFrom([]string{"la", "lo"}).Draw(t, "data")
	case "cycle":
		id = strconv.Itoa(n%4 + 1)
	case "clock":
		o.clock += rapid.IntRange(0, 1).Draw(t, "ms")
		id = strconv.Itoa(1700000000000 + o.clock)
	case "absent":
		data = rapid.SampledFrom([]string{"la", "lo"}).Draw(t, "data")
	}
	text := "data: " + data + "\n\n"
	if id != "" {
		text = "id: " + id + "\n" + text
	}
	o.log = append(o.log, block{n, id, strings.ReplaceAll(text, "\n", o.eol)})
}

// lineClient is what the client has, by its own account.
type lineClient struct {
	has    map[int]int // place in the log -> times delivered
	cursor string
	placed int // place of the block that set the cursor, or -1
}

// answer is what the origin sends to a client that comes back with a cursor.
func (o *origin) answer(t *rapid.T, c *lineClient) (how string, sent []block) {
	how = rapid.SampledFrom([]string{"exactly after", "at", "earlier", "from the start", "later", "other content"}).Draw(t, "answer")
	from := c.placed + 1
	switch how {
	case "at":
		from = c.placed
	case "earlier":
		from -= rapid.IntRange(0, from).Draw(t, "by")
	case "from the start":
		from = 0
	case "later":
		from += rapid.IntRange(0, 3).Draw(t, "by")
	case "other content":
		// It has lost its log, and writes a new one under the same ids.
		for i := range o.log {
			o.log[i].place += 1000
			o.log[i].text = strings.Replace(o.log[i].text, "data: ", "data: new ", 1)
		}
		from = 0
	}
	return how, o.log[min(max(from, 0), len(o.log)):]
}

// stream carries blocks through a Machine. A numbered comment before each block,
// which is always forwarded, tells which of them the client gets.
func (l *line) stream(t *rapid.T, sent []block, s Start) (delivered []bool) {
	var in strings.Builder
	for i, b := range sent {
		fmt.Fprintf(&in, ":%d\n%s", i, b.text)
	}
	r := newRun(t, l.policy, s)
	r.feed(in.String(), cuts(t, in.Len(), "cuts")...)
	if rapid.Bool().Draw(t, "cut") {
		r.chunk("id: half\ndata: ")
	}
	l.run = r
	delivered = make([]bool, len(sent))
	rest := string(r.got)
	for i, b := range sent {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, ":"+strconv.Itoa(i)+"\n"); !ok {
			t.Fatalf("comment %d is missing before %q", i, rest)
		}
		rest, delivered[i] = strings.CutPrefix(rest, b.text)
	}
	if rest != "" {
		t.Fatalf("the client got %q besides", rest)
	}
	return delivered
}

type line struct {
	policy Policy
	states []State // newest first
	run    *run
}

// start is what a driver knows of a returning client.
func (l *line) start(c *lineClient, seed uint64) Start {
	s := Start{Seed: seed, Repeatable: true, HasCursor: c.cursor != "", LastEventID: c.cursor}
	for i := range l.states {
		if l.policy.Remembers(&l.states[i], c.cursor) {
			s.Earlier = l.states[i]
			break
		}
		if l.states[i].Trust.Disproved() {
			break
		}
	}
	return s
}

// receive says how much of what was delivered reached the client.
func (c *lineClient) receive(t *rapid.T, sent []block, delivered []bool) {
	n := rapid.IntRange(0, len(sent)).Draw(t, "received")
	for i, b := range sent[:n] {
		if !delivered[i] {
			continue
		}
		c.has[b.place]++
		if b.id != "" {
			c.cursor, c.placed = b.id, b.place
		}
	}
}

// Promise 3: whatever ids an origin uses and however it answers a client that
// comes back, an event the client does not have is never dropped, and where ids
// are worth anything, one that it has, up to its cursor, is not sent twice.
func TestLine(t *testing.T) {
	for _, scheme := range slices.Concat(upright(), hostile()) {
		t.Run(scheme, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { playLine(rt, scheme) })
		})
	}
}

func playLine(t *rapid.T, scheme string) {
	o := &origin{scheme: scheme, eol: rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line ends")}
	l := &line{policy: Policy{Window: rapid.SampledFrom([]int{0, 0, 3, 8}).Draw(t, "window")}}
	if scheme == "cycle" && l.policy.Window == 3 {
		l.policy.Window = 4 // a window that is shorter than the cycle never sees an id come again
	}
	c := &lineClient{has: map[int]int{}, placed: -1}
	sound := slices.Contains(upright(), scheme)

	for round := range uint64(4) {
		for range rapid.IntRange(1, 6).Draw(t, "new") {
			o.write(t)
		}
		how, sent := "from the start", o.log
		if c.cursor != "" {
			how, sent = o.answer(t, c)
		}
		sound = sound && how != "other content" && how != "later"
		cursor, cursorAt := c.cursor, c.placed
		start := l.start(c, round+1)
		if cursor != "" && !severalNames(start.Earlier.Window) && !isNumber(cursor) {
			sound = false // one id may be the only one its origin has
		}
		delivered := l.stream(t, sent, start)

		for i, b := range sent {
			fail := func(what string) {
				t.Fatalf("round %d: client with cursor %q (place %d), origin answers %s: place %d (%q) %s\nsent %v\ndelivered %v",
					round, cursor, cursorAt, how, b.place, b.text, what, places(sent), delivered)
			}
			switch {
			case !delivered[i] && c.has[b.place] == 0 && b.place > cursorAt:
				fail("was dropped, but the client does not have it")
			case !delivered[i] && cursor == "":
				fail("was dropped, but the client is new")
			case delivered[i] && sound && l.policy.Window == 0 && cursor != "" && b.id != "" && b.place <= cursorAt:
				fail("was sent, but the client has it")
			}
		}
		c.receive(t, sent, delivered)
		l.states = slices.Insert(l.states, 0, l.run.m.State())
	}
}

func places(bs []block) []int {
	var ps []int
	for _, b := range bs {
		ps = append(ps, b.place)
	}
	return ps
}

// DedupAlways on ids that are worth it: every event once, wherever the origin
// repeats it, and none lost.
func TestAlways(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := &origin{scheme: rapid.SampledFrom(upright()).Draw(rt, "scheme"), eol: "\n"}
		l := &line{policy: Policy{Dedup: DedupAlways}}
		for range rapid.IntRange(1, 30).Draw(rt, "log") {
			o.write(rt)
		}
		// The origin repeats itself, but does not skip.
		var sent []block
		for next := 0; next < len(o.log); {
			from := next - rapid.IntRange(0, next).Draw(rt, "back")
			to := rapid.IntRange(next+1, len(o.log)).Draw(rt, "to")
			sent = append(sent, o.log[from:to]...)
			next = to
		}
		delivered := l.stream(rt, sent, Start{Seed: 1})
		times := map[int]int{}
		for i, b := range sent {
			if delivered[i] {
				times[b.place]++
			}
		}
		for _, b := range o.log {
			if n := times[b.place]; n < 1 || n > 1 && b.id != "" {
				rt.Fatalf("place %d (%q) was delivered %d times", b.place, b.text, n)
			}
		}
	})
}
