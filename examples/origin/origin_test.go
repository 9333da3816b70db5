package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a feed that needs no waiting.
func quick() feed {
	f := defaultFeed()
	f.events, f.rate, f.retry = 8, 0, 0
	return f
}

// get asks an origin and returns status and body. Header pairs follow the target.
func get(t *testing.T, h http.Handler, target string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// fields returns the values of one field of a stream.
func fields(body, name string) (values []string) {
	for line := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			values = append(values, strings.TrimRight(v, "\r\n"))
		}
	}
	return values
}

// numbers of the events of a stream.
func numbers(t *testing.T, body string) (ns []int) {
	t.Helper()
	for _, d := range fields(body, "data") {
		var e struct{ N int }
		if err := json.Unmarshal([]byte(d), &e); err != nil {
			t.Fatalf("event %q: %v", d, err)
		}
		ns = append(ns, e.N)
	}
	return ns
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestCursor(t *testing.T) {
	h := newOrigin(quick()).handler()
	for _, test := range []struct {
		name, query, cursor string
		want                []int
	}{
		{name: "no cursor", want: []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{name: "goes on after the cursor", cursor: "6", want: []int{7, 8}},
		{name: "repeats before it", query: "?over-replay=3", cursor: "6", want: []int{4, 5, 6, 7, 8}},
		{name: "repeats no more than there is", query: "?over-replay=9", cursor: "2", want: []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{name: "ends early, counted in new events", query: "?over-replay=2&end-every=3", cursor: "3", want: []int{2, 3, 4, 5, 6}},
		{name: "a foreign cursor is none", query: "?events=2", cursor: "x", want: []int{1, 2}},
		{name: "so is one in disguise", query: "?events=2", cursor: "+1", want: []int{1, 2}},
		{name: "and one of another style", query: "?events=2&ids=uuid", cursor: "1", want: []int{1, 2}},
		{name: "the flags change the feed", query: "?events=1", want: []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, body := get(t, h, "/events"+test.query, "Last-Event-ID", test.cursor)
			wantEqual(t, "status", code, http.StatusOK)
			wantEqual(t, "events", numbers(t, body), test.want)
		})
	}
	if code, body := get(t, h, "/events", "Last-Event-ID", "8"); code != http.StatusNoContent || body != "" {
		t.Errorf("with nothing left: got %d %q, want 204 and nothing", code, body)
	}
}

func TestIDs(t *testing.T) {
	h := newOrigin(quick()).handler()
	const target = "/events?end-every=2&events=5&ids="
	for _, test := range []struct {
		ids         string
		first, next []string
	}{
		{ids: "none"},
		{ids: "constant", first: []string{"a-session-and-not-an-event", "a-session-and-not-an-event"}, next: []string{"a-session-and-not-an-event", "a-session-and-not-an-event"}},
		{ids: "restarting", first: []string{"1", "2"}, next: []string{"1", "2"}},
		{ids: "monotonic", first: []string{"1", "2"}, next: []string{"3", "4"}},
	} {
		t.Run(test.ids, func(t *testing.T) {
			path := target + test.ids + "&client=" + test.ids
			_, first := get(t, h, path)
			wantEqual(t, "ids", fields(first, "id"), test.first)
			wantEqual(t, "events", numbers(t, first), []int{1, 2})
			_, next := get(t, h, path, "Last-Event-ID", "2")
			wantEqual(t, "ids after a return", fields(next, "id"), test.next)
			wantEqual(t, "events after a return", numbers(t, next), []int{3, 4})
		})
	}
	t.Run("uuid", func(t *testing.T) {
		_, first := get(t, h, target+"uuid")
		got := fields(first, "id")
		if len(got) != 2 || got[0] == got[1] || len(got[0]) != 36 {
			t.Fatalf("ids %q: want two different UUIDs", got)
		}
		_, next := get(t, h, target+"uuid", "Last-Event-ID", got[0])
		wantEqual(t, "events after a return", numbers(t, next), []int{2, 3})
	})
	t.Run("a stranger starts over", func(t *testing.T) {
		for range 2 {
			_, body := get(t, h, target+"constant")
			wantEqual(t, "events", numbers(t, body), []int{1, 2})
		}
	})
}

func TestFormat(t *testing.T) {
	h := newOrigin(quick()).handler()
	_, body := get(t, h, "/events?events=3&comments=2&retry=250ms&crlf=true&size=6")
	want := "retry: 250\r\n\r\n" +
		"id: 1\r\ndata: {\"n\":1,\"text\":\"event 1 of 3 lorem\"}\r\n\r\n" +
		"id: 2\r\ndata: {\"n\":2,\"text\":\"event 2 of 3 lorem\"}\r\n\r\n" +
		": still here\r\n\r\n" +
		"id: 3\r\ndata: {\"n\":3,\"text\":\"event 3 of 3 lorem\"}\r\n\r\n"
	wantEqual(t, "stream", body, want)
}

func TestStats(t *testing.T) {
	h := newOrigin(quick()).handler()
	if code, body := get(t, h, "/stats?client=a"); code != http.StatusNotFound || !strings.Contains(body, `"a"`) {
		t.Errorf("before: got %d %q, want 404 that names the client", code, body)
	}
	get(t, h, "/events?client=a&end-every=4")
	get(t, h, "/events?client=a&over-replay=2", "Last-Event-ID", "4")
	get(t, h, "/events?client=b")
	_, body := get(t, h, "/stats?client=a")
	wantEqual(t, "stats", body, `{"connections":2,"events":10,"repeats":2,"newest":8}`+"\n")
}

func TestBadParameters(t *testing.T) {
	h := newOrigin(quick()).handler()
	for query, want := range map[string]string{
		"evnts=1":         `unknown parameter "evnts"`,
		"ids=odd":         "want none, constant, restarting, monotonic or uuid",
		"events=many":     `parameter events="many"`,
		"events=-1":       "negative",
		"rate=-1":         "negative",
		"size=1000000000": "size must be between",
	} {
		if code, body := get(t, h, "/events?"+query); code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %q, want 400 with %q", query, code, body, want)
		}
	}
}

func TestOthers(t *testing.T) {
	h := newOrigin(quick()).handler()
	_, first := get(t, h, "/download")
	_, again := get(t, h, "/download")
	if len(first) != downloadBytes || first != again {
		t.Errorf("download: got %d and %d bytes, the same: %t", len(first), len(again), first == again)
	}
	if _, body := get(t, h, "/json"); !json.Valid([]byte(body)) {
		t.Errorf("json: got %q", body)
	}
	if code, body := get(t, h, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: got %d %q", code, body)
	}
	if code, _ := get(t, h, "/chat"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET /chat: got %d, want 405", code)
	}

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/chat", strings.NewReader(`{"messages":[]}`)))
	data := fields(w.Body.String(), "data")
	if len(data) < 5 || data[len(data)-1] != "[DONE]" || len(fields(w.Body.String(), "id")) != 0 {
		t.Errorf("chat: got %q, want chunks without ids and [DONE]", data)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/chat", strings.NewReader(strings.Repeat("x", 2<<20))))
	wantEqual(t, "status of a long question", w.Code, http.StatusRequestEntityTooLarge)
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		p := newPace(ctx, 4)
		for range 9 {
			p.wait()
		}
		wantEqual(t, "time of nine events at four per second", time.Since(begin), 2*time.Second)
		cancel()
		if p.wait() {
			t.Error("went on after the client had left")
		}
	})
}

// TestRun starts and stops the program with a stream open.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"--listen", "127.0.0.1:0", "--rate", "0.001"}, in, io.Discard) }()

	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSpace(url)+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); err != nil || line != "retry: 1000\n" {
		t.Fatalf("first line %q, %v", line, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Errorf("the stream did not end cleanly: %v", err)
	}
}

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{{"--events", "many"}, {"--events", "-1"}, {"surplus"}, {"--ids", "odd"}, {"--what"}} {
		var said strings.Builder
		if err := run(t.Context(), args, io.Discard, &said); !errors.Is(err, errUsage) || said.Len() == 0 {
			t.Errorf("%q: got %v and said %q, want a usage error that is explained", args, err, said.String())
		}
	}
	if err := run(t.Context(), []string{"--listen", "127.0.0.1:99999"}, io.Discard, io.Discard); err == nil {
		t.Error("an impossible address was accepted")
	}
}
