package processor

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const sealedInline = `- {name: p, mode: inline, ids: sealed, heartbeat: 0s}`

// unsealed is what an event of ours says, with <id> in place of each id, and the ids.
func unsealed(text string) (string, []string) {
	var ids []string
	line := regexp.MustCompile(`id: [A-Za-z0-9_-]{60,160}\n`)
	return line.ReplaceAllStringFunc(text, func(s string) string {
		ids = append(ids, strings.TrimSpace(strings.TrimPrefix(s, "id: ")))
		return "<id>"
	}), ids
}

func (e *envoy) wantSealed(want string) (ids []string) {
	e.Helper()
	got, end := e.body()
	text, ids := unsealed(got)
	if text != want || end {
		e.Errorf("body %q (end: %v), want %q", text, end, want)
	}
	return ids
}

// wantCursor asks for a stream with this Last-Event-ID and checks which one the
// origin gets; "" is none.
func (w *world) wantCursor(id, want string, more ...string) *envoy {
	w.Helper()
	e := w.dial()
	a := e.ask(requestMessage("GET", "/events", append([]string{"last-event-id: " + id}, more...)...))
	m := a.GetRequestHeaders().GetResponse().GetHeaderMutation()
	got, removed := "", false
	for _, h := range m.GetSetHeaders() {
		if h.GetHeader().GetKey() == "last-event-id" {
			got = string(h.GetHeader().GetRawValue())
		}
	}
	for _, name := range m.GetRemoveHeaders() {
		removed = removed || name == "last-event-id"
	}
	if got != want || removed != (want == "") {
		w.Errorf("the origin gets cursor %q (removed: %v), want %q", got, removed, want)
	}
	return e
}

// A sealed id stands in for the origin's on the way to the client, and turns back
// into it on the way to the origin, where there is no log to answer from. Any other is
// taken for none.
func TestSealedIDs(t *testing.T) {
	inWorld(t, `- {name: p, mode: inline, ids: sealed, heartbeat: 0s, replay: {bytes: 0}}`, func(w *world) {
		e := w.stream("GET", "/events", "authorization: A")
		e.chunk("retry: 9\nid: 41\ndata: a\n\n: comment\n\ndata: b\n\nevent: c\n\nid: 42\n\nid:\ndata: d\n\n")
		ids := e.wantSealed("<id>retry: 9\ndata: a\n\n: comment\n\n<id>data: b\n\nevent: c\n\n<id>\n<id>data: d\n\n")
		if len(ids) != 4 {
			t.Fatalf("%d ids", len(ids))
		}
		e.chunk("id: 43\ndata: e\n")
		e.nothing()
		e.chunk("\nid: 44")
		ids = append(ids, e.wantSealed("<id>data: e\n\n")...)
		e.end("\ndata: f")
		text, rest := unsealed(e.last())
		if text != "id: 44\ndata: f" || rest != nil {
			t.Errorf("the end brings %q", text)
		}
		w.wantOutcome("complete")

		for i, want := range []string{"41", "41", "42", "", "43"} {
			w.wantCursor(ids[i], want, "authorization: A").leave()
		}
		w.wantCursor(ids[0], "", "authorization: B").leave()
		w.wantCursor(ids[0], "").leave()
		w.wantCursor("41", "", "authorization: A").leave()
		w.wantCursor(ids[0][1:], "", "authorization: A").leave()
		w.wantCursor("", "", "authorization: A").leave()
		w.wantCursor(ids[0]+", "+ids[1], "", "authorization: A").leave()
	})
}

// last is the body up to the clean end.
func (e *envoy) last() string {
	e.Helper()
	var all strings.Builder
	for {
		got, end := e.body()
		all.WriteString(got)
		if end {
			e.wantClosed()
			return all.String()
		}
	}
}

// However the stream is cut, and however the response is owned, the client gets the
// same.
func TestSealedIDsAnyCut(t *testing.T) {
	const text = "\ufeffid: 1\r\ndata: a\r\rdata:b\nid:\u00ff\n\nevent: x\r\n\r\n:c\nid\ndata\n\nretry: 1\n\ndata: tail"
	const want = "\ufeff<id>data: a\r\r<id>data:b\n\nevent: x\r\n\r\n:c\n<id>data\n\nretry: 1\n\ndata: tail"
	serve := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Last-Event-Id") != "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		beginEvents(w)
		for i := range len(text) {
			say(w, "%s", text[i:i+1])
		}
	}
	t.Run("inline", func(t *testing.T) {
		inWorld(t, sealedInline, func(w *world) {
			for size := 1; size < len(text); size++ {
				e := w.stream("GET", "/events")
				for i := 0; i < len(text); i += size {
					e.chunk(text[i:min(i+size, len(text))])
				}
				e.end("")
				if got, _ := unsealed(e.last()); strings.ReplaceAll(got, "\r\n", "\n") != strings.ReplaceAll(want, "\r\n", "\n") {
					t.Errorf("chunks of %d: %q, want %q", size, got, want)
				}
			}
		})
	})
	t.Run("relay", func(t *testing.T) {
		inHolding(t, `- {name: p, mode: hold, ids: sealed, resume: none}`, serve, func(h *holding) {
			b, err := io.ReadAll(h.open("/events").Body)
			if got, _ := unsealed(string(b)); err != nil || got != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		})
	})
	t.Run("immediate", func(t *testing.T) {
		inHolding(t, `- {name: p, mode: hold, ids: sealed, via: immediate, resume: none}`, serve, func(h *holding) {
			e := h.dial()
			e.hold("GET", "/events")
			e.wantHeaders("200")
			if got, _ := unsealed(e.immediateRest()); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	})
}

// immediateRest is an immediate response's body up to its end.
func (e *envoy) immediateRest() string {
	e.Helper()
	var all strings.Builder
	for {
		b := e.recv().GetStreamedImmediateResponse().GetBodyResponse()
		all.Write(b.GetBody())
		if b.GetEndOfStream() {
			e.wantClosed()
			return all.String()
		}
	}
}

// An event above the limit streams through: its id comes with its beginning.
func TestSealedIDOfALargeEvent(t *testing.T) {
	inWorld(t, sealedInline, func(w *world) {
		e := w.stream("GET", "/events")
		large := "id: 5\ndata: " + strings.Repeat("x", 1<<20)
		e.chunk(large)
		ids := e.wantSealed("<id>" + strings.TrimPrefix(large, "id: 5\n"))
		e.chunk("y\n\nid: 6\ndata: z\n\n")
		ids = append(ids, e.wantSealed("y\n\n<id>data: z\n\n")...)
		e.end("")
		e.last()
		w.wantCursor(ids[1], "6").leave()
	})
}

// A held stream is resumed by the origin's ids, which the client never sees.
func TestSealedIDsWhileHeld(t *testing.T) {
	for via, policies := range map[string]string{
		"relay":     `- {name: p, mode: hold, ids: sealed}`,
		"immediate": `- {name: p, mode: hold, ids: sealed, via: immediate}`,
	} {
		t.Run(via, func(t *testing.T) {
			o := answering(sends(ev(1, 2, 3), reset), sends(ev(4, 5), reset), func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNoContent)
			})
			inHolding(t, policies, o.serve, func(h *holding) {
				var text string
				if via == "relay" {
					b, err := io.ReadAll(h.open("/events").Body)
					if err != nil {
						t.Fatal(err)
					}
					text = string(b)
				} else {
					e := h.dial()
					e.hold("GET", "/events")
					e.wantHeaders("200")
					text = e.immediateRest()
				}
				got, ids := unsealed(text)
				if want := strings.ReplaceAll(regexp.MustCompile(`id: \d+\n`).ReplaceAllString(ev(1, 2, 3, 4, 5), "<id>"), "\r", ""); got != want {
					t.Errorf("%q, want %q", got, want)
				}
				o.want(t, "GET ", "GET 3", "GET 5")

				// The client comes back with one of them.
				o2 := answering(sends(ev(5)))
				h.serve = o2.serve
				if via == "relay" {
					b, _ := io.ReadAll(h.open("/events", "last-event-id: "+ids[3]).Body)
					text = string(b)
				} else {
					e := h.dial()
					e.send(requestMessage("GET", "/events", "last-event-id: "+ids[3]))
					e.wantHeaders("200")
					text = e.immediateRest()
				}
				if n := len(blocks([]byte(text))); n != 1 {
					t.Errorf("%d events after a return: %q", n, text)
				}
				o2.want(t) // that end and what came before it are in the log
			})
		})
	}
}
