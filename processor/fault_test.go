package processor

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/processor/live"
	"holdfast/processor/splice"
	"holdfast/processor/sse"
	"holdfast/processor/upstream"
	"holdfast/sessionstore"
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

// blind is a machine that works, and cannot be looked at.
type blind struct{ *splice.Machine }

func (blind) AppendState(*splice.State) { panic("no state") }
func (blind) Cursor() string            { panic("no cursor") }

// A fault in what only looks at a machine costs neither the stream nor the process.
func TestFaultOfALook(t *testing.T) {
	inWorld(t, `- {name: p, heartbeat: 15s}`, func(w *world) {
		w.srv.newMachine = func(now time.Time, p *splice.Policy, s splice.Start) machine {
			return blind{splice.New(now, p, s)}
		}
		e := w.stream("GET", "/")
		e.chunk("id: 1\ndata: a\n\nid: 2\nda")
		e.wantBody("id: 1\ndata: a\n\n")
		elapse(15 * time.Second)
		e.wantBody(": keep-alive\n\n")
		if s := w.srv.live.Snapshot(0, 1); len(s) != 1 || s[0].Events != 1 || s[0].Cursor != "" {
			t.Errorf("it is shown as %+v", s)
		}
		e.chunk("ta: b\n\n")
		e.wantBody("id: 2\ndata: b\n\n")
		e.end("")
		e.wantEnd("")
		w.wantOutcome("complete")
		if n := w.logs.FilterMessageSnippet("could not be looked at").Len(); n != 1 {
			t.Errorf("%d lines about the fault, want 1", n)
		}
	})
}

// raging is a sink that fails where nobody expects it.
type raging struct{ sink }

func (raging) write([]byte) error { panic("no client") }

// A fault outside the machine, on a timer's goroutine, costs one stream.
func TestFaultIsContained(t *testing.T) {
	inWorld(t, `- {name: p, heartbeat: 15s}`, func(w *world) {
		var bad *stream
		e := w.stream("GET", "/")
		e.chunk("data: a\n\n")
		e.wantBody("data: a\n\n")
		w.srv.live.Each(func(_ live.ID, s live.Source) { bad = &s.(*inlined).stream })
		bad.gate.lock()
		bad.out = raging{bad.out}
		bad.gate.unlock()
		elapse(15 * time.Second)
		e.wantReset()
		w.wantOutcome("cut")
		w.stream("GET", "/").leave() // and others go on
		if n := w.logs.FilterMessageSnippet("the stream is cut").Len(); n != 1 {
			t.Errorf("%d lines about the fault, want 1", n)
		}
	})
}

// spoil makes the client's side of the one stream there is fail from now on.
func (w *world) spoil() {
	w.Helper()
	synctest.Wait()
	w.srv.live.Each(func(_ live.ID, s live.Source) {
		var st *stream
		switch s := s.(type) {
		case *inlined:
			st = &s.stream
		case *immediate:
			st = &s.stream
		case *relayed:
			st = &s.stream
		}
		st.gate.lock()
		defer st.gate.unlock()
		st.out = raging{st.out}
	})
}

// The same where the goroutine is a handler's.
func TestFaultInHandler(t *testing.T) {
	wantContained := func(h *holding) {
		h.wantOutcome("cut")
		if n := h.logs.FilterMessageSnippet("the stream is cut").Len(); n != 1 {
			t.Errorf("%d lines about the fault, want 1", n)
		}
		if n := h.srv.live.Len(); n != 0 {
			t.Errorf("%d streams are still known", n)
		}
		if n := h.dialer.Stats().Live; n != 0 {
			t.Errorf("%d fetches are open", n)
		}
	}
	said := func(o *speaking) { o.say <- ev(2) }
	t.Run("inline", func(t *testing.T) {
		inHolding(t, `- {name: p, mode: inline}`, nil, func(h *holding) {
			e := h.stream("GET", "/")
			e.chunk(ev(1))
			e.wantBody(ev(1))
			h.spoil()
			e.chunk(ev(2))
			e.wantReset()
			wantContained(h)
		})
	})
	t.Run("immediate", func(t *testing.T) {
		inHolding(t, direct, nil, func(h *holding) {
			o := newSpeaking(h)
			e := h.dial()
			e.hold("GET", "/")
			e.wantHeaders("200")
			o.say <- ev(1)
			e.wantImmediate(ev(1), false)
			h.spoil()
			said(o)
			e.wantReset()
			wantContained(h)
		})
	})
	for name, policy := range map[string]string{"relay": heldOn, "relay, may be detached": keptOn} {
		t.Run(name, func(t *testing.T) {
			inHolding(t, policy, nil, func(h *holding) {
				o := newSpeaking(h)
				r := h.ask("GET", "/", nil)
				o.say <- ": hello\n\n"
				r.want(": hello\n\n")
				h.spoil()
				said(o)
				r.wantCut("")
				wantContained(h)
			}, detached)
		})
	}
}

// faultyLog fails when it is read for the third time.
type faultyLog struct {
	sessionstore.Log

	read int
}

func (f *faultyLog) After(ctx context.Context, p sessionstore.Position, l sessionstore.PageLimits) (sessionstore.Page, error) {
	if f.read++; f.read > 2 {
		panic("no log")
	}
	return f.Log.After(ctx, p, l)
}

// And where a client is served from the log, in a handler of either kind.
func TestFaultOfAReplay(t *testing.T) {
	for _, via := range []string{"relay", "immediate"} {
		t.Run(via, func(t *testing.T) {
			policy := strings.Replace(keptOn, "mode: hold", "mode: hold, via: "+via, 1)
			inHolding(t, policy, nil, func(h *holding) {
				h.srv.store.records = &faultyLog{Log: h.srv.store.records}
				o := newSpeaking(h)
				if via == "relay" {
					c := h.ask("GET", "/", nil)
					o.say <- data(1, 1)
					ids := c.takes(data(1, 1))
					r := h.ask("GET", "/", nil, "last-event-id: "+ids[0])
					o.say <- data(2, 2)
					c.takes(data(2, 2)) // and goes on
					r.wantCut("")
					c.leave()
				} else {
					e := h.dial()
					e.hold("GET", "/")
					e.wantHeaders("200")
					o.say <- data(1, 1)
					_, ids := unsealed(string(e.recv().GetStreamedImmediateResponse().GetBodyResponse().GetBody()))
					r := h.dial()
					m := requestMessage("GET", "/", "last-event-id: "+ids[0])
					m.GetRequestHeaders().EndOfStream = true
					r.send(m)
					r.wantHeaders("200")
					o.say <- data(2, 2)
					e.recv()
					r.wantReset()
					elapse(time.Second)
					e.leave()
				}
				synctest.Wait()
				if n := h.logs.FilterMessageSnippet("a replay is cut").Len(); n != 1 {
					t.Errorf("%d complaints", n)
				}
				elapse(3 * time.Minute) // nobody comes back
				if n := h.srv.live.Len(); n != 0 {
					t.Errorf("%d streams are still known", n)
				}
				h.wantMetric(0, "streams_active", "hold")
			}, detached)
		})
	}
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

// A held stream goes on as a copy while that is what its client lacks, and ends
// honestly where only the machine knew.
func TestFaultOfHeldStream(t *testing.T) {
	for name, tt := range map[string]struct {
		o       *attempts
		fuse    func(splice.Input) bool
		want    string
		cut     bool
		outcome string
	}{
		"first attempt": {
			answering(sends(ev(1) + "id: 2\nda")), func(in splice.Input) bool {
				c, ok := in.(splice.Chunk)
				return ok && bytes.Contains(c.Bytes, []byte("id: 1"))
			}, ev(1) + "id: 2\nda", false, "passed",
		},
		"first attempt, reset": {
			answering(sends(ev(1), reset)), func(in splice.Input) bool { _, ok := in.(splice.Chunk); return ok },
			ev(1), true, "passed",
		},
		"second attempt": {
			answering(sends(ev(1), reset), sends(ev(1, 2))), func(in splice.Input) bool {
				c, ok := in.(splice.Chunk)
				return ok && c.Attempt == 1
			}, ev(1), true, "cut",
		},
		"between attempts": {
			answering(sends(ev(1), reset)), func(in splice.Input) bool { _, ok := in.(splice.Ended); return ok },
			ev(1), true, "cut",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHolding(t, quiet, tt.o.serve, func(h *holding) {
				h.srv.newMachine = func(now time.Time, p *splice.Policy, s splice.Start) machine {
					return &faulty{Machine: splice.New(now, p, s), scanner: sse.NewScanner(0), fuse: tt.fuse}
				}
				r := h.open("/")
				if tt.cut {
					r.wantCut(tt.want)
				} else {
					r.wantEnd(tt.want)
				}
				h.wantOutcome(tt.outcome)
				if n := h.dialer.Stats().Live; n != 0 {
					t.Errorf("%d fetches are open", n)
				}
			})
		})
	}
}

// brokenStrategy fails wherever it is asked.
type brokenStrategy struct {
	upstream.Strategy
	in string
}

func (b *brokenStrategy) Watches() bool { return b.in == "observe" }

func (b *brokenStrategy) Observe(upstream.Event) { panic("observe") }

func (b *brokenStrategy) Request(cursor string) (upstream.Request, bool) {
	if b.in == "request" {
		panic("request")
	}
	return b.Strategy.Request(cursor)
}

func TestFaultOfStrategy(t *testing.T) {
	for _, in := range []string{"observe", "request"} {
		t.Run(in, func(t *testing.T) {
			inHolding(t, quiet, nil, func(h *holding) {
				o := answering(func(w http.ResponseWriter, r *http.Request) {
					h.srv.live.Each(func(_ live.ID, s live.Source) {
						t.Error("it is too early for a stream")
					})
					beginEvents(w)
					say(w, ": hello\n\n")
					elapse(time.Second)
					h.srv.live.Each(func(_ live.ID, s live.Source) {
						st := s.(*relayed)
						st.gate.lock()
						st.origin.strategy = &brokenStrategy{st.origin.strategy, in}
						st.gate.unlock()
					})
					say(w, "%s", ev(1))
					elapse(time.Second)
					reset()
				})
				h.serve = o.serve
				h.open("/").wantCut(": hello\n\n" + ev(1))
				h.wantOutcome("cut")
				if n := h.logs.FilterMessageSnippet("fault of a resume strategy").Len(); n != 1 {
					t.Errorf("%d lines about the fault", n)
				}
			})
		})
	}
}
