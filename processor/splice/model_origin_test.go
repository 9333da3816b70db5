package splice

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// The model's origin: what it has to say, and what it does with each request.

// logged is one event of the origin's log.
type logged struct {
	id   string // "" for none
	text string // as it goes over the wire
}

// journal is all that an origin has to say.
type journal struct {
	events []logged
	tail   string // what follows the last event, and no blank line ends
	marked bool   // the last event, or the tail, is the one that the policy knows

	late, never bool // an event is too large to be held, and its id comes late, or never
}

// nameless reports whether there are events without an id. Whether an unfinished one
// is what the client has, is then not known of each.
func (j *journal) nameless() bool {
	return slices.ContainsFunc(j.events, func(e logged) bool { return e.id == "" })
}

const modelMarker = "[DONE]"

// journalOf draws a log. Contents come from a small alphabet, so that events
// without an id repeat each other.
func journalOf(t *rapid.T) journal {
	n := rapid.IntRange(0, 24).Draw(t, "events")
	nameless := rapid.Bool().Draw(t, "nameless")
	ids := rapid.SampledFrom([]string{"dense", "sparse", "unordered"}).Draw(t, "ids")
	var j journal
	next := rapid.IntRange(1, 12).Draw(t, "first id")
	for i := range n {
		data := rapid.SampledFrom([]string{"a", "b", "ping"}).Draw(t, "data")
		large := rapid.IntRange(0, 9).Draw(t, "is large") == 0
		if large {
			data = fmt.Sprint(i) + strings.Repeat(data, 60) // those that begin alike, nobody can tell apart
		}
		if nameless && rapid.IntRange(0, 2).Draw(t, "is nameless") == 0 {
			text := "data: " + data + "\n\n"
			if rapid.IntRange(0, 5).Draw(t, "is typed") == 0 && !large {
				text = "event: " + data + "\n\n"
			}
			j.events = append(j.events, logged{"", text})
			j.never = j.never || large
			continue
		}
		id := fmt.Sprint(next)
		switch ids {
		case "dense":
			next++
		case "sparse":
			next += rapid.IntRange(2, 50).Draw(t, "step")
		case "unordered":
			id = fmt.Sprintf("%x-%c", uint32(i+1)*2654435761, 'a'+i)
		}
		eol := rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\r"}).Draw(t, "eol")
		text := "id: " + id + eol + "data: " + data + eol + eol
		if large && rapid.Bool().Draw(t, "its id comes last") {
			text = "data: " + data + eol + "id: " + id + eol + eol
			j.late = true
		}
		j.events = append(j.events, logged{id, text})
	}
	j.marked = rapid.IntRange(0, 3).Draw(t, "marked") == 0
	end := "data: " + modelMarker + "\n"
	switch rapid.IntRange(0, 4).Draw(t, "tail") {
	case 0:
		j.tail = rapid.SampledFrom([]string{
			"data: t\n", "data: t", "id: 999999\ndata: t\n", "error: raw text\n", "Internal Server Error", ": bye",
		}).Draw(t, "of")
	case 1:
		if j.marked {
			j.tail = end // servers leave out the blank line after their last event
		}
	}
	if j.marked && j.tail != end {
		j.events = append(j.events, logged{"", end + "\n"})
	}
	return j
}

// plan is what becomes of one attempt.
type plan struct {
	answer answer
	after  time.Duration // Retry-After
	replay int           // events before the cursor that are sent again; -1: all
	skip   bool          // events after it are left out
	epoch  bool          // from the start, and it is another log under the same ids
	bytes  int           // how many of them come before the end; more than there are: all
	end    string        // reset, clean, mute
	wakes  bool          // a mute one goes on after the next was asked for
	delay  time.Duration
	bom    bool
	hello  string // a comment that comes first
}

// answer is how an attempt is answered, as the strategies judge it.
type answer string

const (
	serve       answer = "serve"
	refuse      answer = "refuse"
	busy        answer = "503"
	failed      answer = "500"
	denied      answer = "403"
	conflict    answer = "409"
	otherType   answer = "200, no event stream"
	noMore      answer = "204"
	lostForGood answer = "events are lost"
	unresumable answer = "unresumable"
)

func planOf(t *rapid.T, bad bool) plan {
	p := plan{
		answer: rapid.SampledFrom([]answer{serve, serve, serve, serve, serve, refuse, busy, failed, noMore}).Draw(t, "answer"),
		bytes:  rapid.IntRange(0, 400).Draw(t, "bytes"),
		end:    rapid.SampledFrom([]string{"reset", "clean", "mute"}).Draw(t, "end"),
		wakes:  rapid.Bool().Draw(t, "wakes"),
		delay:  time.Duration(rapid.IntRange(0, 3000).Draw(t, "delay")) * time.Millisecond,
		bom:    rapid.IntRange(0, 4).Draw(t, "bom") == 0,
		hello:  rapid.SampledFrom([]string{"", "", ": hello\n", ":ok\n\n", "retry: 10\n\n"}).Draw(t, "hello"),
	}
	if rapid.Bool().Draw(t, "has wish") {
		p.after = time.Duration(rapid.IntRange(1, 20).Draw(t, "retry after")) * time.Second
	}
	switch rapid.IntRange(0, 3).Draw(t, "exactness") {
	case 0:
		p.replay = rapid.IntRange(1, 30).Draw(t, "over-replay")
	case 1:
		p.replay = -1
	}
	if bad {
		switch rapid.IntRange(0, 7).Draw(t, "badness") {
		case 0:
			p.answer = rapid.SampledFrom([]answer{denied, conflict, otherType, lostForGood, unresumable}).Draw(t, "refusal")
		case 1:
			p.epoch = true
		case 2:
			p.skip = true
		}
	}
	return p
}

// source is an attempt under way.
type source struct {
	n      Attempt
	opened bool
	bytes  string
	pos    int
	plan   plan
	muted  bool
	early  bool      // it does not send everything
	at     time.Time // when it is answered
	cursor string
	asker  bool // it asks as the client itself did
}

// position is where in the log the answer to a cursor begins.
func (w *world) position(s *source) int {
	if s.cursor == "" {
		return w.from
	}
	at := slices.IndexFunc(w.log.events, func(e logged) bool { return e.id == s.cursor }) + 1
	if at == 0 {
		w.t.Fatalf("unknown cursor %q", s.cursor)
	}
	return at
}

// serve makes the bytes of an answer.
func (w *world) serve(s *source) {
	at, log, tail := w.position(s), w.log.events, w.log.tail
	p := &s.plan
	switch {
	case s.asker, p.replay == 0: // what comes before a client's own cursor is not ours to know
	case p.replay < 0:
		at, w.repeats = 0, true
	default:
		at, w.repeats = max(0, at-p.replay), true
	}
	if p.epoch && !s.asker && w.policy.Dedup != DedupAlways {
		at, log, tail = 0, nil, ""
		for i, e := range w.log.events {
			if e.id != "" {
				log = append(log, logged{e.id, fmt.Sprintf("id: %s\ndata: other %d\n\n", e.id, i)})
			}
		}
		w.lies = append(w.lies, "epoch")
	}
	if p.skip && !s.asker && s.cursor != "" {
		before := at
		for i := 0; i < 2 && at < len(log); i++ {
			at++
		}
		for at < len(log) && log[at].id == "" {
			at++
		}
		if at > before {
			w.lies = append(w.lies, "skip")
		}
	}
	var b strings.Builder
	if p.bom {
		b.WriteString(byteOrderMark)
	}
	b.WriteString(p.hello)
	for _, e := range log[at:] {
		b.WriteString(e.text)
	}
	b.WriteString(tail)
	s.bytes = b.String()
	defer func() {
		_, rest := readBlocks([]byte(s.bytes))
		p.wakes = p.wakes && rest == "" // a comment would be a part of what comes before it
	}()
	if p.bytes < len(s.bytes) {
		s.bytes, s.early = s.bytes[:p.bytes], true
		if s.n > 0 && p.end == "mute" && !slices.ContainsFunc(blocksOf([]byte(s.bytes)), func(b logged) bool { return b.id != "" }) {
			// Events without an id, and then nothing: nobody can tell for ever whether
			// they are old, and nobody is to wait for ever.
			p.end = "reset"
		}
		return
	}
	if p.end != "mute" {
		p.end = "clean" // it has sent everything
	}
}

// answer is what comes of a request when its time has come.
func (w *world) answer(s *source) {
	a := s.plan.answer
	if s.n == 0 {
		a = serve // the client's own answer is the driver's business until it is a stream
	}
	if a == noMore && !w.log.marked && w.position(s) < len(w.log.events) {
		a = busy // it would be a lie that nobody could see through
	}
	opened := Opened{Attempt: s.n, RetryAfter: s.plan.after}
	switch a {
	case refuse:
		w.remove(s)
		w.step(Ended{Attempt: s.n, Cause: Refused})
		return
	case unresumable:
		w.lies = append(w.lies, string(a))
		w.remove(s)
		w.step(Ended{Attempt: s.n, Cause: Unresumable})
		return
	case busy:
		opened.Status, opened.Verdict = 503, Wait
	case failed:
		opened.Status, opened.Verdict = 500, Retry
	case denied, conflict:
		fmt.Sscan(string(a), &opened.Status)
		opened.Verdict = Never
	case otherType:
		opened.Status = 200
	case noMore:
		opened.Status, opened.Verdict = 204, Stop
	case lostForGood:
		opened.Status, opened.Verdict = 410, Lost
	default:
		s.opened = true
		w.serve(s)
		w.step(Opened{Attempt: s.n, Status: 200, EventType: true})
		return
	}
	if opened.Verdict == Wait || opened.Verdict == Retry {
		w.notBefore = w.now.Add(s.plan.after)
		w.waits++
	} else {
		w.lies = append(w.lies, string(a))
	}
	w.step(opened)
}
