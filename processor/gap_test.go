package processor

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const gapEvent = "event: lost\ndata: \n\n"

// A cursor that fell out of the log: the client is told, and gets what there is.
func TestGap(t *testing.T) {
	policy := `- {name: p, mode: hold, ids: sealed, gap_event: lost, detach: 2m, heartbeat: 0, resume: none, replay: {events: 3}}`
	bothWays(t, policy, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		c := ask(h, "POST", "/chat", strings.NewReader("question"))
		o.say <- data(1, 2)
		ids := c.takes(data(1, 2))
		c.leave()
		h.wantOutcome("client_gone")
		o.say <- data(3, 8)
		synctest.Wait()
		c = ask(h, "GET", "/chat", nil, "last-event-id: "+ids[0])
		ids = c.takes(gapEvent + data(6, 8))
		other := ask(h, "GET", "/chat", nil, "last-event-id: "+ids[0]) // of the gap itself
		other.takes(data(6, 8))
		other.leave()
		h.wantOutcome("client_gone")
		o.say <- data(9, 9)
		c.takes(data(9, 9))
		close(o.say)
		c.wantEnd("")
		synctest.Wait()
		lines := h.logs.FilterMessage("stream ended").All()[h.read:]
		if len(lines) != 1 || lines[0].ContextMap()["outcome"] != "gap" {
			t.Errorf("%v", lines)
		}
		if o.asks != 1 {
			t.Errorf("the origin was asked %d times", o.asks)
		}
	}, detached)
}

// A reader that is too slow is told where it is led across a gap.
func TestGapOfASlowReader(t *testing.T) {
	policy := `- {name: p, mode: hold, ids: sealed, gap_event: lost, detach: 2m, heartbeat: 0, resume: none, replay: {events: 3}}`
	inHolding(t, policy, nil, func(h *holding) {
		o := newSpeaking(h)
		c := h.ask("POST", "/chat", strings.NewReader("question"))
		o.say <- data(1, 1)
		id := c.takes(data(1, 1))[0]
		slow := h.ask("GET", "/chat", nil, "last-event-id: "+id)
		large := "data: " + strings.Repeat("x", 40<<10) + "\n\n"
		whole := make(chan int)
		go func() {
			b, _ := io.ReadAll(c.Body)
			whole <- strings.Count(string(b), "data: x")
		}()
		for range 20 {
			o.say <- large
			synctest.Wait()
		}
		close(o.say)
		if n := <-whole; n != 20 {
			t.Errorf("the first client got %d", n)
		}
		b, err := io.ReadAll(slow.Body)
		got, _ := unsealed(string(b))
		if err != nil || strings.Count(got, "<id>"+gapEvent) != 1 || !strings.HasSuffix(got, "<id>"+gapEvent+strings.Repeat("<id>"+large, 3)) {
			t.Errorf("%d bytes, %v, %d gaps, %d events", len(got), err, strings.Count(got, gapEvent), strings.Count(got, "data: x"))
		}
	}, detached)
}

// What an origin without ids sends while its client is away is gone: the next stream
// says so, whoever owns it.
func TestGapBetweenStreams(t *testing.T) {
	for event, policy := range map[string]string{"": "", gapEvent: ", gap_event: lost"} {
		sealedGap := ""
		if event != "" {
			sealedGap = "<id>" + event
		}
		t.Run("inline"+policy, func(t *testing.T) {
			inWorld(t, `- {name: p, mode: inline, ids: sealed, heartbeat: 0s`+policy+`}`, func(w *world) {
				e := w.stream("GET", "/events")
				e.chunk(data(1, 1))
				ids := e.wantSealed("<id>" + data(1, 1))
				e.leave()
				w.wantOutcome("client_gone")
				e = w.stream("GET", "/events", "last-event-id: "+ids[0])
				e.chunk(byteOrderMark + data(5, 5))
				ids = e.wantSealed(byteOrderMark + sealedGap + "<id>" + data(5, 5))
				e.end("")
				e.last()
				w.wantOutcome("gap")
				// It has all of that, so what comes next is another stream.
				e = w.stream("GET", "/events", "last-event-id: "+ids[len(ids)-1])
				e.chunk(data(6, 6))
				e.wantSealed("<id>" + data(6, 6))
				e.leave()
			})
		})
		bothWays(t, `- {name: p, mode: hold, ids: sealed, heartbeat: 0, resume: none`+policy+`}`, nil, func(h *holding, ask asking) {
			o := newSpeaking(h)
			c := ask(h, "GET", "/events", nil)
			o.say <- data(1, 1)
			ids := c.takes(data(1, 1))
			c.leave()
			<-o.gone
			h.wantOutcome("client_gone")
			c = ask(h, "GET", "/events", nil, "last-event-id: "+ids[0])
			o.say <- data(5, 5)
			c.takes(event + data(5, 5))
			close(o.say)
			c.wantEnd("")
			h.wantOutcome("gap")
		})
	}
}

// An id that nobody can read says nothing of what its client has: no gap is claimed.
func TestNoGapWithoutAnID(t *testing.T) {
	inWorld(t, `- {name: p, mode: inline, ids: sealed, heartbeat: 0s, gap_event: lost}`, func(w *world) {
		for _, id := range []string{"", "41", strings.Repeat("x", 90)} {
			e := w.stream("GET", "/events", "last-event-id: "+id)
			e.chunk(data(1, 1))
			e.wantSealed("<id>" + data(1, 1))
			e.end("")
			e.last()
			w.wantOutcome("complete")
		}
	})
}

// An origin's id that is too long for one of ours is in the log.
func TestReferredID(t *testing.T) {
	long := strings.Repeat("long", 50)
	bothWays(t, `- {name: p, mode: hold, ids: sealed, heartbeat: 0}`, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		c := ask(h, "GET", "/events", nil, "authorization: A")
		o.say <- "id: " + long + "1\ndata: event 1\n\nid: " + long + "2\ndata: event 2\n\n"
		ids := c.takes(data(1, 2))
		c.leave()
		<-o.gone
		var cursor string
		h.serve = func(w http.ResponseWriter, r *http.Request) {
			cursor = r.Header.Get("Last-Event-Id")
			beginEvents(w)
			say(w, "id: %s3\ndata: event 3\n\n", long)
			<-r.Context().Done()
		}
		for i, want := range []string{long + "1", long + "2"} {
			c = ask(h, "GET", "/events", nil, "authorization: A", "last-event-id: "+ids[i])
			c.takes(data(3, 3))
			c.leave()
			synctest.Wait()
			if cursor != want {
				t.Errorf("the origin got %q, want %q", cursor, want)
			}
		}
		c = ask(h, "GET", "/events", nil, "authorization: B", "last-event-id: "+ids[0])
		c.takes(data(3, 3))
		c.leave()
		if cursor != "" {
			t.Errorf("somebody else's: the origin got %q", cursor)
		}
		elapse(2 * time.Hour) // it is in the log no more
		c = ask(h, "GET", "/events", nil, "authorization: A", "last-event-id: "+ids[0])
		c.takes(data(3, 3))
		c.leave()
		if cursor != "" {
			t.Errorf("long after: the origin got %q", cursor)
		}
	})
}

// The id of an epoch that is over means another event to its origin now.
func TestSealedEpoch(t *testing.T) {
	inWorld(t, sealedInline, func(w *world) {
		e := w.stream("GET", "/events", "authorization: A")
		e.chunk(ev(5, 6, 7))
		ids := e.wantSealed("<id>data: event 5\n\n<id>data: event 6\n\n<id>data: event 7\n\n")
		e.chunk(ev(1, 2, 3))
		ids = append(ids, e.wantSealed("<id>data: event 1\n\n<id>data: event 2\n\n<id>data: event 3\n\n")...)
		e.leave()
		w.wantOutcome("client_gone")
		w.wantCursor(ids[4], "2", "authorization: A").leave()

		// The log still knows where it was.
		e = w.dial()
		e.send(requestMessage("GET", "/events", "authorization: A", "last-event-id: "+ids[1]))
		e.wantHeaders("200")
		got, _ := unsealed(e.recv().GetStreamedImmediateResponse().GetBodyResponse().String())
		if n := strings.Count(got, "data: event"); n != 4 {
			t.Errorf("%d events: %q", n, got)
		}
		e.wantReset()
	})
}
