package clients

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/test/harness"
)

// event is what a library made of an event: its type, id and data.
type event [3]string

// shapes is a stream with everything that is allowed, and the events in it.
const shapes = "\ufeff: a comment\n\nretry: 20\n\n" +
	"id: 1\ndata: plain\n\n" +
	"id: 2\r\nevent: named\r\ndata: two\r\ndata: lines\r\n\r\n" +
	"id:3\ndata:no space\nunknown: field\n\n" +
	": another\n" +
	"id: 4\ndata:  a space more\ndata\n\n" +
	"event: named\nid: 5\ndata: {\"text\":\"Grüße, 世界 \U0001f680\"}\n\n"

var shapesMean = []event{
	{"message", "1", "plain"},
	{"named", "2", "two\nlines"},
	{"message", "3", "no space"},
	{"message", "4", " a space more\n"},
	{"named", "5", `{"text":"Grüße, 世界 ` + "\U0001f680" + `"}`},
}

// numbers serves a stream of ten events in lives of three; each life but the last
// ends in the middle of an event, without the end of its transfer. It does so when
// the client has what came before, for what is still on its way may be lost with
// the connection.
func numbers(w http.ResponseWriter, r *http.Request, c *control) {
	const all, perLife = 10, 3
	last, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	if last >= all {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	say := stream(w)
	say("retry: 20\n\n")
	for n := last + 1; n <= all; n++ {
		if n > last+perLife {
			say(fmt.Sprintf("id: %d\ndata: ev", n))
			c.await(fmt.Sprintf("%s-%d", r.URL.Query().Get("key"), n-1), r.Context().Done())
			panic(http.ErrAbortHandler)
		}
		say(fmt.Sprintf("id: %d\ndata: event %d\n\n", n, n))
	}
	say("id: 10\nevent: end\ndata:\n\n")
}

func numbered(to int) (events []event) {
	for n := range to {
		events = append(events, event{"message", fmt.Sprint(n + 1), fmt.Sprintf("event %d", n+1)})
	}
	return events
}

// stream begins an event stream and returns what writes to it, flushing each piece.
func stream(w http.ResponseWriter) func(string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	return func(text string) {
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
	}
}

func streams(t *testing.T, c *control) (url string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/shapes", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Last-Event-ID") != "" {
			w.WriteHeader(http.StatusNoContent) // that was all
			return
		}
		stream(w)(shapes)
	})
	mux.HandleFunc("/shapes-and-end", func(w http.ResponseWriter, r *http.Request) {
		say := stream(w)
		say(shapes + "event: end\ndata:\n\n")
		<-r.Context().Done()
	})
	mux.HandleFunc("/numbers", func(w http.ResponseWriter, r *http.Request) { numbers(w, r, c) })
	return serve(t, mux)
}

// read is what a library that does not reconnect says of a stream.
type read struct {
	Events []event `json:"events"`
	Failed bool    `json:"failed"`
}

// TestReaders: libraries that read one response.
func TestReaders(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		c := newControl(t)
		url, _ := w.to(t, streams(t, c))
		for _, reader := range []struct {
			name string
			run  func(path, acknowledge string) *harness.Program
		}{
			{"httpx-sse", func(path, acknowledge string) *harness.Program { return python(t, "events.py", url+path, acknowledge) }},
			{"eventsource-parser", func(path, acknowledge string) *harness.Program { return node(t, "parser.mjs", url+path, acknowledge) }},
		} {
			t.Run(reader.name, func(t *testing.T) {
				run := func(stream string) read {
					key := reader.name + stream
					return result[read](t, reader.run("/"+stream+"?key="+key, c.URL+"/seen/"+key))
				}
				want := read{Events: shapesMean}
				if diff := cmp.Diff(want, run("shapes")); diff != "" {
					t.Errorf("shapes (-want +got):\n%s", diff)
				}
				want = read{Events: append(numbered(10), event{"end", "10", ""})}
				if !w.holds() {
					want = read{Events: numbered(3), Failed: true}
				}
				if diff := cmp.Diff(want, run("numbers")); diff != "" {
					t.Errorf("numbers (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// TestEventSource: a library that does as a browser does.
func TestEventSource(t *testing.T) {
	type seen struct {
		Opens  int     `json:"opens"`
		Errors int     `json:"errors"`
		Events []event `json:"events"`
	}
	everyWay(t, func(t *testing.T, w way) {
		c := newControl(t)
		url, _ := w.to(t, streams(t, c))
		run := func(stream string) seen {
			return result[seen](t, node(t, "eventsource.mjs", url+"/"+stream+"?key="+stream, c.URL+"/seen/"+stream))
		}
		want := seen{Opens: 1, Events: numbered(10)}
		if !w.holds() {
			want.Opens, want.Errors = 4, 3
		}
		if diff := cmp.Diff(want, run("numbers")); diff != "" {
			t.Errorf("numbers (-want +got):\n%s", diff)
		}
		want = seen{Opens: 1, Events: shapesMean}
		if diff := cmp.Diff(want, run("shapes-and-end")); diff != "" {
			t.Errorf("shapes (-want +got):\n%s", diff)
		}
	})
}
