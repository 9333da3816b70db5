package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"holdfast/processor/sse"
)

func TestAppendEvent(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    sse.Message
		want string
		err  error
	}{
		{name: "nothing", want: "\n"},
		{
			name: "all", m: sse.Message{ID: "1", HasID: true, Type: "e", Data: "a\nb", HasData: true, Retry: 1500 * time.Millisecond, HasRetry: true},
			want: "retry: 1500\nid: 1\nevent: e\ndata: a\ndata: b\n\n",
		},
		{name: "empty values have a space", m: sse.Message{HasID: true, HasData: true}, want: "id: \ndata: \n\n"},
		{
			name: "every line end splits data", m: sse.Message{Data: "a\rb\r\nc\n\rd\n", HasData: true},
			want: "data: a\ndata: b\ndata: c\ndata: \ndata: d\ndata: \n\n",
		},
		{name: "spaces are kept", m: sse.Message{ID: " 1 ", HasID: true, Data: " a", HasData: true}, want: "id:  1 \ndata:  a\n\n"},
		{name: "data that no one asked for", m: sse.Message{Data: "a", ID: "\n", Retry: -1}, want: "\n"},
		{name: "a retry is rounded up", m: sse.Message{Retry: time.Nanosecond, HasRetry: true}, want: "retry: 1\n\n"},
		{name: "a retry of zero", m: sse.Message{HasRetry: true}, want: "retry: 0\n\n"},
		{name: "NUL in an id", m: sse.Message{ID: "a\x00", HasID: true}, err: sse.ErrID},
		{name: "CR in an id", m: sse.Message{ID: "a\rdata: b", HasID: true}, err: sse.ErrID},
		{name: "LF in an id", m: sse.Message{ID: "\n", HasID: true}, err: sse.ErrID},
		{name: "CR in a type", m: sse.Message{Type: "a\r"}, err: sse.ErrType},
		{name: "LF in a type", m: sse.Message{Type: "a\nid: 1"}, err: sse.ErrType},
		{name: "a negative retry", m: sse.Message{Retry: -1, HasRetry: true}, err: sse.ErrRetry},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sse.AppendEvent([]byte("before"), tt.m)
			if !errors.Is(err, tt.err) || string(got) != "before"+tt.want {
				t.Errorf("got %q, %v; want %q, %v", got, err, "before"+tt.want, tt.err)
			}
		})
	}
}

func TestAppendComment(t *testing.T) {
	for text, want := range map[string]string{
		"keep-alive": ": keep-alive\n\n",
		"":           ": \n\n",
		"a\r\nb\rc":  ": a\n: b\n: c\n\n",
	} {
		if got := string(sse.AppendComment(nil, text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestEncodedEventsComeBack: what AppendEvent accepts, a client gets.
func TestEncodedEventsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("ab: \t\x00\r\n\uFEFFé")))
		m := sse.Message{
			ID: text.Draw(t, "id"), HasID: rapid.Bool().Draw(t, "hasID"),
			Type: text.Draw(t, "type"),
			Data: text.Draw(t, "data"), HasData: rapid.Bool().Draw(t, "hasData"),
			Retry:    time.Duration(rapid.Int64Range(-5, 1<<40).Draw(t, "retry")),
			HasRetry: rapid.Bool().Draw(t, "hasRetry"),
		}
		comment := text.Draw(t, "comment")
		block, err := sse.AppendEvent(nil, m)
		if err != nil {
			return
		}
		var want interpretation
		if m.HasID {
			want.LastEventID = m.ID
		}
		if m.HasRetry {
			want.Retry = fmt.Sprint(int64((m.Retry + time.Millisecond - 1) / time.Millisecond))
		}
		if m.HasData {
			data := strings.ReplaceAll(strings.ReplaceAll(m.Data, "\r\n", "\n"), "\r", "\n")
			typ := m.Type
			if typ == "" {
				typ = "message"
			}
			want.Events = []dispatched{{typ, data, want.LastEventID}}
		}
		stream := sse.AppendComment(block, comment)
		if d := cmp.Diff(want, oracle(stream)); d != "" {
			t.Fatalf("%q (-want +got):\n%s", stream, d)
		}
	})
}

// TestAnyCut is the scanner's central property on streams made of what matters
// to it: any division into chunks gives the same units, and with no limit in
// reach they are the standard's events.
func TestAnyCut(t *testing.T) {
	token := rapid.SampledFrom([]string{
		"data", "id", "event", "retry", "dat", ":", ": ", ":\t", " ", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\r\r",
		"data: a\n", "id: 7\r\n", ": c\n", "event: e\r", "retry: 10\n", "\x00", "\xEF\xBB\xBF", "\xEF", "\xC3",
		"x", "12345678", strings.Repeat("y", 60),
	})
	rapid.Check(t, func(t *rapid.T) {
		stream := []byte(strings.Join(rapid.SliceOfN(token, 0, 40).Draw(t, "tokens"), ""))
		sizes := rapid.SliceOfN(rapid.IntRange(1, 70), 1, 6).Draw(t, "sizes")
		limit := rapid.SampledFrom([]int{0, 8, 10, 16, 30, 64}).Draw(t, "limit")

		unlimited := scan(t, 0, stream)
		if d := cmp.Diff(oracle(stream), unlimited.client(t)); d != "" {
			t.Fatalf("(-standard +scanner):\n%s", d)
		}
		got := scan(t, limit, cut(stream, sizes...)...)
		if d := cmp.Diff(limited(unlimited.units(t), limit), got.units(t)); d != "" {
			t.Fatalf("limit %d (-want +got):\n%s", limit, d)
		}
	})
}

func ExampleScanner() {
	s := sse.NewScanner(sse.DefaultLimit)
	for _, chunk := range []string{
		": keep-alive\n", "id: 7\nevent: greeting\nda", "ta: hello\ndata: world\n\ndata: next",
	} {
		s.Feed([]byte(chunk))
		for {
			ev, ok := s.Next()
			if !ok {
				break
			}
			switch {
			case ev.Part == sse.Comment:
				fmt.Printf("forward at once: %q\n", ev.Raw)
			case ev.HasData:
				fmt.Printf("event %q, id %q, data %q, %d bytes on the wire\n",
					ev.Type, ev.ID, sse.AppendData(nil, ev), len(ev.Raw))
			}
		}
	}
	fmt.Printf("held back: %q\n", s.Held())
	// Output:
	// forward at once: ": keep-alive\n"
	// event "greeting", id "7", data "hello\nworld", 47 bytes on the wire
	// held back: "data: next"
}

func ExampleAppendData() {
	s := sse.NewScanner(0)
	s.Feed([]byte("data: {\"a\":1,\ndata: \"b\":2}\n\n"))
	ev, _ := s.Next()
	fmt.Printf("%s\n", sse.AppendData(nil, ev))
	// Output:
	// {"a":1,
	// "b":2}
}

func ExampleAppendEvent() {
	block, err := sse.AppendEvent(nil, sse.Message{
		ID: "42", HasID: true,
		Type: "notice",
		Data: "two\nlines", HasData: true,
	})
	fmt.Printf("%s%v\n", bytes.ReplaceAll(block, []byte("\n\n"), []byte("\n(blank line)\n")), err)

	_, err = sse.AppendEvent(nil, sse.Message{ID: "4\n2", HasID: true})
	fmt.Println(err)
	// Output:
	// id: 42
	// event: notice
	// data: two
	// data: lines
	// (blank line)
	// <nil>
	// sse: event id contains NUL, CR or LF: an event stream cannot carry it
}

func ExampleAppendComment() {
	fmt.Printf("%q\n", sse.AppendComment(nil, "keep-alive"))
	// Output:
	// ": keep-alive\n\n"
}
