package splice

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/processor/sse"
)

// The model: an origin with a log of events, a schedule of what goes wrong with
// each attempt, and a client that keeps one connection as long as it lasts, and
// comes back when it does not. Time is virtual: it moves from deadline to deadline.

// world is one run of the model.
type world struct {
	t       *rapid.T
	log     journal
	plans   []plan
	policy  *Policy
	patient bool // its budgets never end

	visit
	states []State // what the visits before have left, newest first
	cursor string  // the client's

	now time.Time
}

// visit is one connection of the client.
type visit struct {
	m     *Machine
	start Start
	begun time.Time
	due   time.Time
	got   []byte
	from  int // position of the client in the log at the start
	saved State
	moments

	closed *Close
	dead   bool

	sources   []*source
	dialled   Attempt
	notBefore time.Time // the server's wish
	waits     int
	gaveUp    *source // the last one that was cancelled
	cleanEnd  bool    // the last end was a clean one, and nothing with an id came since
	namedLast int     // named events delivered when it was
	lies      []string
	repeats   bool // the origin has sent more than it was asked for
	oversize  bool // an end came within an event that is too large to be held

	inputs []timed
	readys []Ready
}

// moments are after how many inputs something comes from elsewhere; 0: never.
type moments struct {
	drain, leave, die int
	deadline          time.Duration // of the drain
	lost              int           // bytes that a death has taken with it

	drainBy time.Time // zero: none was asked for
}

type timed struct {
	now time.Time
	in  Input
}

func momentsOf(t *rapid.T) (m moments) {
	at := func(label string, rarely int) int {
		if rapid.IntRange(0, rarely).Draw(t, label) != rarely {
			return 0
		}
		return rapid.IntRange(1, 40).Draw(t, label+" at")
	}
	m.drain, m.leave, m.die = at("drains", 5), at("leaves", 9), at("dies", 9)
	m.deadline = time.Duration(rapid.IntRange(0, 20_000).Draw(t, "deadline")) * time.Millisecond
	m.lost = rapid.IntRange(0, 200).Draw(t, "lost")
	return m
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
	if rd.Save {
		w.saved = w.m.State()
	}
	for i, c := range rd.Commands {
		if w.closed != nil {
			w.fail("after Close: %+v", c)
		}
		switch c := c.(type) {
		case Dial:
			if _, gone := in.(Gone); gone {
				w.fail("Dial after the client left")
			}
			w.dial(c)
		case Cancel:
			w.cancel(c.Attempt)
		case Close:
			if i != len(rd.Commands)-1 {
				w.fail("Close is not the last of %+v", rd.Commands)
			}
			w.closed = &c
		}
	}
	if w.closed == nil && w.due.IsZero() && len(w.sources) == 0 {
		w.fail("%v, and nothing to wait for after %T", w.m.Phase(), in)
	}
	if w.closed != nil && len(w.sources) > 0 && (w.sources[0].n > 0 || w.start.Opening) {
		w.fail("attempt %d was not cancelled before Close", w.sources[0].n)
	}
	if len(w.inputs) > 20000 {
		w.fail("no end")
	}
}

func (w *world) dial(d Dial) {
	switch {
	case d.Attempt != w.dialled:
		w.fail("Dial %d, want %d", d.Attempt, w.dialled)
	case len(w.sources) > 1:
		w.fail("Dial while two attempts are under way")
	case w.now.Before(w.notBefore):
		w.fail("Dial %v before the server's Retry-After", w.notBefore.Sub(w.now))
	case d.Attempt > 0 && !w.drainBy.IsZero() && w.start.Repeatable:
		w.fail("Dial while the stream is to end")
	case d.Attempt > 0 && d.Cursor == "" && (!w.start.Repeatable || len(blocksOf(w.got)) > 0):
		w.fail("the client's own request was made again after %q", w.got)
	}
	w.dialled++
	p := plan{answer: serve, bytes: 1 << 20, end: "clean"}
	if len(w.plans) > 0 {
		p, w.plans = w.plans[0], w.plans[1:]
	}
	w.sources = append(w.sources, &source{n: d.Attempt, plan: p, cursor: d.Cursor, at: w.now.Add(p.delay), asker: d.Cursor == ""})
}

func (w *world) cancel(n Attempt) {
	i := slices.IndexFunc(w.sources, func(s *source) bool { return s.n == n })
	if i < 0 {
		w.fail("Cancel of %d, which is not under way", n)
	}
	w.gaveUp = w.sources[i]
	w.sources = slices.Delete(w.sources, i, i+1)
}

func (w *world) remove(s *source) {
	w.sources = slices.DeleteFunc(w.sources, func(x *source) bool { return x == s })
}

func (w *world) deliveredNamed() int { return len(withIDs(blocksOf(w.got))) }

// namedLeft is how many events with ids the client does not have yet.
func (w *world) namedLeft() int { return len(withIDs(w.log.events[w.from:])) - w.deliveredNamed() }

func withIDs(log []logged) (out []logged) {
	for _, b := range log {
		if b.id != "" {
			out = append(out, b)
		}
	}
	return out
}

// act lets one attempt do the next thing it does by itself.
func (w *world) act(s *source) {
	switch {
	case !s.opened:
		w.answer(s)
		return
	case s.pos < len(s.bytes):
		n := rapid.IntRange(1, len(s.bytes)-s.pos).Draw(w.t, "chunk")
		b := []byte(s.bytes[s.pos : s.pos+n])
		s.pos += n
		w.notBefore = time.Time{}
		last := s.pos == len(s.bytes) && s.plan.end == "clean" && !s.early && rapid.Bool().Draw(w.t, "last")
		w.step(Chunk{Attempt: s.n, Bytes: b, Last: last})
		for i := range b {
			b[i] = '#'
		}
		return
	}
	w.oversize = w.oversize || w.m.oversize
	switch s.plan.end {
	case "mute":
		s.muted = true
		w.step(Chunk{Attempt: s.n, Bytes: []byte(":\n")})
	case "clean":
		count := w.deliveredNamed()
		_, able := w.m.resumeFrom()
		lie := s.early && !w.log.marked && (w.log.late || w.log.never || !able || count == 0 || w.cleanEnd && count == w.namedLast || w.namedLeft() == 0)
		w.remove(s)
		if lie {
			// Without a cursor, if it is the second in a row without anything new, or
			// if no event with an id is missing, it would be the end. So would it be if
			// what is missing is large and has none, for that cannot be held back.
			w.cleanEnd = false
			w.step(Ended{Attempt: s.n, Cause: Reset})
			return
		}
		w.cleanEnd, w.namedLast = true, count
		w.step(Ended{Attempt: s.n, Cause: CleanEnd})
	case "reset":
		w.cleanEnd = false
		w.remove(s)
		w.step(Ended{Attempt: s.n, Cause: Reset})
	}
}

// idle reports whether an attempt has nothing more to do by itself.
func (w *world) idle(s *source) bool {
	return s.opened && s.pos == len(s.bytes) && s.plan.end == "mute" && (!s.plan.wakes || s.muted || len(w.sources) == 1)
}

// elsewhere lets happen what neither the origin nor the time brings.
func (w *world) elsewhere() {
	switch n := len(w.inputs); n {
	case 0:
	case w.drain:
		w.drainBy = w.now.Add(w.deadline)
		w.step(Drain{By: w.drainBy})
	case w.leave:
		w.step(Gone{})
	case w.die:
		w.dead = true
		w.got = w.got[:len(w.got)-min(len(w.got), w.lost)]
	}
}

// run plays a visit to its end.
func (w *world) run() {
	w.m = New(w.now, w.policy, w.start)
	if w.start.Opening {
		w.step(Tick{})
	} else {
		w.dial(Dial{})
	}
	for w.closed == nil && !w.dead {
		if w.elsewhere(); w.closed != nil || w.dead {
			return
		}
		if !w.due.IsZero() && !w.now.Before(w.due) {
			w.step(Tick{})
			continue
		}
		var ready []*source
		next := w.due
		for _, s := range w.sources {
			switch {
			case !s.opened && w.now.Before(s.at):
				next = earliest(next, s.at)
			case !w.idle(s):
				ready = append(ready, s)
			}
		}
		switch {
		case len(ready) > 0:
			w.act(ready[rapid.IntRange(0, len(ready)-1).Draw(w.t, "who")])
		case next.IsZero(), next.Sub(w.begun) > 24*time.Hour:
			w.step(Gone{}) // a quiet stream for ever: its client leaves
		default:
			w.now = latest(w.now, next)
		}
	}
}

// blocksOf reads what the client got, without comments and blank lines.
func blocksOf(stream []byte) []logged {
	blocks, _ := readBlocks(stream)
	return blocks
}

func readBlocks(stream []byte) (blocks []logged, rest string) {
	s := sse.NewScanner(1 << 20)
	s.Feed(stream)
	for {
		ev, ok := s.Next()
		if !ok {
			return blocks, string(s.Held())
		}
		if ev.Part == sse.Whole && (ev.HasData || ev.HasID || len(ev.Type) > 0) {
			blocks = append(blocks, logged{string(ev.ID), string(ev.Raw)})
		}
	}
}

func newWorld(t *rapid.T, bad bool) *world {
	w := &world{t: t, log: journalOf(t), now: epoch0(), patient: rapid.Bool().Draw(t, "patient")}
	w.policy = &Policy{
		EventBytes: 100,
		Window:     rapid.SampledFrom([]int{0, 0, 2, 4, 8}).Draw(t, "window"),
		Dedup:      rapid.SampledFrom([]Dedup{DedupOverlap, DedupOverlap, DedupOff, DedupAlways}).Draw(t, "dedup"),
		Heartbeat:  15 * time.Second,
		Backoff:    Backoff{Jitter: 0.1},
	}
	if w.patient {
		w.policy.Window, w.policy.HoldFor, w.policy.Backoff.Retries = 0, 30*24*time.Hour, 1000
	}
	if w.log.marked {
		data := modelMarker
		w.policy.Complete = []Completion{{Data: &data}}
	}
	if at := withIDs(w.log.events); len(at) > 0 && rapid.IntRange(0, 3).Draw(t, "returns") == 0 {
		w.cursor = rapid.SampledFrom(at).Draw(t, "cursor").id
	}
	for range rapid.IntRange(0, 8).Draw(t, "attempts") {
		w.plans = append(w.plans, planOf(t, bad))
	}
	return w
}

// begin is the client's next connection.
func (w *world) begin() {
	w.visit = visit{begun: w.now, moments: momentsOf(w.t)}
	w.start = Start{
		Seed: rapid.Uint64().Draw(w.t, "seed"), Dialable: true,
		Repeatable: rapid.IntRange(0, 5).Draw(w.t, "cannot be repeated") < 5,
		Owned:      rapid.IntRange(0, 4).Draw(w.t, "inline") < 4,
		RetryBinds: rapid.IntRange(0, 4).Draw(w.t, "retry binds") == 4,
	}
	w.start.Opening = w.start.Owned && rapid.Bool().Draw(w.t, "opening")
	if w.cursor != "" {
		w.start.HasCursor, w.start.LastEventID = true, w.cursor
		w.from = slices.IndexFunc(w.log.events, func(e logged) bool { return e.id == w.cursor }) + 1
	}
	for i := range w.states {
		if w.policy.Remembers(&w.states[i], w.cursor) {
			w.start.Earlier = w.states[i]
		}
		if w.policy.Remembers(&w.states[i], w.cursor) || w.states[i].Trust.Disproved() {
			break
		}
	}
}

// leaves takes in how a visit has ended, and reports whether the client comes back.
func (w *world) leaves() bool {
	w.states = slices.Insert(w.states, 0, w.saved)
	if all := withIDs(blocksOf(w.got)); len(all) > 0 {
		w.cursor = all[len(all)-1].id
	}
	return w.dead || w.closed.Outcome != Complete && w.closed.Outcome != Resumed
}

// visits is how often a client comes.
const visits = 3

func playModel(t *rapid.T, bad bool) {
	w := newWorld(t, bad)
	for range visits {
		w.begin()
		w.run()
		w.check()
		if !w.leaves() {
			return
		}
	}
}

// Whatever goes wrong with an origin whose log is true: what the client gets is
// a run of the log, whole if the outcome says so.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { playModel(t, false) })
}

// The same with an origin that refuses for good, loses events, or begins anew under
// the same ids. Only what nobody could see through reaches the client.
func TestModelOfLies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { playModel(t, true) })
}
