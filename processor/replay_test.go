package processor

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

const keptOn = `- {name: p, mode: hold, ids: sealed, detach: 2m, heartbeat: 0, resume: none}`

func detached(o *Options) { o.Detached = 2 }

// asking is how a client's request reaches the stream that is held for it.
type asking func(h *holding, method, path string, body io.Reader, more ...string) *reading

// bothWays plays f with responses that are relayed, and with immediate ones.
func bothWays(t *testing.T, policy string, serve http.HandlerFunc, f func(h *holding, ask asking), change ...func(*Options)) {
	t.Helper()
	for via, ask := range map[string]asking{"relay": (*holding).ask, "immediate": (*holding).askDirectly} {
		t.Run(via, func(t *testing.T) {
			inHolding(t, strings.Replace(policy, "mode: hold", "mode: hold, via: "+via, 1), serve, func(h *holding) { f(h, ask) }, change...)
		})
	}
}

// askDirectly is ask for a response that comes from the filter.
func (h *holding) askDirectly(method, path string, body io.Reader, more ...string) *reading {
	h.Helper()
	e := h.dial()
	m := requestMessage(method, path, more...)
	m.GetRequestHeaders().EndOfStream = body == nil
	e.send(m)
	for {
		a := e.recv()
		head := a.GetStreamedImmediateResponse().GetHeadersResponse()
		switch {
		case head != nil:
			return e.reading(head)
		case a.GetModeOverride().GetRequestBodyMode() == extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED:
			b, err := io.ReadAll(body)
			if err != nil {
				h.Fatal(err)
			}
			e.send(requestBody(string(b), true))
		case a.GetOverrideMessageTimeout() == nil:
			h.Fatalf("not held: %v", a)
		}
	}
}

// reading is the client's side of an immediate response that begins so.
func (e *envoy) reading(head *extproc.HttpHeaders) *reading {
	e.Helper()
	pr, pw := io.Pipe()
	r := &reading{holding: &holding{world: e.world}, Response: &http.Response{Header: http.Header{}, Body: pr}}
	r.leave = func() {
		elapse(time.Second) // who leaves at once may be an Envoy that is too old
		e.leave()
	}
	for _, f := range head.GetHeaders().GetHeaders() {
		r.Header.Add(f.GetKey(), string(f.GetRawValue()))
	}
	var err error
	if r.StatusCode, err = strconv.Atoi(r.Header.Get(":status")); err != nil {
		e.Fatal(err)
	}
	if head.GetEndOfStream() {
		_ = pw.Close()
		return r
	}
	go func() {
		for {
			m, err := e.next()
			if err != nil {
				_ = pw.CloseWithError(err)
				return
			}
			b := m.GetStreamedImmediateResponse().GetBodyResponse()
			if len(b.GetBody()) > 0 {
				_, _ = pw.Write(b.GetBody())
			}
			if b.GetEndOfStream() {
				_ = pw.Close()
				return
			}
		}
	}()
	e.Cleanup(e.leave)
	return r
}

// speaking is an origin whose one response says what a test tells it.
type speaking struct {
	say  chan string
	gone chan struct{}
	asks int
}

// newSpeaking makes it h's origin. Its channels are of h's bubble.
func newSpeaking(h *holding) *speaking {
	s := &speaking{say: make(chan string), gone: make(chan struct{}, 9)}
	h.serve = s.serve
	return s
}

func (s *speaking) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.asks++
	w.Header().Set("X-Origin", "1")
	w.Header().Set("Set-Cookie", "secret=1")
	beginEvents(w)
	for {
		select {
		case text, ok := <-s.say:
			if !ok {
				return
			}
			say(w, "%s", text)
		case <-r.Context().Done():
			s.gone <- struct{}{}
			return
		}
	}
}

func data(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&b, "data: event %d\n\n", n)
	}
	return b.String()
}

// takes reads events with sealed ids up to the one that ends with this.
func (r *reading) takes(want string) (ids []string) {
	r.Helper()
	var all strings.Builder
	for {
		got, found := unsealed(all.String())
		if got = strings.ReplaceAll(got, "<id>", ""); got == want {
			return found
		}
		b := make([]byte, 1)
		if _, err := r.Body.Read(b); err != nil {
			r.Fatalf("got %q, %v, want %q", got, err, want)
		}
		all.Write(b)
	}
}

// A stream without any ids, begun by POST: its client's network fails, the origin
// goes on, and the client goes on where it was.
func TestDetachedPost(t *testing.T) {
	for name, method := range map[string]string{"same request": "POST", "GET of the path": "GET"} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, keptOn, nil, func(h *holding, ask asking) {
				o := newSpeaking(h)
				c := ask(h, "POST", "/chat", strings.NewReader("question"), "authorization: A")
				o.say <- data(1, 3)
				ids := c.takes(data(1, 3))
				c.leave()
				h.wantOutcome("client_gone")
				o.say <- data(4, 5)

				c = ask(h, method, "/chat", nil, "authorization: A", "last-event-id: "+ids[1])
				if c.Header.Get("X-Origin") != "1" || c.Header.Get("Set-Cookie") != "" {
					t.Errorf("header %v", c.Header)
				}
				c.takes(data(3, 5))
				o.say <- data(6, 6)
				ids = c.takes(data(6, 6))
				other := ask(h, method, "/chat", nil, "authorization: A", "last-event-id: "+ids[0])
				o.say <- data(7, 7)
				c.takes(data(7, 7))
				other.takes(data(7, 7))
				other.leave()
				close(o.say)
				c.wantEnd("")
				synctest.Wait()

				// And again after its end.
				again := ask(h, method, "/chat", nil, "authorization: A", "last-event-id: "+ids[0])
				again.takes(data(7, 7))
				again.wantEnd("")
				if o.asks != 1 {
					t.Errorf("the origin was asked %d times", o.asks)
				}
				h.wantMetric(7, "events_replayed_total", "p")
				h.wantMetric(0, "streams_active", "hold")
				if n := h.srv.detached.Load(); n != 0 {
					t.Errorf("%d streams are still detached", n)
				}
			}, detached)
		})
	}
}

// Nobody comes back.
func TestDetachedForNothing(t *testing.T) {
	bothWays(t, keptOn, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		c := ask(h, "POST", "/chat", strings.NewReader("question"))
		o.say <- data(1, 1)
		c.takes(data(1, 1))
		c.leave()
		elapse(2*time.Minute - time.Second)
		o.say <- data(2, 2)
		select {
		case <-o.gone:
			t.Error("cancelled too early")
		default:
		}
		elapse(2 * time.Second)
		<-o.gone
		h.wantMetric(1, "streams_total", "hold", "client_gone", "p")
		h.wantMetric(0, "streams_active", "hold")
	}, detached)
}

// Who is not kept is cancelled at once: beyond the bound, without detach, and by
// the rules of MCP from 2026-07-28 on.
func TestNotDetached(t *testing.T) {
	for name, c := range map[string]struct {
		policies string
		header   string
		most     int
	}{
		"bound":      {keptOn, "x: y", 0},
		"not wanted": {`- {name: p, mode: hold, ids: sealed}`, "x: y", 2},
		"MCP":        {keptOn, "mcp-protocol-version: 2026-07-28", 2},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, c.policies, nil, func(h *holding, ask asking) {
				o := newSpeaking(h)
				r := ask(h, "POST", "/chat", strings.NewReader("question"), c.header)
				o.say <- data(1, 1)
				r.takes(data(1, 1))
				r.leave()
				<-o.gone
				h.wantOutcome("client_gone")
			}, func(opt *Options) { opt.Detached = c.most })
		})
	}
}

// The answer to an MCP client's request is kept without being asked for.
func TestMCPDetaches(t *testing.T) {
	bothWays(t, `- {name: p, mode: hold, ids: sealed}`, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		header := []string{"mcp-protocol-version: 2025-11-25", "mcp-session-id: s"}
		c := ask(h, "POST", "/mcp", strings.NewReader("{}"), header...)
		o.say <- data(1, 1)
		ids := c.takes(data(1, 1))
		c.leave()
		synctest.Wait()
		o.say <- data(2, 2)
		c = ask(h, "GET", "/mcp", nil, append(header, "last-event-id: "+ids[0])...)
		c.takes(data(2, 2))
		close(o.say)
		c.wantEnd("")
		done := ask(h, "GET", "/mcp", nil, append(header, "last-event-id: "+ids[0])...)
		last := done.takes(data(2, 2))
		done.wantEnd("")
		if r := ask(h, "GET", "/mcp", nil, append(header, "last-event-id: "+last[0])...); r.StatusCode != http.StatusNoContent {
			t.Errorf("who has everything got status %d", r.StatusCode)
		}
	}, detached)
}

// Another principal's cursor finds nothing, and the origin hears nothing of it.
func TestReplayIsForOneClient(t *testing.T) {
	bothWays(t, keptOn, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		h.serve = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "B" {
				if r.Header["Last-Event-Id"] != nil {
					t.Errorf("the origin got %v", r.Header)
				}
				w.WriteHeader(http.StatusTeapot)
				return
			}
			o.serve(w, r)
		}
		c := ask(h, "POST", "/chat", strings.NewReader("question"), "authorization: A")
		o.say <- data(1, 2)
		ids := c.takes(data(1, 2))
		c.leave()
		if r := ask(h, "POST", "/chat", nil, "authorization: B", "last-event-id: "+ids[0]); r.StatusCode != http.StatusTeapot {
			t.Errorf("status %d", r.StatusCode)
		}
		close(o.say)
	}, detached)
}

// The origin's own ids serve as well, where it is not asked again.
func TestDetachedWithOriginsIDs(t *testing.T) {
	bothWays(t, `- {name: p, mode: hold, detach: 2m, heartbeat: 0}`, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		c := ask(h, "POST", "/chat", strings.NewReader("question"), "authorization: A")
		o.say <- ev(1, 2, 3)
		c.want(ev(1, 2, 3))
		c.leave()
		synctest.Wait()
		o.say <- ev(4)
		c = ask(h, "POST", "/chat", strings.NewReader("question"), "authorization: A", "last-event-id: 2")
		c.want(ev(3, 4))
		o.say <- ev(5)
		close(o.say)
		c.wantEnd(ev(5))
		if o.asks != 1 {
			t.Errorf("the origin was asked %d times", o.asks)
		}
	}, detached)
}

// An id that two responses of one client have is not taken for the place in either.
func TestOriginsIDsOfTwoStreams(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, detach: 2m, heartbeat: 0}`, nil, func(h *holding) {
		asked := 0
		text := func(tab, from, to int) string {
			var b strings.Builder
			for i := from; i <= to; i++ {
				fmt.Fprintf(&b, "id: %d\ndata: tab %d event %d\n\n", i, tab, i)
			}
			return b.String()
		}
		h.serve = func(w http.ResponseWriter, r *http.Request) {
			asked++
			beginEvents(w)
			say(w, "%s", text(asked, 1, 4+asked))
			<-r.Context().Done()
		}
		a := h.ask("POST", "/chat", nil, "authorization: A")
		a.want(text(1, 1, 5))
		b := h.ask("POST", "/chat", nil, "authorization: A")
		b.want(text(2, 1, 6))
		a.leave()
		b.leave()
		synctest.Wait()
		b = h.ask("POST", "/chat", nil, "authorization: A", "last-event-id: 6") // which only that one has
		b.leave()
		a = h.ask("POST", "/chat", nil, "authorization: A", "last-event-id: 3")
		a.want(text(3, 1, 7)) // as without us
		a.leave()
		if asked != 3 {
			t.Errorf("the origin was asked %d times", asked)
		}
	}, detached)
}

// Clients that nothing tells apart are not taken for one another, whatever the
// origin knows them by.
func TestOriginsIDsOfAnonymousClients(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, detach: 2m, heartbeat: 0}`, nil, func(h *holding) {
		o := newSpeaking(h)
		c := h.ask("GET", "/me", nil, "cookie: sid=A")
		o.say <- ev(1, 2)
		c.want(ev(1, 2))
		c.leave()
		<-o.gone // nobody can come back to it
		c = h.ask("GET", "/me", nil, "cookie: sid=B", "last-event-id: 1")
		o.say <- "id: 2\ndata: for B\n\n"
		c.want("id: 2\ndata: for B\n\n")
		c.leave()
		<-o.gone
	}, detached)
}

// An event that is too large to be kept is missing in the log: nobody is led across,
// and nobody is told that there is no more. What lies around it in one chunk is kept.
func TestReplayAcrossALargeEvent(t *testing.T) {
	large := "data: " + strings.Repeat("x", 2<<10) + "\n\n"
	for name, last := range map[string]string{"": data(3, 4), "at the end": ""} {
		t.Run(name, func(t *testing.T) {
			inHolding(t, keptOn+"\nlimits: {event_bytes: 1KiB}", nil, func(h *holding) {
				o := newSpeaking(h)
				c := h.ask("POST", "/chat", strings.NewReader("question"), "authorization: A")
				o.say <- data(1, 1)
				ids := c.takes(data(1, 1))
				reader := h.ask("GET", "/chat", nil, "authorization: A", "last-event-id: "+ids[0])
				o.say <- large + last
				ids = append(ids, c.takes(large+last)...)
				reader.wantCut("")
				if line := h.ended(); line["outcome"] != "gap" || line["replay"] != true {
					t.Errorf("%v", line)
				}
				close(o.say)
				c.wantEnd("")
				synctest.Wait()

				h.serve = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }
				if r := h.ask("GET", "/chat", nil, "authorization: A", "last-event-id: "+ids[0]); r.StatusCode != http.StatusTeapot {
					t.Errorf("who lacks the event got status %d", r.StatusCode)
				}
				r := h.ask("GET", "/chat", nil, "authorization: A", "last-event-id: "+ids[1])
				if last == "" && r.StatusCode != http.StatusNoContent {
					t.Errorf("who has everything got status %d", r.StatusCode)
				}
				if last != "" {
					r.takes(last)
					r.wantEnd("")
				}
				if err := h.srv.Ready(); err != nil {
					t.Error(err)
				}
			}, detached)
		})
	}
}

// What a policy calls no large event has an id of ours in a replay too.
func TestReplayOfAnEventAboveTheDefaultLimit(t *testing.T) {
	inHolding(t, strings.Replace(keptOn, "resume: none", "resume: none, replay: {bytes: 16MiB}", 1)+"\nlimits: {event_bytes: 4MiB}", nil, func(h *holding) {
		o := newSpeaking(h)
		c := h.ask("POST", "/chat", strings.NewReader("question"), "authorization: A")
		o.say <- data(1, 1)
		ids := c.takes(data(1, 1))
		c.leave()
		synctest.Wait()
		large := "data: " + strings.Repeat("x", 2<<20) + "\n\n"
		o.say <- large
		close(o.say)
		synctest.Wait()
		b, err := io.ReadAll(h.ask("GET", "/chat", nil, "authorization: A", "last-event-id: "+ids[0]).Body)
		if got, ids := unsealed(string(b)); err != nil || got != "<id>"+large || len(ids) != 1 {
			t.Errorf("got %d bytes beginning with %.30q, %v", len(got), got, err)
		}
	}, detached)
}

// What is lost is not passed off as an end.
func TestReplayOfWhatBrokeOff(t *testing.T) {
	bothWays(t, keptOn, sends(data(1, 3), reset), func(h *holding, ask asking) {
		c := ask(h, "POST", "/chat", strings.NewReader("question"))
		b, err := io.ReadAll(c.Body)
		_, ids := unsealed(string(b))
		if err == nil || len(ids) != 3 {
			t.Fatalf("%q, %v", b, err)
		}
		c = ask(h, "GET", "/chat", nil, "last-event-id: "+ids[0])
		b, err = io.ReadAll(c.Body)
		got, _ := unsealed(string(b))
		if want := strings.ReplaceAll(data(2, 3), "data", "<id>data"); err == nil || got != want {
			t.Errorf("%q, %v, want %q and a cut", got, err, want)
		}
	}, detached)
}

// What ran inline is kept as well, though it ends with its client: a GET of the path
// brings what is missing, and the end, or a cut.
func TestInlineComesBack(t *testing.T) {
	for via, ask := range map[string]asking{"relay": (*holding).ask, "immediate": (*holding).askDirectly} {
		t.Run(via, func(t *testing.T) {
			inHolding(t, `- {name: p, mode: inline, ids: sealed, heartbeat: 0s, via: `+via+`}`, nil, func(h *holding) {
				e := h.stream("POST", "/chat", "authorization: A")
				e.chunk(data(1, 3))
				ids := e.wantSealed(strings.ReplaceAll(data(1, 3), "data", "<id>data"))
				back := func(id string) *reading {
					return ask(h, "GET", "/chat", nil, "authorization: A", "last-event-id: "+id)
				}

				// Its client's leaving is not noticed yet.
				c := back(ids[0])
				c.takes(data(2, 3))
				e.chunk(data(4, 4))
				c.takes(data(4, 4))
				e.leave()
				c.wantCut("")
				synctest.Wait()
				h.read = len(h.logs.FilterMessage("stream ended").All())

				c = back(ids[2])
				c.takes(data(4, 4))
				c.wantCut("")
				h.wantOutcome("cut")

				e = h.stream("POST", "/chat", "authorization: A")
				e.chunk(data(1, 2))
				ids = e.wantSealed(strings.ReplaceAll(data(1, 2), "data", "<id>data"))
				e.end("")
				e.last()
				h.wantOutcome("complete")
				c = back(ids[0])
				c.takes(data(2, 2))
				c.wantEnd("")
				if line := h.ended(); line["outcome"] != "complete" || line["mode"] != "inline" {
					t.Errorf("%v", line)
				}
				if c = back(ids[1]); c.StatusCode != http.StatusNoContent {
					t.Errorf("who has everything got status %d", c.StatusCode)
				}
			})
		})
	}
}

// A stream that has only readers waits for the foremost of them, as it would for its
// client: who reads on misses nothing, and who does not stops nobody.
func TestDetachedStreamWaitsForItsReader(t *testing.T) {
	large := "data: " + strings.Repeat("x", 20<<10) + "\n\n"
	const events = 60
	for name, bounds := range map[string]string{"events": "{events: 10, bytes: 64MiB}", "bytes": "{events: 1000, bytes: 200KiB}"} {
		t.Run(name, func(t *testing.T) {
			inHolding(t, strings.Replace(keptOn, "resume: none", "resume: none, replay: "+bounds, 1), nil, func(h *holding) {
				o := newSpeaking(h)
				c := h.ask("POST", "/chat", strings.NewReader("question"))
				o.say <- data(1, 1)
				id := c.takes(data(1, 1))[0]
				c.leave()
				h.wantOutcome("client_gone")
				reader := h.ask("GET", "/chat", nil, "last-event-id: "+id)
				stuck := h.ask("GET", "/chat", nil, "last-event-id: "+id)
				synctest.Wait()
				var said atomic.Int64
				go func() {
					for range events {
						o.say <- large
						said.Add(1)
					}
					close(o.say)
				}()
				elapse(time.Minute)
				if n := said.Load(); n < 8 || n > events/2 {
					t.Errorf("the origin got rid of %d events", n)
				}
				b, err := io.ReadAll(reader.Body)
				if n := strings.Count(string(b), large); n != events || err != nil {
					t.Errorf("the reader got %d events, %v", n, err)
				}
				b, err = io.ReadAll(stuck.Body)
				if n := strings.Count(string(b), large); n >= events || err == nil {
					t.Errorf("who did not read got %d events, %v", n, err)
				}
			}, detached)
		})
	}
}
