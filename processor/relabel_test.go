package processor

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/processor/sse"
)

func TestRelabel(t *testing.T) {
	for name, c := range map[string][2]string{
		"none":               {"data: a\n\n", "id: X\ndata: a\n\n"},
		"first":              {"id: 1\ndata: a\n\n", "id: X\ndata: a\n\n"},
		"last":               {"data: a\nid: 1\n\n", "id: X\ndata: a\n\n"},
		"several":            {"id: 1\ndata: a\nid:2\nid\n\n", "id: X\ndata: a\n\n"},
		"CR":                 {"id: 1\rdata: a\r\r", "id: X\ndata: a\r\r"},
		"CRLF":               {"data: a\r\nid: 1\r\n\r\n", "id: X\ndata: a\r\n\r\n"},
		"empty":              {"id:\ndata: a\n\n", "id: X\ndata: a\n\n"},
		"without colon":      {"id\ndata: a\n\n", "id: X\ndata: a\n\n"},
		"NUL":                {"id: a\x00b\ndata: a\n\n", "id: X\ndata: a\n\n"},
		"longer name":        {"idea: 1\ndata: a\n\n", "id: X\nidea: 1\ndata: a\n\n"},
		"in the text":        {"data: id: 1\n: id: 2\ndata:\n\n", "id: X\ndata: id: 1\n: id: 2\ndata:\n\n"},
		"blank before":       {" id: 1\ndata: a\n\n", "id: X\n id: 1\ndata: a\n\n"},
		"blank line between": {"data: a\nidid: 1\n\n", "id: X\ndata: a\nidid: 1\n\n"},
		"between CR and LF":  {"data: a\rid: 1\n\n", "id: X\ndata: a\r\n\n"},
		"unfinished":         {"data: a\nid: 12", "id: X\ndata: a\n"},
		"unfinished name":    {"data: a\nid", "id: X\ndata: a\nid"},
	} {
		if got := string(appendRelabelled(nil, []byte(c[0]), []byte("X"))); got != c[1] {
			t.Errorf("%s: %q, want %q", name, got, c[1])
		}
	}
}

// FuzzRelabel: an event is the same but for its id, however it is written.
func FuzzRelabel(f *testing.F) {
	for _, s := range []string{
		"id: 1\ndata: a\n\n", "data\r\nid\r\rid: 7\r\revent: x\ndata: y\n\n", "\ufeffid:1\ndata:\n\n", ": c\nid: 2\n\nretry: 5\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) { sameButForID(t, stream) })
}

func TestRelabelAnyBlock(t *testing.T) {
	pieces := []string{
		"id", "id:", ": ", " ", "1", "\x00", "data", "data:", "data: a", "event: x", "retry: 5", "idx: 1", "\n", "\r", "\r\n", "\n\n", "\ufeff", "\xff",
	}
	rapid.Check(t, func(rt *rapid.T) {
		sameButForID(rt, []byte(strings.Join(rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(rt, "stream"), "")))
	})
}

func sameButForID(t rapid.TB, stream []byte) {
	t.Helper()
	for _, block := range blocks(stream) {
		if block.Part != sse.Whole || !relabelled(&block) {
			continue
		}
		raw := bytes.TrimPrefix(block.Raw, []byte("\ufeff"))
		if !block.BOM {
			raw = block.Raw
		}
		out := append([]byte(nil), appendRelabelled(nil, raw, []byte("X"))...)
		got := blocks(append([]byte("\n"), out...))[1:] // no longer the stream's first, as mostly
		if len(got) != 1 {
			t.Fatalf("%q became %d blocks: %q", block.Raw, len(got), out)
		}
		ev := got[0]
		if string(ev.ID) != "X" || string(ev.Type) != string(block.Type) || ev.HasData != block.HasData || ev.HasRetry != block.HasRetry || ev.Retry != block.Retry {
			t.Fatalf("%q became %q", block.Raw, out)
		}
		if a, b := string(sse.AppendData(nil, block)), string(sse.AppendData(nil, ev)); a != b {
			t.Fatalf("data %q became %q", a, b)
		}
	}
}

// blocks cuts a stream into blocks of its own memory.
func blocks(stream []byte) []sse.Event {
	s := sse.NewScanner(0)
	s.Feed(stream)
	var all []sse.Event
	for {
		ev, ok := s.Next()
		if !ok {
			return all
		}
		ev.Raw, ev.Type = bytes.Clone(ev.Raw), bytes.Clone(ev.Type)
		all = append(all, ev)
	}
}
