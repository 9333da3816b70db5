package splice

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/processor/sse"
)

// The model: an origin with a log of events, a schedule of what goes wrong with
// each attempt, and a client that keeps one connection. Time is virtual: it moves
// from deadline to deadline.

// entryOf is one event of the origin's log.
type logged struct {
	id   string // "" for none
	text string // as it goes over the wire
}

// logOf draws a log. Contents come from a small alphabet, so that events without
// an id repeat each other.
func logOf(t *rapid.T, kind string) []logged {
	n := rapid.IntRange(0, 24).Draw(t, "events")
	nameless := kind != "kind" && rapid.Bool().Draw(t, "nameless")
	ids := rapid.SampledFrom([]string{"dense", "sparse", "unordered"}).Draw(t, "ids")
	var log []logged
	next := rapid.IntRange(1, 12).Draw(t, "first id")
	for i := range n {
		data := rapid.SampledFrom([]string{"a", "b", "ping"}).Draw(t, "data")
		if nameless && rapid.IntRange(0, 2).Draw(t, "is nameless") == 0 {
			text := "data: " + data + "\n\n"
			if rapid.IntRange(0, 5).Draw(t, "is typed") == 0 {
				text = "event: " + data + "\n\n"
			}
			log = append(log, logged{"", text})
			continue
		}
		id := fmt.Sprint(next)
		switch ids {
		case "dense":
			next++
		case "sparse":
			next += rapid.IntRange(1, 50).Draw(t, "step")
		case "unordered":
			id = fmt.Sprintf("%x-%c", uint32(i+1)*2654435761, 'a'+i)
		}
		eol := rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\r"}).Draw(t, "eol")
		text := "id: " + id + eol + "data: " + data + eol + eol
		if kind != "kind" && rapid.IntRange(0, 9).Draw(t, "is large") == 0 {
			text = "id: " + id + eol + "data: " + strings.Repeat(data, 60) + eol + eol
		}
		log = append(log, logged{id, text})
	}
	return log
}

// plan is what becomes of one attempt.
type plan struct {
	answer string // serve, refuse, busy, denied, unresumable
	after  time.Duration
	replay int    // events before the cursor that are sent again; -1: all
	skip   bool   // events after it are left out
	epoch  bool   // from the start, and it is another log under the same ids
	bytes  int    // how many of them come before the end; more than there are: all
	end    string // reset, clean, mute
	wakes  bool   // a mute one goes on after the next was asked for
	delay  time.Duration
	bom    bool
	hello  string // a comment that comes first
}

func planOf(t *rapid.T, kind string) plan {
	p := plan{
		answer: rapid.SampledFrom([]string{"serve", "serve", "serve", "serve", "serve", "refuse", "busy"}).Draw(t, "answer"),
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
	if kind == "bad" {
		switch rapid.IntRange(0, 9).Draw(t, "badness") {
		case 0:
			p.answer = "denied"
		case 1:
			p.answer = "unresumable"
		case 2:
			p.epoch = true
		case 3:
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
	first  bool
}

// world is one run of the model.
type world struct {
	t      *rapid.T
	log    []logged
	plans  []plan
	m      *Machine
	policy *Policy
	start  Start
	now    time.Time
	due    time.Time
	got    []byte
	from   int // position of the client in the log at the start
	closed *Close

	sources   []*source
	dialled   Attempt
	gaveUp    *source // the last one that was cancelled
	cleanEnd  bool    // the last end was a clean one, and nothing with an id came since
	namedLast int     // named events delivered when it was
	faults    []string

	inputs []timed
	readys []Ready
	steps  int
}

type timed struct {
	now time.Time
	in  Input
}

func (w *world) step(in Input) {
	if c, ok := in.(Chunk); ok {
		c.Bytes = slices.Clone(c.Bytes)
		w.inputs = append(w.inputs, timed{w.now, c})
	} else {
		w.inputs = append(w.inputs, timed{w.now, in})
	}
	rd := w.m.Step(w.now, in)
	keep := rd
	keep.ToClient = slices.Clone(rd.ToClient)
	keep.Commands = slices.Clone(rd.Commands)
	keep.Notes = slices.Clone(rd.Notes)
	w.readys = append(w.readys, keep)
	w.got = append(w.got, rd.ToClient...)
	w.due = rd.Deadline
	for i, c := range rd.Commands {
		if w.closed != nil {
			w.t.Fatalf("after Close: %+v", c)
		}
		switch c := c.(type) {
		case Dial:
			if _, gone := in.(Gone); gone {
				w.t.Fatalf("Dial after the client left")
			}
			w.dial(c)
		case Cancel:
			w.cancel(c.Attempt)
		case Close:
			if i != len(rd.Commands)-1 {
				w.t.Fatalf("Close is not the last of %+v", rd.Commands)
			}
			w.closed = &c
		}
	}
	if w.closed == nil && w.due.IsZero() && len(w.sources) == 0 {
		w.t.Fatalf("%v, and nothing to wait for after %T", w.m.Phase(), in)
	}
	if w.closed != nil && len(w.sources) > 0 && (w.sources[0].n > 0 || w.start.Opening) {
		w.t.Fatalf("attempt %d was not cancelled before Close", w.sources[0].n)
	}
	w.steps++
	if w.steps > 20000 {
		w.t.Fatalf("no end")
	}
}

func (w *world) dial(d Dial) {
	if d.Attempt != w.dialled {
		w.t.Fatalf("Dial %d, want %d", d.Attempt, w.dialled)
	}
	w.dialled++
	if len(w.sources) > 1 {
		w.t.Fatalf("Dial while two attempts are under way")
	}
	p := plan{answer: "serve", bytes: 1 << 20, end: "clean"}
	if len(w.plans) > 0 {
		p, w.plans = w.plans[0], w.plans[1:]
	}
	w.sources = append(w.sources, &source{n: d.Attempt, plan: p, cursor: d.Cursor, at: w.now.Add(p.delay), first: d.Cursor == ""})
}

func (w *world) cancel(n Attempt) {
	i := slices.IndexFunc(w.sources, func(s *source) bool { return s.n == n })
	if i < 0 {
		w.t.Fatalf("Cancel of %d, which is not under way", n)
	}
	w.gaveUp = w.sources[i]
	w.sources = slices.Delete(w.sources, i, i+1)
}

func (w *world) remove(s *source) {
	w.sources = slices.DeleteFunc(w.sources, func(x *source) bool { return x == s })
}

// serve makes the bytes of an answer.
func (w *world) serve(s *source) {
	at := w.from
	if s.cursor != "" {
		at = slices.IndexFunc(w.log, func(e logged) bool { return e.id == s.cursor }) + 1
		if at == 0 {
			w.t.Fatalf("unknown cursor %q", s.cursor)
		}
	}
	p := &s.plan
	log := w.log
	switch {
	case s.first, p.replay == 0: // what comes before a client's own cursor is not ours to know
	case p.replay < 0:
		at = 0
	default:
		at = max(0, at-p.replay)
	}
	if s.n > 0 && p.epoch {
		at, log = 0, nil
		for i, e := range w.log {
			if e.id != "" {
				log = append(log, logged{e.id, fmt.Sprintf("id: %s\ndata: other %d\n\n", e.id, i)})
			}
		}
		w.faults = append(w.faults, "epoch")
	}
	if s.n > 0 && p.skip && s.cursor != "" {
		for i := 0; i < 2 && at < len(log); i++ {
			at++
		}
		for at < len(log) && log[at].id == "" {
			at++
		}
		w.faults = append(w.faults, "skip")
	}
	var b strings.Builder
	if p.bom {
		b.WriteString(byteOrderMark)
	}
	b.WriteString(p.hello)
	for _, e := range log[at:] {
		b.WriteString(e.text)
	}
	s.bytes = b.String()
	if p.bytes < len(s.bytes) {
		s.bytes, s.early = s.bytes[:p.bytes], true
		if s.n > 0 && p.end == "mute" && !slices.ContainsFunc(blocksOf([]byte(s.bytes)), func(b logged) bool { return b.id != "" }) {
			// Events without an id, and then nothing: nobody can tell for ever whether
			// they are old, and nobody is to wait for ever.
			p.end = "reset"
		}
		return
	}
	if p.end == "mute" {
		return
	}
	p.end = "clean" // it has sent everything
}

func (w *world) deliveredNamed() int { return len(strings.Fields(strings.Join(w.namedIDs(), " "))) }

// namedLeft is how many events with ids the client does not have yet.
func (w *world) namedLeft() int {
	n := -w.deliveredNamed()
	for _, e := range w.log[w.from:] {
		if e.id != "" {
			n++
		}
	}
	return n
}

func (w *world) namedIDs() []string {
	var out []string
	for _, b := range blocksOf(w.got) {
		if b.id != "" {
			out = append(out, b.id)
		}
	}
	return out
}

// act lets one attempt do the next thing it does by itself, and reports whether
// there was one.
func (w *world) act(s *source) bool {
	if !s.opened {
		if w.now.Before(s.at) {
			return false
		}
		w.answer(s)
		return true
	}
	if s.pos < len(s.bytes) {
		n := rapid.IntRange(1, len(s.bytes)-s.pos).Draw(w.t, "chunk")
		b := []byte(s.bytes[s.pos : s.pos+n])
		s.pos += n
		w.step(Chunk{Attempt: s.n, Bytes: b})
		for i := range b {
			b[i] = '#'
		}
		return true
	}
	switch s.plan.end {
	case "mute":
		if s.plan.wakes && len(w.sources) > 1 && !s.muted {
			s.muted = true
			w.step(Chunk{Attempt: s.n, Bytes: []byte(":\n")})
			return true
		}
		return false
	case "clean":
		named := w.deliveredNamed()
		_, able := w.m.resumeFrom()
		if s.early && (!able || named == 0 || w.cleanEnd && named == w.namedLast || w.namedLeft() == 0) {
			// Without a cursor, if it is the second in a row without anything new, or
			// if no event with an id is missing, it would be the end.
			w.remove(s)
			w.step(Ended{Attempt: s.n, Cause: Reset})
			w.cleanEnd = false
			return true
		}
		w.cleanEnd, w.namedLast = true, named
		w.remove(s)
		w.step(Ended{Attempt: s.n, Cause: CleanEnd})
	case "reset":
		w.cleanEnd = false
		w.remove(s)
		w.step(Ended{Attempt: s.n, Cause: Reset})
	}
	return true
}

func (w *world) answer(s *source) {
	if s.n == 0 && s.plan.answer != "serve" {
		s.plan.answer = "serve"
	}
	switch s.plan.answer {
	case "refuse":
		w.remove(s)
		w.step(Ended{Attempt: s.n, Cause: Refused})
	case "busy":
		w.step(Opened{Attempt: s.n, Status: 503, Verdict: Wait, RetryAfter: s.plan.after})
	case "denied":
		w.faults = append(w.faults, "denied")
		w.step(Opened{Attempt: s.n, Status: 403, Verdict: Never})
	case "unresumable":
		w.faults = append(w.faults, "unresumable")
		w.remove(s)
		w.step(Ended{Attempt: s.n, Cause: Unresumable})
	default:
		s.opened = true
		w.serve(s)
		w.step(Opened{Attempt: s.n, Status: 200, EventType: true})
	}
}

// run plays the schedule to its end.
func (w *world) run() {
	w.m = New(w.now, w.policy, w.start)
	if w.start.Opening {
		w.step(Tick{})
	} else {
		w.dial(Dial{})
	}
	for w.closed == nil {
		var ready []*source
		next := w.due
		for _, s := range w.sources {
			if !s.opened && w.now.Before(s.at) {
				next = earliest(next, s.at)
				continue
			}
			if s.opened && s.pos == len(s.bytes) && s.plan.end == "mute" && (!s.plan.wakes || s.muted || len(w.sources) == 1) {
				continue
			}
			ready = append(ready, s)
		}
		if !w.due.IsZero() && !w.now.Before(w.due) {
			w.step(Tick{})
			continue
		}
		if len(ready) > 0 {
			i := rapid.IntRange(0, len(ready)-1).Draw(w.t, "who")
			w.act(ready[i])
			continue
		}
		if next.IsZero() {
			// A quiet stream for ever: its client leaves.
			w.step(Gone{})
			continue
		}
		if next.Sub(epoch0()) > 24*time.Hour {
			w.step(Gone{})
			continue
		}
		w.now = latest(w.now, next)
		if !w.due.IsZero() && !w.now.Before(w.due) {
			w.step(Tick{})
		}
	}
}

// blocksOf reads what the client got, without comments and blank lines.
func blocksOf(stream []byte) []logged {
	s := sse.NewScanner(1 << 20)
	s.Feed(stream)
	var out []logged
	for {
		ev, ok := s.Next()
		if !ok {
			return out
		}
		if ev.Part == sse.Whole && (ev.HasData || ev.HasID || len(ev.Type) > 0) {
			out = append(out, logged{string(ev.ID), string(ev.Raw)})
		}
	}
}

func normal(text string) string {
	return strings.TrimRight(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
}

// check compares what the client got with the log.
func (w *world) check() {
	got := blocksOf(w.got)
	want := w.log[w.from:]
	for i, b := range got {
		if i >= len(want) || normal(want[i].text) != normal(strings.TrimPrefix(b.text, byteOrderMark)) {
			w.t.Fatalf("block %d is %q\ngot %s\nwant %s\nclose %+v", i, b.text, show(got), show(want), *w.closed)
		}
	}
	c := *w.closed
	switch c.Outcome {
	case Complete, Resumed:
		if len(got) != len(want) && !w.believed() {
			w.t.Fatalf("%v with %d of %d events", c, len(got), len(want))
		}
	case Cut, Gap:
		if !c.Abort {
			w.t.Fatalf("%v without abort", c)
		}
	case Passed:
		w.t.Fatalf("an event stream was only passed on")
	case ClientGone, Drained:
	}
	// The same facts again, and the same comes of them.
	m := New(epoch0(), w.policy, w.start)
	for i, in := range w.inputs {
		rd := m.Step(in.now, in.in)
		rd.ToClient = append([]byte(nil), rd.ToClient...)
		if len(rd.ToClient) == 0 && len(w.readys[i].ToClient) == 0 {
			rd.ToClient = w.readys[i].ToClient
		}
		if len(rd.Commands) == 0 && len(w.readys[i].Commands) == 0 {
			rd.Commands = w.readys[i].Commands
		}
		if len(rd.Notes) == 0 && len(w.readys[i].Notes) == 0 {
			rd.Notes = w.readys[i].Notes
		}
		if !reflect.DeepEqual(rd, w.readys[i]) {
			w.t.Fatalf("step %d: %+v, and again %+v", i, w.readys[i], rd)
		}
	}
	// Every attempt after 0 has come to exactly one thing.
	results := 0
	for _, rd := range w.readys {
		for _, n := range rd.Notes {
			if n.Kind == NoteResume {
				results++
			}
		}
	}
	if n := int(w.m.Counts().Attempts); results != n {
		w.t.Fatalf("%d attempts, %d results", n, results)
	}
}

// believed reports whether the stream has ended as its origin has ended it before,
// because all that came of asking for more was silence.
func (w *world) believed() bool {
	_, timed := w.inputs[len(w.inputs)-1].in.(Tick)
	return timed && w.cleanEnd && w.gaveUp != nil && w.gaveUp.opened
}

func show(log []logged) string {
	var b strings.Builder
	for _, e := range log {
		fmt.Fprintf(&b, "%.24q ", e.text)
	}
	return b.String()
}

func newWorld(t *rapid.T, kind string) *world {
	w := &world{t: t, log: logOf(t, kind), now: epoch0()}
	w.policy = &Policy{
		EventBytes: 100,
		Window:     rapid.SampledFrom([]int{0, 0, 2, 4, 8}).Draw(t, "window"),
		Dedup:      rapid.SampledFrom([]Dedup{DedupOverlap, DedupOverlap, DedupOff, DedupAlways}).Draw(t, "dedup"),
		Heartbeat:  15 * time.Second,
		Backoff:    Backoff{Jitter: 0.1},
	}
	w.start = Start{
		Seed: rapid.Uint64().Draw(t, "seed"), Repeatable: true, Owned: true, Dialable: true,
		Opening: rapid.Bool().Draw(t, "opening"),
	}
	if kind != "kind" {
		var named []int
		for i, e := range w.log {
			if e.id != "" {
				named = append(named, i)
			}
		}
		if len(named) > 0 && rapid.IntRange(0, 3).Draw(t, "returns") == 0 {
			at := rapid.SampledFrom(named).Draw(t, "cursor")
			w.from = at + 1
			w.start.HasCursor, w.start.LastEventID = true, w.log[at].id
		}
	}
	n := rapid.IntRange(0, 8).Draw(t, "attempts")
	for range n {
		w.plans = append(w.plans, planOf(t, kind))
	}
	return w
}

// Whatever goes wrong with an origin whose log is true: what the client gets is
// a run of the log, whole if the outcome says so.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, "any")
		w.run()
		w.check()
	})
}
