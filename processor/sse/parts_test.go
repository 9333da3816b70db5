package sse_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/processor/sse"
)

// got is what a test of parts compares: how the stream was cut.
type got struct {
	Part sse.Part
	Raw  string
}

func parts(tr trace) []got {
	var out []got
	for _, p := range tr.pieces {
		out = append(out, got{p.Part, p.Raw})
	}
	return out
}

func TestParts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limit  int
		chunks []string
		want   []got
		held   string
	}{
		{
			name: "a block in one chunk", chunks: []string{"id: 1\ndata: a\n\n"},
			want: []got{{sse.Whole, "id: 1\ndata: a\n\n"}},
		},
		{
			name: "a block in pieces is held back", chunks: []string{"da", "ta: a\n", "\n"},
			want: []got{{sse.Whole, "data: a\n\n"}},
		},
		{
			name: "an unfinished block stays held", chunks: []string{"data: a\n\ndata: b\n", "id: 2"},
			want: []got{{sse.Whole, "data: a\n\n"}}, held: "data: b\nid: 2",
		},
		{
			name: "an empty chunk changes nothing", chunks: []string{"", "data: a\r", "", "\n\r", "", "\n"},
			want: []got{{sse.Whole, "data: a\r\n\r"}, {sse.LineFeed, "\n"}},
		},

		{
			name: "leading comments are parted from fields in one chunk", chunks: []string{": a\n:b\ndata: c\n:d\n\n"},
			want: []got{{sse.Comment, ": a\n:b\n"}, {sse.Whole, "data: c\n:d\n\n"}},
		},
		{
			name: "leading comments go out at once", chunks: []string{": a\n", ":b\n:c", "\n"},
			want: []got{{sse.Comment, ": a\n"}, {sse.Comment, ":b\n"}, {sse.Comment, ":c\n"}},
		},
		{
			name: "comments and their blank line together", chunks: []string{": a\r\n\r\n: b\n"},
			want: []got{{sse.Whole, ": a\r\n\r\n"}, {sse.Comment, ": b\n"}},
		},
		{
			name: "comments and a late blank line", chunks: []string{": a\n", "\n"},
			want: []got{{sse.Comment, ": a\n"}, {sse.Whole, "\n"}},
		},
		{
			name: "an unfinished comment is held", chunks: []string{": a\n: b"},
			want: []got{{sse.Comment, ": a\n"}}, held: ": b",
		},

		{
			name: "a block that ends with CR CR does not wait", chunks: []string{"data: a\r\r"},
			want: []got{{sse.Whole, "data: a\r\r"}},
		},
		{
			name: "its late LF belongs to it", chunks: []string{"data: a\r\n\r", "\ndata: b\n\n"},
			want: []got{{sse.Whole, "data: a\r\n\r"}, {sse.LineFeed, "\n"}, {sse.Whole, "data: b\n\n"}},
		},
		{
			name: "a comment's late LF", chunks: []string{": a\r", "\n", "\r", "\n"},
			want: []got{{sse.Comment, ": a\r"}, {sse.LineFeed, "\n"}, {sse.Whole, "\r"}, {sse.LineFeed, "\n"}},
		},
		{
			name: "a late LF inside a block is part of it", chunks: []string{"data: a\r", "\n\r\n"},
			want: []got{{sse.Whole, "data: a\r\n\r\n"}},
		},
		{
			name: "an LF that comes late but after a character", chunks: []string{"data: a\r", "x\n\n"},
			want: []got{{sse.Whole, "data: a\rx\n\n"}},
		},

		{
			name: "the byte order mark belongs to the first piece", chunks: []string{"\xEF", "\xBB", "\xBF", ": a\n", "data: b\n\n"},
			want: []got{{sse.Comment, "\uFEFF: a\n"}, {sse.Whole, "data: b\n\n"}},
		},
		{
			name: "the byte order mark before a blank line", chunks: []string{"\uFEFF\n"},
			want: []got{{sse.Whole, "\uFEFF\n"}},
		},
		{name: "the byte order mark waits", chunks: []string{"\uFEFF"}, held: "\uFEFF"},

		{
			name: "a block of just the limit is whole", limit: 10, chunks: []string{"data: ab\n\n"},
			want: []got{{sse.Whole, "data: ab\n\n"}},
		},
		{
			name: "the LF of its last CRLF does not count", limit: 10, chunks: []string{"data: ab\r\r\n"},
			want: []got{{sse.Whole, "data: ab\r\r\n"}},
		},
		{
			name: "a byte above the limit", limit: 9, chunks: []string{"data: ab\n\n"},
			want: []got{{sse.Fragment, "data: ab\n"}, {sse.Last, "\n"}},
		},
		{
			name: "above the limit bytes go out at once", limit: 10, chunks: []string{"data: ab", "cdef", "g\nda", "ta: h\n", "\n"},
			want: []got{
				{sse.Fragment, "data: abcdef"},
				{sse.Fragment, "g\n"},
				{sse.Fragment, "data: h\n"},
				{sse.Last, "\n"},
			},
		},
		{
			name: "after an oversized block all is as before", limit: 9, chunks: []string{"data: ab\n\ndata: c\n\n"},
			want: []got{{sse.Fragment, "data: ab\n"}, {sse.Last, "\n"}, {sse.Whole, "data: c\n\n"}},
		},
		{
			name: "a comment above the limit is a block of its own", limit: 9, chunks: []string{": a\n: 3456789\ndata: b\n\n"},
			want: []got{{sse.Comment, ": a\n"}, {sse.Fragment, ": 3456789"}, {sse.Last, "\n"}, {sse.Whole, "data: b\n\n"}},
		},
		{
			name: "comments within the limit are not", limit: 9, chunks: []string{": 345678\n: 345678\n\n"},
			want: []got{{sse.Whole, ": 345678\n: 345678\n\n"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var chunks [][]byte
			for _, c := range tt.chunks {
				chunks = append(chunks, []byte(c))
			}
			tr := scan(t, tt.limit, chunks...)
			if d := cmp.Diff(tt.want, parts(tr)); d != "" {
				t.Errorf("parts (-want +got):\n%s", d)
			}
			if tr.held != tt.held {
				t.Errorf("held %q, want %q", tr.held, tt.held)
			}
		})
	}
}

// TestOversizedFields: what an oversized block means is known as far as its
// lines are within the limit, wherever they stand.
func TestOversizedFields(t *testing.T) {
	const limit = 20
	long := strings.Repeat("x", 3*limit)
	for _, tt := range []struct {
		name, block string
		want        piece
	}{
		{"id first", "id: 1\ndata: " + long + "\n\n", piece{ID: "1", HasID: true, HasData: true}},
		{
			"id last", "data: " + long + "\nid: 1\nevent: e\nretry: 7\n\n",
			piece{ID: "1", HasID: true, Type: "e", HasData: true, HasRetry: true, Retry: 7e6},
		},
		{"a later id wins", "id: 1\ndata: " + long + "\nid: 2\n\n", piece{ID: "2", HasID: true, HasData: true}},
		{"a later id with NUL does not", "id: 1\ndata: " + long + "\nid: 2\x00\n\n", piece{ID: "1", HasID: true, HasData: true}},
		{"an id above the limit is unknown", "id: " + long + "\ndata: 1\n\n", piece{HasData: true}},
		{"an empty id resets", "data: " + long + "\nid\n\n", piece{HasID: true, HasData: true}},
		{"no data", "foo: " + long + "\nid: 1\n\n", piece{ID: "1", HasID: true}},
		{"data without value", "foo: " + long + "\ndata\n\n", piece{HasData: true}},
		{"names that only begin like data", "datum: " + long + "\ndatadata: " + long + "\n\n", piece{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole := everyCut(t, limit, []byte(tt.block)).units(t)
			want := []unit{{"oversized", tt.block, tt.want}, {Kind: "held"}}
			if d := cmp.Diff(want, whole); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestBlocksAreNotCopied: what lies within a chunk is handed out in place.
func TestBlocksAreNotCopied(t *testing.T) {
	chunk := []byte("data: a\n\n: b\n\nid: 1\r\ndata: c\r\n\r\n: d\n")
	s := sse.NewScanner(0)
	s.Feed(chunk)
	at := 0
	for {
		ev, ok := s.Next()
		if !ok {
			break
		}
		if &ev.Raw[0] != &chunk[at] {
			t.Errorf("%q was copied", ev.Raw)
		}
		at += len(ev.Raw)
		if cap(ev.Raw) != len(ev.Raw) {
			t.Errorf("appending to %q would write into the chunk", ev.Raw)
		}
	}
	if at != len(chunk) {
		t.Errorf("%d bytes of %d handed out", at, len(chunk))
	}
}

// TestIdleScannerIsSmall: between blocks a Scanner keeps no large buffer.
func TestIdleScannerIsSmall(t *testing.T) {
	if n := reflect.TypeFor[sse.Scanner]().Size(); n > 112 {
		t.Errorf("a Scanner has %d bytes, one size class more than 112", n)
	}
	s := sse.NewScanner(0)
	drain := func(p []byte) {
		s.Feed(p)
		for {
			if _, ok := s.Next(); !ok {
				return
			}
		}
	}
	block := []byte("data: " + strings.Repeat("x", 100<<10) + "\n\n")
	drain(block[:50<<10])
	drain(block[50<<10:])
	if n := cap(s.Held()); n > 4<<10 {
		t.Errorf("a buffer of %d bytes is kept for nothing", n)
	}
	drain([]byte("data: short"))
	drain([]byte("\n\n"))
	if n := cap(s.Held()); n == 0 || n > 64 {
		t.Errorf("a buffer of %d bytes is kept, want the small one", n)
	}
}

// TestFeedBeforeDrained: a driver that stops reading a chunk loses nothing.
func TestFeedBeforeDrained(t *testing.T) {
	const stream = "data: a\r\n\r\n: b\n\nid: 1\ndata: c\r\r\ndata: d\n\n: e\n"
	for i := range stream {
		for k := i; k < len(stream); k++ {
			for reads := range 4 {
				s := sse.NewScanner(0)
				var out []byte
				for n, chunk := range []string{stream[:i], stream[i:k], stream[k:]} {
					s.Feed([]byte(chunk))
					for r := 0; r < reads || n == 2; r++ {
						ev, ok := s.Next()
						if !ok {
							break
						}
						out = append(out, ev.Raw...)
					}
				}
				if string(out) != stream {
					t.Fatalf("cut at %d and %d, %d reads: %q", i, k, reads, out)
				}
			}
		}
	}
}

// TestZeroScanner: the zero value has the default limit.
func TestZeroScanner(t *testing.T) {
	var s sse.Scanner
	s.Feed(bytes.Repeat([]byte("x"), sse.DefaultLimit-1))
	if ev, ok := s.Next(); ok {
		t.Errorf("%v of %d bytes below the limit", ev.Part, len(ev.Raw))
	}
	s.Feed([]byte("x"))
	if ev, ok := s.Next(); !ok || ev.Part != sse.Fragment {
		t.Errorf("at the limit: %v, %t, want a Fragment", ev.Part, ok)
	}
}

// TestNoAllocations: in the steady state nothing is allocated, whatever the cut.
func TestNoAllocations(t *testing.T) {
	stream := []byte(strings.Repeat(": c\n\nevent: e\r\nid: 12\r\nretry: 5\r\ndata: a\r\ndata: "+
		strings.Repeat("b", 300)+"\r\n\r\ndata: c\n\nfoo\rdata\r\r", 20))
	for _, size := range []int{1, 2, 3, 7, 64, 255, 1000, len(stream)} {
		s := sse.NewScanner(0)
		chunks := cut(stream, size)
		data := make([]byte, 0, 1<<10)
		pass := func() {
			for _, c := range chunks {
				s.Feed(c)
				for {
					ev, ok := s.Next()
					if !ok {
						break
					}
					data = sse.AppendData(data[:0], ev)
				}
			}
		}
		pass() // the hold buffer grows once
		if n := testing.AllocsPerRun(10, pass); n != 0 {
			t.Errorf("chunks of %d bytes: %v allocations per pass", size, n)
		}
	}
}

// TestDripIsLinear looks at no clock: a quadratic scanner would need minutes.
func TestDripIsLinear(t *testing.T) {
	const size = 128 << 10
	for _, tt := range []struct{ name, line string }{
		{"LF", "data: x\n"},
		{"CR", "data: x\r"},
		{"CRLF", "data: x\r\n"},
		{"tabs", "data:\t\t\t\t\t\t\n"},
		{"one line", "xxxxxxxx"},
		{"comments", ":\r"},
	} {
		for _, chunk := range []int{1, 255, size} {
			stream := append(bytes.Repeat([]byte(tt.line), size/len(tt.line)), "\n\n"...)
			for _, limit := range []int{64, 2 * size} {
				s := sse.NewScanner(limit)
				n := 0
				var data []byte
				for _, c := range cut(stream, chunk) {
					s.Feed(c)
					for {
						ev, ok := s.Next()
						if !ok {
							break
						}
						n += len(ev.Raw)
						data = sse.AppendData(data[:0], ev)
					}
				}
				if n += len(s.Held()); n != len(stream) {
					t.Errorf("%s, chunks of %d, limit %d: %d bytes of %d", tt.name, chunk, limit, n, len(stream))
				}
			}
		}
	}
}
