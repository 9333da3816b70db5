package splice

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// check compares what the client got with the log.
func (w *world) check() {
	w.checkBytes()
	w.checkAgain()
	if w.dead {
		return
	}
	w.checkEnd()
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

func (w *world) fail(format string, args ...any) {
	got, rest := readBlocks(w.got)
	w.t.Fatalf("%s\ngot %s, and %q\nwant %s, and %q\nlies %v, close %+v\n%s", fmt.Sprintf(format, args...),
		show(got), rest, show(w.log.events[w.from:]), w.log.tail, w.lies, w.closed, w.transcript())
}

// transcript is all that has happened in a visit.
func (w *world) transcript() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n%+v\n", *w.policy, w.start)
	for i, in := range w.inputs {
		fmt.Fprintf(&b, "%v %T", in.now.Sub(w.begun), in.in)
		if c, ok := in.in.(Chunk); ok {
			fmt.Fprintf(&b, " of %d: %q", c.Attempt, c.Bytes)
		} else {
			fmt.Fprintf(&b, " %+v", in.in)
		}
		if i < len(w.readys) {
			rd := w.readys[i]
			for _, c := range rd.Commands {
				fmt.Fprintf(&b, " -> %T %+v", c, c)
			}
			fmt.Fprintf(&b, " %+v %q\n", rd.Notes, rd.ToClient)
		}
	}
	return b.String()
}

func show(log []logged) string {
	var b strings.Builder
	for _, e := range log {
		fmt.Fprintf(&b, "%.24q ", e.text)
	}
	return b.String()
}

func normal(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(text, byteOrderMark), "\r\n", "\n"), "\r", "\n")
	return strings.TrimRight(text, "\n")
}

func (e logged) same(f logged) bool { return normal(e.text) == normal(f.text) }

// checkBytes: the client has a run of the log, and perhaps a part of what comes next.
func (w *world) checkBytes() {
	got, rest := readBlocks([]byte(withoutKeepAlives(w.got)))
	want := w.log.events[w.from:]
	if w.lied("skip") {
		w.checkKnown(got)
		return
	}
	n := 0
	for i, b := range got {
		if n == len(want) || !b.same(want[n]) {
			w.fail("block %d is %q", i, b.text)
		}
		n++
	}
	if i := strings.LastIndex(strings.TrimSuffix(string(w.got), rest), byteOrderMark); i > 0 {
		w.fail("a byte order mark at %d of %q", i, w.got)
	}
	next := []string{w.log.tail, ": hello\n", ":ok\n\n", "retry: 10\n\n", ": " + keepAlive + "\n\n"}
	if n < len(want) {
		next = append(next, want[n].text)
	}
	known := func(text string) bool {
		return strings.HasPrefix(byteOrderMark+text, rest) || strings.HasPrefix(text, rest)
	}
	if !slices.ContainsFunc(next, known) {
		w.fail("the rest is %q", rest)
	}
}

// checkKnown is all that can be said of what the client has if the origin has left events
// out, and perhaps brought them later. Of a counter alone can anybody know.
func (w *world) checkKnown(got []logged) {
	for i, b := range got {
		if !slices.ContainsFunc(w.log.events, b.same) {
			w.fail("block %d is %q", i, b.text)
		}
	}
}

func (w *world) lied(how string) bool { return slices.Contains(w.lies, how) }

// checkEnd: what is said of the end is true.
func (w *world) checkEnd() {
	got, rest := readBlocks([]byte(withoutKeepAlives(w.got)))
	whole := len(got) == len(w.log.events[w.from:])
	_, byEnd := w.inputs[len(w.inputs)-1].in.(Ended)
	switch c := *w.closed; c.Outcome {
	case Complete, Resumed:
		switch {
		case w.log.marked:
			if !w.markerReached(got, rest) {
				w.fail("without the marker")
			}
		case !whole && !w.lied("skip") && !w.believed():
			w.fail("%d of %d events", len(got), len(w.log.events)-w.from)
		case whole && byEnd && w.cleanEnd && len(w.lies) == 0 && (w.dialled == 1 || !w.log.nameless()) && strings.TrimPrefix(rest, byteOrderMark) != strings.TrimPrefix(w.log.tail, byteOrderMark):
			w.fail("the end is %q", rest)
		}
		if c.Outcome == Resumed && w.dialled < 2 {
			w.fail("nothing was resumed")
		}
	case Cut, Gap:
		if !c.Abort {
			w.fail("without abort")
		}
		if c.Outcome == Gap && !w.lied("skip") && !w.lied(string(lostForGood)) {
			w.fail("nothing is lost")
		}
		if why := w.excuse(got); c.Outcome == Cut && w.patient && why == "" {
			w.fail("there was no need for it")
		}
	case Drained:
		if w.drainBy.IsZero() || w.now.After(w.drainBy) {
			w.fail("drained at %v, by %v", w.now.Sub(w.begun), w.drainBy.Sub(w.begun))
		}
		if !c.Abort && rest != "" {
			w.fail("drained in the middle of %q", rest)
		}
	case ClientGone:
		if _, gone := w.inputs[len(w.inputs)-1].in.(Gone); !gone {
			w.fail("the client is there")
		}
	default:
		w.fail("an event stream was only passed on")
	}
}

func (w *world) markerReached(got []logged, rest string) bool {
	if len(got) > 0 && strings.Contains(got[len(got)-1].text, modelMarker) {
		return true
	}
	return strings.Contains(rest, modelMarker)
}

// believed reports whether the stream has ended as its origin has ended it before,
// because all that came of asking for more was silence, or a refusal.
func (w *world) believed() bool {
	_, timed := w.inputs[len(w.inputs)-1].in.(Tick)
	return w.cleanEnd && (timed && w.gaveUp != nil && w.gaveUp.opened || len(w.lies) > 0)
}

// excuse says why a stream with endless budgets may be cut; empty: there is no
// reason.
func (w *world) excuse(got []logged) string {
	switch {
	case len(w.lies) > 0:
		return "the origin lies"
	case w.oversize:
		return "in a large event"
	case len(withIDs(got)) == 0 && (len(got) > 0 || !w.start.Repeatable || !w.start.Owned):
		return "there is nothing to resume from"
	case w.log.late, w.log.never && (w.policy.Dedup == DedupAlways || w.start.HasCursor || w.repeats):
		return "whether the client has a large event, nobody knows"
	case !w.start.Owned && w.dialled == 1:
		return "Envoy resets its client"
	}
	return ""
}

// checkAgain: the same facts again, and the same comes of them.
func (w *world) checkAgain() {
	m := New(w.begun, w.policy, w.start)
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
}
