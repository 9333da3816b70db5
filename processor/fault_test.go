package processor

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/processor/splice"
	"holdfast/processor/sse"
)

// faulty is a machine that works until its fuse has burnt down.
type faulty struct {
	*splice.Machine
	scanner *sse.Scanner // holds back what the Machine does
	fuse    func(in splice.Input) bool
	dead    bool
}

func (f *faulty) Held() []byte { return f.scanner.Held() }

func (f *faulty) Step(now time.Time, in splice.Input) splice.Ready {
	if f.dead {
		panic("asked again after a fault")
	}
	f.dead = f.fuse(in)
	if c, ok := in.(splice.Chunk); ok {
		f.scan(c.Bytes)
	}
	if f.dead {
		panic("internal fault")
	}
	return f.Machine.Step(now, in)
}

// scan fails at the worst moment: every event was taken out, and what they would
// have become is lost.
func (f *faulty) scan(b []byte) {
	whole := sse.NewScanner(0)
	whole.Feed(append(bytes.Clone(f.scanner.Held()), b...))
	n := 0
	for _, ok := whole.Next(); ok; _, ok = whole.Next() {
		n++
	}
	f.scanner.Feed(b)
	for range n {
		f.scanner.Next()
	}
	if !f.dead {
		f.scanner.Next()
	}
}

func (f *faulty) AppendState(s *splice.State) {
	if f.dead {
		panic("asked for its state after a fault")
	}
	f.Machine.AppendState(s)
}

// inFaultyWorld has machines that fail at an input.
func inFaultyWorld(t *testing.T, fuse func(in splice.Input) bool, f func(w *world)) {
	t.Helper()
	inWorld(t, `- {name: p, heartbeat: 15s}`, func(w *world) {
		w.srv.newMachine = func(now time.Time, p *splice.Policy, s splice.Start) machine {
			return &faulty{Machine: splice.New(now, p, s), scanner: sse.NewScanner(0), fuse: fuse}
		}
		f(w)
		w.wantOutcome("passed")
		w.wantMetric(1, "bypassed_total", "fault")
		if n := w.logs.FilterMessageSnippet("internal fault").Len(); n != 1 {
			t.Errorf("%d lines about the fault, want 1", n)
		}
		w.wantMetric(1, "store_operations_total", "release", "ok")
	})
}

// A fault of the core costs the client nothing: it gets every byte of the
// origin, in order, as if we were not there.
func TestFaultPassesOn(t *testing.T) {
	chunks := []string{"id: 1\ndata: a\n\nid: 2\nda", "ta: b\n", "\nid: 3\n", "data: c\n\n", ": x\n", "id: 4\n\nid"}
	for at := range chunks {
		seen := -1
		inFaultyWorld(t, func(in splice.Input) bool {
			if _, ok := in.(splice.Chunk); ok {
				seen++
			}
			return seen == at
		}, func(w *world) {
			e := w.stream("GET", "/")
			for _, c := range chunks {
				e.chunk(c)
			}
			synctest.Wait()
			e.end(": 5")
			if meta := e.wantEnd(strings.Join(chunks, "") + ": 5"); meta["outcome"] != "passed" {
				t.Errorf("metadata: %v", meta)
			}
		})
	}
}

func TestFaultAtTheEnd(t *testing.T) {
	atEnd := func(in splice.Input) bool { _, ok := in.(splice.Ended); return ok }
	t.Run("body", func(t *testing.T) {
		inFaultyWorld(t, atEnd, func(w *world) {
			e := w.stream("GET", "/")
			e.chunk("data: 1\n\ndata")
			e.end(": 2")
			e.wantEnd("data: 1\n\ndata: 2")
		})
	})
	t.Run("trailers", func(t *testing.T) {
		inFaultyWorld(t, atEnd, func(w *world) {
			e := w.stream("GET", "/")
			e.chunk("data: 1\n\ndata")
			e.send(trailersMessage())
			e.wantEnd("data: 1\n\ndata")
		})
	})
}

func TestFaultInTimer(t *testing.T) {
	inFaultyWorld(t, func(in splice.Input) bool { _, ok := in.(splice.Tick); return ok }, func(w *world) {
		e := w.stream("GET", "/")
		e.chunk("data: 1\n\ndata")
		e.wantBody("data: 1\n\n")
		elapse(time.Minute)
		e.wantBody("data") // nobody knows any more when it will be whole
		e.chunk(": 2")
		e.wantBody(": 2")
		if s := w.srv.live.Snapshot(0, 1); len(s) != 1 || s[0].Bytes == 0 {
			t.Errorf("snapshot: %+v", s)
		}
		e.leave()
	})
}

func TestFaultWhenClientLeaves(t *testing.T) {
	inFaultyWorld(t, func(in splice.Input) bool { _, ok := in.(splice.Gone); return ok }, func(w *world) {
		e := w.stream("GET", "/")
		e.chunk("data: 1\n\ndata")
		e.wantBody("data: 1\n\n")
		e.leave()
	})
}

// A fault before the stream began costs Envoy one failed gRPC stream, which it
// was told to put up with.
func TestFaultInHeaders(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		w.srv.newMachine = func(time.Time, *splice.Policy, splice.Start) machine { panic("internal fault") }
		e := w.dial()
		e.ask(requestMessage("GET", "/"))
		e.send(responseMessage(":status: 200", "content-type: text/event-stream"))
		e.wantReset()
		if w.logs.FilterMessageSnippet("internal fault").Len() != 1 {
			t.Error("nobody is told")
		}
	})
}
