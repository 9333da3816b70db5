package splice

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyBytes draws streams of every shape: events, their parts, line ends of all
// kinds, byte order marks, and noise.
func anyBytes() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			"\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", ":", ": c\n", ":c\r", "\xef\xbb\xbf", "\xef", "\xff",
			"id: 1\n", "id: 2\n", "id\n", "id:\r\n", "id: a\x00b\n", "id: 07\r", "data: x\n", "data\n", "data:\r", "data: y\r\n",
			"event: e\n", "retry: 5\n", "other: z\n", " \n", "id: 1\ndata: x\n\n", "id: 2\r\ndata: y\r\n\r\n", "data: [DONE]\n\n",
			"data: 0123456789012345678901234567890123456789\n\n", "id: 9\ndata: 01234567890123456789012345678901234567890\r\r",
		}),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 6), func(b []byte) string { return string(b) }),
	)
	return rapid.Map(rapid.SliceOfN(piece, 0, 40), func(ps []string) string { return strings.Join(ps, "") })
}

func cuts(t *rapid.T, n int, label string) []int {
	return sortedCuts(rapid.SliceOfN(rapid.IntRange(0, n), 0, 12).Draw(t, label), n)
}

func anyPolicy() *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		return Policy{
			Observe:    rapid.Bool().Draw(t, "observe"),
			Dedup:      rapid.SampledFrom([]Dedup{DedupOverlap, DedupOff}).Draw(t, "dedup"),
			Window:     rapid.SampledFrom([]int{0, 1, 2, 3, 17}).Draw(t, "window"),
			EventBytes: rapid.SampledFrom([]int{0, 1, 16, 40}).Draw(t, "event bytes"),
			Heartbeat:  rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "heartbeat"),
		}
	})
}

// Promise 1: nothing to fix, nothing changed, whatever the bytes.
func TestUndisturbedIsUnchanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := anyBytes().Draw(rt, "stream")
		p := anyPolicy().Draw(rt, "policy")
		p.Heartbeat = 0
		r := newRun(rt, p, Start{Repeatable: rapid.Bool().Draw(rt, "repeatable")})
		r.feed(in, cuts(rt, len(in), "cuts")...)
		r.end().wantGot(in)
		r.wantClose(Complete, false)
	})
}

// The same for a client that comes back to an origin that has nothing in common
// with what the line knows, or to a line that knows nothing.
func TestUnknownCursorIsUnchanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := anyBytes().Draw(rt, "stream")
		first := newRun(rt, Policy{}, Start{})
		first.feed("id: p\ndata: p\n\nid: q\ndata: q\n\n")
		r := first.back(rapid.SampledFrom([]string{"", "x", "q"}).Draw(rt, "cursor"))
		r.feed(in, cuts(rt, len(in), "cuts")...)
		r.end().wantGot(in)
	})
}

// However a stream is cut, the client gets the same, the same is kept, and the
// same is counted; also where events are dropped.
func TestChunksDoNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in, again := anyBytes().Draw(rt, "stream"), anyBytes().Draw(rt, "tail")
		p := anyPolicy().Draw(rt, "policy")
		p.Dedup = rapid.SampledFrom([]Dedup{DedupOverlap, DedupAlways, DedupOff}).Draw(rt, "dedup")
		done := "[DONE]"
		if rapid.Bool().Draw(rt, "marker") {
			p.Complete = []Completion{{Data: &done}}
		}
		play := func(cuts1, cuts2 []int) (*run, *run) {
			a := newRun(rt, p, Start{})
			a.feed(in, cuts1...)
			a.end()
			b := a.back(a.m.Cursor())
			b.feed(in+again, cuts2...)
			return a, b.end()
		}
		a1, b1 := play(nil, nil)
		a2, b2 := play(cuts(rt, len(in), "cuts"), cuts(rt, len(in+again), "more cuts"))
		for _, pair := range [][2]*run{{a1, a2}, {b1, b2}} {
			x, y := pair[0], pair[1]
			if !bytes.Equal(x.got, y.got) {
				rt.Fatalf("whole: %q\ncut:   %q", x.got, y.got)
			}
			if x.m.Counts() != y.m.Counts() || *x.closed != *y.closed {
				rt.Fatalf("whole: %+v %v\ncut:   %+v %v", x.m.Counts(), x.closed, y.m.Counts(), y.closed)
			}
			if s1, s2 := fmt.Sprintf("%+v", x.m.State()), fmt.Sprintf("%+v", y.m.State()); s1 != s2 {
				rt.Fatalf("whole: %s\ncut:   %s", s1, s2)
			}
		}
	})
}

// anyInput draws facts in any order, sensible or not.
func anyInput() *rapid.Generator[Input] {
	attempt := rapid.SampledFrom([]Attempt{0, 0, 0, 0, 1})
	return rapid.Custom(func(t *rapid.T) Input {
		switch rapid.IntRange(0, 12).Draw(t, "kind") {
		case 0:
			return Opened{Attempt: attempt.Draw(t, "attempt"), Status: 200, EventType: true}
		case 1:
			return Ended{attempt.Draw(t, "attempt"), rapid.SampledFrom([]Cause{CleanEnd, Reset}).Draw(t, "cause")}
		case 2:
			by := time.Duration(rapid.IntRange(0, 20).Draw(t, "by")) * time.Second
			return Drain{epoch0().Add(by)}
		case 3:
			if rapid.IntRange(0, 4).Draw(t, "gone") == 0 {
				return Gone{}
			}
			return Tick{}
		case 4, 5:
			return Tick{}
		default:
			return Chunk{attempt.Draw(t, "attempt"), []byte(anyBytes().Draw(t, "bytes")), rapid.Bool().Draw(t, "last")}
		}
	})
}

type moment struct {
	after time.Duration
	in    Input
}

func anyHistory() *rapid.Generator[[]moment] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) moment {
		return moment{time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond, anyInput().Draw(t, "input")}
	}), 1, 25)
}

// Any facts in any order: the invariants of run.check hold, facts of other
// attempts change nothing, and the same facts give the same answers.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := anyPolicy().Draw(rt, "policy")
		p.Dedup = rapid.SampledFrom([]Dedup{DedupOverlap, DedupAlways, DedupOff}).Draw(rt, "dedup")
		s := Start{Repeatable: rapid.Bool().Draw(rt, "repeatable")}
		h := anyHistory().Draw(rt, "history")

		play := func(stale bool) (log []string, r *run) {
			r = newRun(rt, p, s)
			for _, mo := range h {
				r.now = r.now.Add(mo.after)
				if !stale && attemptOf(mo.in) != 0 {
					continue
				}
				rd := r.step(mo.in)
				if attemptOf(mo.in) != 0 {
					if len(rd.ToClient)+len(rd.Commands)+len(rd.Notes) != 0 {
						rt.Fatalf("a stale %T did something: %+v", mo.in, rd)
					}
					continue
				}
				log = append(log, fmt.Sprintf("%T %q %v %v", mo.in, rd.ToClient, rd.Commands, rd.Notes))
			}
			return log, r
		}
		one, r1 := play(true)
		two, r2 := play(true)
		if d := strings.Join(one, "\n"); d != strings.Join(two, "\n") {
			rt.Fatalf("two runs of one history:\n%s\n\n%s", d, strings.Join(two, "\n"))
		}
		three, r3 := play(false)
		if d := strings.Join(one, "\n"); d != strings.Join(three, "\n") {
			rt.Fatalf("with stale facts:\n%s\n\nwithout:\n%s", d, strings.Join(three, "\n"))
		}
		a, b, c := r1.m.State(), r2.m.State(), r3.m.State()
		if x := fmt.Sprint(a); x != fmt.Sprint(b) || x != fmt.Sprint(c) {
			rt.Fatalf("states differ: %+v %+v %+v", a, b, c)
		}
	})
}

func attemptOf(in Input) Attempt {
	switch in := in.(type) {
	case Opened:
		return in.Attempt
	case Chunk:
		return in.Attempt
	case Ended:
		return in.Attempt
	}
	return 0
}

// Heartbeats change nothing that a client sees but comments: without them the
// bytes are the origin's, and with them its script sees the same events. A
// comment never lies within an event, and never comes before the first bytes.
func TestHeartbeatsAreInvisible(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := strings.ReplaceAll(anyBytes().Draw(rt, "stream"), keepAlive, "")
		p := Policy{Heartbeat: time.Second, EventBytes: rapid.SampledFrom([]int{0, 16}).Draw(rt, "event bytes")}
		r := newRun(rt, p, Start{})
		r.step(Opened{Status: 200, EventType: true})
		from := 0
		for _, to := range append(cuts(rt, len(in), "cuts"), len(in)) {
			r.chunk(in[from:to])
			from = to
			for range rapid.IntRange(0, 2).Draw(rt, "silence") {
				had := len(r.got)
				_, _, midBlock := readStream(r.got)
				rd := r.pass(time.Second)
				if len(rd.ToClient) == 0 {
					continue
				}
				if had == 0 || midBlock || string(rd.ToClient) != ": "+keepAlive+"\n\n" {
					rt.Fatalf("%q was sent after %q", rd.ToClient, r.got[:had])
				}
			}
		}
		r.end()
		if got := withoutKeepAlives(r.got); got != in {
			rt.Fatalf("without heartbeats the client got\n%q\nwant\n%q", got, in)
		}
		if uint64(count(r.notes, NoteHeartbeat)) != r.m.Counts().Heartbeats {
			rt.Fatalf("%d notes, %d counted", count(r.notes, NoteHeartbeat), r.m.Counts().Heartbeats)
		}
		want, _, _ := readStream([]byte(in))
		got, _, _ := readStream(r.got)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("events with heartbeats\n%q\nwant\n%q", got, want)
		}
	})
}

// The cursor is what a client's script would have as lastEventId.
func TestCursorIsTheClients(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := anyBytes().Draw(rt, "stream")
		r := newRun(rt, Policy{}, Start{})
		r.feed(in, cuts(rt, len(in), "cuts")...)
		if _, want, _ := readStream([]byte(in)); r.m.Cursor() != want {
			rt.Fatalf("cursor %q, client has %q", r.m.Cursor(), want)
		}
	})
}

// After a drain the client has whole events only, unless it sees an abort.
func TestDrainLeavesWholeEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := anyBytes().Draw(rt, "stream")
		p := anyPolicy().Draw(rt, "policy")
		p.Heartbeat = 0
		r := newRun(rt, p, Start{Repeatable: true})
		all := cuts(rt, len(in), "cuts")
		at := rapid.IntRange(0, len(all)).Draw(rt, "drain at")
		from := 0
		for i, to := range append(all, len(in)) {
			if i == at {
				r.step(Drain{By: r.now.Add(time.Second)})
			}
			r.chunk(in[from:to])
			from = to
		}
		r.pass(time.Second)
		if r.closed == nil || r.closed.Outcome != Drained {
			rt.Fatalf("closed %v", r.closed)
		}
		if _, _, midBlock := readStream(r.got); midBlock && !r.closed.Abort {
			rt.Fatalf("a clean end after %q", r.got)
		}
		if !strings.HasPrefix(in, string(r.got)) {
			rt.Fatalf("got %q of %q", r.got, in)
		}
	})
}

// A driver that loses its Machine in any Step can go on with what it was told to
// take along: the client misses nothing and gets nothing twice.
func TestFaultLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := anyBytes().Draw(rt, "stream")
		p := anyPolicy().Draw(rt, "policy")
		r := newRun(rt, p, Start{})
		all := append(cuts(rt, len(in), "cuts"), len(in))
		at := rapid.IntRange(0, len(all)-1).Draw(rt, "fault at")
		from := 0
		for _, to := range all[:at] {
			r.chunk(in[from:to])
			from = to
		}
		if got := string(r.got) + string(r.m.Held()) + in[from:]; got != in {
			rt.Fatalf("client gets %q, want %q", got, in)
		}
	})
}
