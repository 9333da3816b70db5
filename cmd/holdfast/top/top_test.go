package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"holdfast/processor/live"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden screens anew")

var at = time.Date(2026, 11, 25, 17, 30, 0, 0, time.UTC)

// busy is a picture with something of everything in it.
func busy() *Picture {
	p := &Picture{At: at, Total: 3, Matched: 57, Step: 5}
	p.Summary = &Summary{
		Version: "v1.2.3", Ready: true, Live: 3, Modes: map[string]int{"hold": 2, "inline": 1}, States: map[string]int{"resuming": 1, "live": 2},
		Targets: []live.Target{{Address: "10.0.0.1:80", State: "closed"}, {Address: "10.0.0.2:80", State: "open"}},
	}
	for i := range 60 {
		p.Points = append(p.Points, Point{Active: float64(i), Events: float64(i % 7 * 40), Resumed: 1})
	}
	p.Points[9].Bad, p.Points[9].Unresumed, p.Points[9].Duplicates = 2, 3, 12345
	p.Streams = []live.Stream{
		{
			ID: "0123456789abcdef", Policy: "notifications", Mode: "hold", State: "live", Method: "GET", Path: "/feeds/日本/events", Upstream: "10.0.0.1:80",
			Started: at.Add(-26 * time.Hour), LastByte: at.Add(-2 * time.Minute), Cursor: "1764091800-17", Trust: "monotonic", Events: 12_345_678, Duplicates: 3, Resumes: 2,
		},
		{
			ID: "1123456789abcdef", Policy: "chat", Mode: "inline", State: "resuming", Method: "POST", Path: "/v1/chat/completions?no", Upstream: "10.0.0.2:80",
			Started: at.Add(-75 * time.Second), LastByte: at, Trust: "absent", Events: 41,
		},
		{
			ID: "2123456789abcdef", Policy: "chat", Mode: "inline", State: "ended", Outcome: "cut", Method: "GET", Path: "/\x1b[2Jevil\r\n" + strings.Repeat("x", 300),
			Started: at.Add(-time.Hour), Ended: at.Add(-time.Minute), LastByte: at.Add(-time.Minute), Cursor: "\u202egnol-" + strings.Repeat("9", 60), Trust: "constant",
		},
	}
	return p
}

func TestScreens(t *testing.T) {
	lost := View{At: "127.0.0.1:9902", Query: Query{Sort: "-events", State: "live"}, Lost: "connection refused", Since: "17:29:01"}
	for name, c := range map[string]struct {
		view          View
		picture       *Picture
		width, height int
	}{
		"wide":   {View{At: "127.0.0.1:9902", Query: Query{Sort: "started", State: "all", Offset: 20, Text: "e"}}, busy(), 170, 12},
		"narrow": {View{At: "127.0.0.1:9902", Query: Query{Sort: "-ended", State: "ended", Bad: true}, Paused: true}, busy(), 60, 9},
		"color":  {View{At: "127.0.0.1:9902", Query: Query{Sort: "last_byte", State: "live"}, Color: true}, busy(), 110, 10},
		"lost":   {lost, &Picture{}, 80, 8},
		"typing": {View{At: "x", Typing: true, Query: Query{Text: "feed", Sort: "started", State: "live"}}, &Picture{Summary: &Summary{Reason: "draining"}, Points: []Point{{}}}, 80, 8},
	} {
		got := strings.Join(c.view.Lines(c.picture, at, c.width, c.height), "\n") + "\n"
		got = strings.ReplaceAll(got, "\x1b", "ESC")
		path := "testdata/" + name + ".txt"
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("not as in %s; if that is right, run go test -update: %s", path, diff)
		}
	}
}

// visible is what a line shows, without sequences of our own.
func visible(line string) string {
	for _, s := range []style{bold, dim, good, warn, bad, inverse} {
		line = strings.ReplaceAll(line, s.sequence(), "")
	}
	return strings.ReplaceAll(line, "\x1b[0m", "")
}

// TestLinesFit: whatever streams are called, and whatever the terminal's size,
// there are as many lines as there is room for, each of the whole width, and
// nothing in them moves the cursor.
func TestLinesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := busy()
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x1b[2J", "\n\n", "日本語日本語", "e\u0301", "\u202e", "\xff\xfe", strings.Repeat("w", 400)}))
		for i := range p.Streams {
			s := &p.Streams[i]
			s.Path, s.Policy, s.Cursor, s.State, s.Upstream, s.Mode = text.Draw(t, "path"), text.Draw(t, "policy"), text.Draw(t, "cursor"), text.Draw(t, "state"), text.Draw(t, "host"), text.Draw(t, "mode")
		}
		p.Summary.Reason, p.Summary.Ready = text.Draw(t, "reason"), rapid.Bool().Draw(t, "ready")
		p.Summary.Targets[1].Address = text.Draw(t, "address")
		width, height := rapid.IntRange(-1, 200).Draw(t, "width"), rapid.IntRange(-1, 30).Draw(t, "height")
		v := View{At: "a", Query: Query{Sort: rapid.SampledFrom([]string{"started", "-events", "trust"}).Draw(t, "sort"), State: "live", Text: text.Draw(t, "text")}, Color: rapid.Bool().Draw(t, "color"), Typing: rapid.Bool().Draw(t, "typing")}
		lines := v.Lines(p, at, width, height)
		if len(lines) != max(height, 1) {
			t.Fatalf("%d lines for a height of %d", len(lines), height)
		}
		for _, l := range lines {
			n := 0
			for _, r := range visible(l) {
				if unicode.Is(unicode.C, r) {
					t.Fatalf("%q has %U in it", l, r)
				}
				n += columnsOf(r)
			}
			if n != max(width, 1) {
				t.Fatalf("%q has %d columns, want %d", l, n, width)
			}
		}
	})
}

// writes counts what is written.
type writes []string

func (w *writes) Write(b []byte) (int, error) { *w = append(*w, string(b)); return len(b), nil }

// TestOnlyChangesAreSent: a frame is one write, of the lines that differ.
func TestOnlyChangesAreSent(t *testing.T) {
	var w writes
	s := screen{out: &w}
	for _, frame := range [][]string{{"a", "b", "c"}, {"a", "b", "c"}, {"a", "B", "c"}, {"a"}, {"a", "b"}} {
		if err := s.draw(frame); err != nil {
			t.Fatal(err)
		}
	}
	want := writes{
		begin + "\x1b[1;1Ha\x1b[2;1Hb\x1b[3;1Hc" + end,
		begin + "\x1b[2;1HB" + end,
		begin + "\x1b[2;1H\x1b[J" + end,
		begin + "\x1b[2;1Hb" + end,
	}
	if diff := cmp.Diff(want, w); diff != "" {
		t.Error(diff)
	}
	s.forget()
	w = nil
	if _ = s.draw([]string{"a"}); len(w) != 1 || !strings.Contains(w[0], "a") {
		t.Errorf("after a resize: %q", w)
	}
}

func TestKeysAreTakenApart(t *testing.T) {
	got := split([]byte("jq\x1b[A\x1b[6~\x1bOBé\x1b/"))
	want := []string{"j", "q", "\x1b[A", "\x1b[6~", "\x1b[B", "é", "\x1b", "/"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestKeys: what each does to the view.
func TestKeys(t *testing.T) {
	const rows, matched = 10, 95
	start := Query{Sort: "started", State: "live", Offset: 20}
	with := func(f func(*Query)) Query { q := start; f(&q); return q }
	for key, want := range map[string]Query{
		"j":                      with(func(q *Query) { q.Offset = 21 }),
		"k":                      with(func(q *Query) { q.Offset = 19 }),
		"\x1b[A":                 with(func(q *Query) { q.Offset = 19 }),
		"n":                      with(func(q *Query) { q.Offset = 30 }),
		"p":                      with(func(q *Query) { q.Offset = 10 }),
		"g":                      with(func(q *Query) { q.Offset = 0 }),
		"G":                      with(func(q *Query) { q.Offset = 85 }),
		"r":                      with(func(q *Query) { q.Sort, q.Offset = "-started", 0 }),
		">":                      with(func(q *Query) { q.Sort, q.Offset = "last_byte", 0 }),
		"> > >":                  with(func(q *Query) { q.Sort, q.Offset = "-duplicates", 0 }),
		"<":                      with(func(q *Query) { q.Sort, q.Offset = "upstream", 0 }),
		"f":                      with(func(q *Query) { q.State, q.Offset = "resuming", 0 }),
		"f f f":                  with(func(q *Query) { q.State, q.Bad, q.Sort, q.Offset = "ended", true, "-ended", 0 }),
		"f f f f":                with(func(q *Query) { q.State, q.Offset = "all", 0 }),
		"/ a é \r":               with(func(q *Query) { q.Text, q.Offset = "aé", 0 }),
		"/ a é \x7f \x7f b \r j": with(func(q *Query) { q.Text, q.Offset = "b", 1 }),
		"/ q \x1b":               with(func(q *Query) { q.Offset = 0 }),
		"/ q \r \x1b":            with(func(q *Query) { q.Offset = 0 }),
		"x":                      start,
	} {
		v := View{Query: start}
		again := false
		for k := range strings.SplitSeq(key, " ") {
			quit, more := v.press(k, rows, matched)
			again = again || more
			if quit {
				t.Errorf("%q ends it", key)
			}
		}
		if diff := cmp.Diff(want, v.Query); diff != "" {
			t.Errorf("%q: %s", key, diff)
		}
		if again != (v.Query != start) && !strings.HasPrefix(key, "/") {
			t.Errorf("%q: other streams are wanted: %v", key, again)
		}
	}
	for _, key := range []string{"q", "\x03", "\x04"} {
		v := View{Query: start}
		if quit, _ := v.press(key, rows, matched); !quit {
			t.Errorf("%q does not end it", key)
		}
	}
	v := View{Query: start, Typing: true}
	if quit, _ := v.press("q", rows, matched); quit || v.Query.Text != "q" {
		t.Error("q cannot be looked for")
	}
	if quit, _ := v.press("\x03", rows, matched); !quit {
		t.Error("Ctrl-C does not end it while typing")
	}
	v = View{Query: start}
	if v.press(" ", rows, matched); !v.Paused {
		t.Error("Space does not pause")
	}
}

func TestDifferences(t *testing.T) {
	var p Picture
	say := func(event, data string) {
		t.Helper()
		if err := p.Apply(event, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(ids string, matched int) {
		t.Helper()
		var got []string
		for _, s := range p.Streams {
			got = append(got, fmt.Sprint(s.ID, s.Events))
		}
		if strings.Join(got, " ") != ids || p.Matched != matched {
			t.Errorf("%v of %d, want %s of %d", got, p.Matched, ids, matched)
		}
	}
	say("snapshot", `{"total":3,"matched":2,"streams":[{"id":"a"},{"id":"b"}]}`)
	want("a0 b0", 2)
	say("changes", `{"total":3,"matched":3,"changed":[{"id":"c","events":1},{"id":"a","events":2}],"gone":["b"],"order":["c","a"]}`)
	want("c1 a2", 3)
	say("changes", `{"total":9,"changed":[{"id":"a","events":3}],"gone":[]}`)
	want("c1 a3", 9)
	say("changes", `{"total":9,"changed":[],"gone":["a","c","x"]}`)
	want("", 9)
	say("history", `{"step":5,"length":2,"points":[{"active":1},{"active":2},{"active":3}]}`)
	if len(p.Points) != 2 || p.Points[1].Active != 3 || p.Step != 5 {
		t.Errorf("%+v", p.Points)
	}
	say("tomorrow", `what`)
	for _, event := range []string{"snapshot", "changes", "summary", "history"} {
		if err := p.Apply(event, []byte(`{"time":7}`)); event != "history" && err == nil {
			t.Errorf("a bad %s is taken", event)
		}
		if err := p.Apply(event, []byte(`[`)); err == nil || !strings.Contains(err.Error(), "not as this version") {
			t.Errorf("%s: %v", event, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 9999: "9999", 10_000: "10.0k", 123_456: "123k", 9_999_999: "10000k", 12_345_678: "12.3M", 5e12: "5000G"} {
		if got := number(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
	if got := spark([]float64{0, 1, 2, 8, 4, 0}, 3); got != "▂█▅" {
		t.Errorf("%q", got)
	}
	if got := spark([]float64{0, 0}, 5); got != "▁▁" {
		t.Errorf("%q", got)
	}
	if spark(nil, 5) != "" || spark([]float64{1}, 0) != "" {
		t.Error("a spark of nothing")
	}
	for _, c := range []struct {
		text  string
		n     int
		right bool
		want  string
	}{
		{"abc", 5, false, "abc  "},
		{"abc", 5, true, "  abc"},
		{"abcdef", 4, false, "abc…"},
		{"日本語", 5, false, "日本…"},
		{"日本語", 4, false, "日… "},
		{"日本", 4, false, "日本"},
		{"é", 1, false, "é"},
		{"abc", 0, false, ""},
		{"ab", 1, false, "…"},
	} {
		if got := fit(c.text, c.n, c.right); got != c.want {
			t.Errorf("%q in %d is %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

// answer is a server that says what it is given, and then waits or ends.
func answer(body io.ReadCloser) Get {
	return func(_ context.Context, path string) (*http.Response, error) {
		if !strings.HasPrefix(path, "/api/v1/streams/watch?") {
			return nil, errors.New("asked for " + path)
		}
		return &http.Response{Body: body}, nil
	}
}

func TestFollow(t *testing.T) {
	var got []string
	tell := func(event string, data []byte) error { got = append(got, event+" "+string(data)); return nil }
	err := follow(t.Context(), answer(io.NopCloser(strings.NewReader("retry: 1\nevent: snapshot\ndata: 1\n\n:\nevent: changes\ndata: 2\n\ndata: unfinished"))), Query{}, tell)
	if !errors.Is(err, errEnded) || !slices.Equal(got, []string{"snapshot 1", "changes 2"}) {
		t.Errorf("%q, %v", got, err)
	}
	refused := errors.New("refused")
	if err := follow(t.Context(), func(context.Context, string) (*http.Response, error) { return nil, refused }, Query{}, tell); !errors.Is(err, refused) {
		t.Error(err)
	}
}

// TestFollowNoticesSilence: a connection that says nothing any more is not one.
func TestFollowNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		begun := time.Now()
		get := func(ctx context.Context, _ string) (*http.Response, error) {
			context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
			go func() { _, _ = io.WriteString(w, ":\n") }()
			return &http.Response{Body: r}, nil
		}
		err := follow(t.Context(), get, Query{}, func(string, []byte) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "nothing was heard for 40s") || time.Since(begun) != silence {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestPrint(t *testing.T) {
	const said = `event: snapshot
data: {"time":"2026-11-25T17:30:00Z","total":1,"matched":1,"streams":[{"id":"0123456789abcdef","state":"live","method":"GET","path":"/a","started":"2026-11-25T17:29:00Z","last_byte":"2026-11-25T17:29:59Z"}]}

event: summary
data: {"time":"2026-11-25T17:30:00Z","version":"v1","ready":true,"live":1,"modes":{"hold":1},"states":{},"targets":[]}

event: history
data: {"step":5,"length":180,"points":[]}

`
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		get := func(context.Context, string) (*http.Response, error) {
			return &http.Response{Body: io.NopCloser(strings.NewReader(said))}, nil
		}
		begun := time.Now()
		if err := Print(t.Context(), &out, Options{At: "x", Get: get, Query: Query{Sort: "started", State: "live"}}, 2, 60); err != nil {
			t.Fatal(err)
		}
		one := "holdfast v1  x  ready  1 streams (hold 1)  17:30:00\nnothing is wrong\nthe course of things begins in a few seconds\n\n" +
			"STATE          AGE▼  SILENT  EVENTS REQUEST\nlive          1m00s      1s       0 GET /a\n"
		if diff := cmp.Diff(one+"\n"+one, out.String()); diff != "" || time.Since(begun) != time.Second {
			t.Errorf("after %v: %s", time.Since(begun), diff)
		}
	})
}
