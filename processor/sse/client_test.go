package sse_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/processor/sse"
)

// reporter is what *testing.T, *testing.F and *rapid.T share.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// piece is a copy of an Event, for Events are borrowed.
type piece struct {
	Part             sse.Part
	Raw              string
	ID, Type, Data   string
	Retry            time.Duration
	HasID, HasData   bool
	HasRetry, HasBOM bool
}

// trace is everything a Scanner said about a stream.
type trace struct {
	pieces []piece
	held   string
}

// scan feeds the chunks and checks, on the way, what must hold at any time:
// spans join to the input, Held and Raw keep their lifetimes, the hold buffer
// is bounded.
func scan(t reporter, limit int, chunks ...[]byte) trace {
	t.Helper()
	s := sse.NewScanner(limit)
	var (
		out trace
		all []byte // fed
		at  int    // bytes of it handed out
	)
	for _, c := range chunks {
		// The scanner sees a copy that is destroyed as soon as it is drained.
		chunk := bytes.Clone(c)
		all = append(all, chunk...)
		held := s.Held()
		heldCopy := bytes.Clone(held)
		s.Feed(chunk)
		for {
			ev, ok := s.Next()
			if !ok {
				break
			}
			if !bytes.Equal(held, heldCopy) {
				t.Fatalf("Held was overwritten while its Feed was read: %q, want %q", held, heldCopy)
			}
			if len(ev.Raw) == 0 {
				t.Fatalf("empty piece %v", ev.Part)
			}
			if !bytes.HasPrefix(all[at:], ev.Raw) {
				t.Fatalf("piece %q, want the next bytes of %q", ev.Raw, all[at:])
			}
			at += len(ev.Raw)
			out.pieces = append(out.pieces, piece{
				Part: ev.Part, Raw: string(ev.Raw), HasBOM: ev.BOM,
				ID: string(ev.ID), HasID: ev.HasID, Type: string(ev.Type),
				Data: string(sse.AppendData(nil, ev)), HasData: ev.HasData,
				Retry: ev.Retry, HasRetry: ev.HasRetry,
			})
		}
		clear(chunk)
		if !bytes.Equal(s.Held(), all[at:]) {
			t.Fatalf("Held is %q, want the rest of the input %q", s.Held(), all[at:])
		}
		if n := len(s.Held()); n >= limitInForce(limit)+len("\uFEFF") {
			t.Fatalf("%d bytes held, limit %d", n, limit)
		}
	}
	out.held = string(s.Held())
	return out
}

// limitInForce is what NewScanner makes of its argument.
func limitInForce(limit int) int {
	if limit <= 0 {
		return sse.DefaultLimit
	}
	return max(limit, 8)
}

// client turns the trace into what the standard's client would see. It works
// only where no block was above the limit.
func (tr trace) client(t reporter) interpretation {
	t.Helper()
	var out interpretation
	var buffer string
	for _, p := range tr.pieces {
		if p.HasID {
			buffer = decode(p.ID)
		}
		if p.HasRetry {
			out.Retry = strconv.FormatInt(p.Retry.Milliseconds(), 10)
		}
		switch p.Part {
		case sse.Whole, sse.Last:
			out.LastEventID = buffer
		case sse.Comment, sse.Fragment, sse.LineFeed:
			if p.HasID || p.HasData || p.HasRetry || p.Type != "" {
				t.Fatalf("part %v reports fields: %+v", p.Part, p)
			}
		}
		if p.HasData {
			typ := "message"
			if p.Type != "" {
				typ = decode(p.Type)
			}
			out.Events = append(out.Events, dispatched{typ, decode(p.Data), buffer})
		}
	}
	// A retry field acts when its line ends; the Scanner reports it with its
	// block. They differ for a block that the stream's end cuts off.
	held := tr.held
	if len(tr.pieces) != 0 {
		held = "\n" + held // it is not the stream's start
	}
	if retry := oracle([]byte(held)).Retry; retry != "" {
		out.Retry = retry
	}
	return out
}

func decode(s string) string { return string(utf8DecodeWithoutBOM([]byte(s))) }

// oracle is interpret with the reconnection time as the Scanner reports it.
func oracle(stream []byte) interpretation {
	in := interpret(stream)
	if in.Retry == "" {
		return in
	}
	// Digits too many for an int64 are above the bound too.
	ms, err := strconv.ParseInt(in.Retry, 10, 64)
	if most := sse.MaxRetry.Milliseconds(); err != nil || ms > most {
		ms = most
	}
	in.Retry = strconv.FormatInt(ms, 10)
	return in
}

// unit is a stretch of the stream whose bytes must not depend on the chunks.
type unit struct {
	Kind  string
	Bytes string
	Means piece // with Raw and Part empty
}

// units undoes the freedom that the Scanner has: an LF that came late is put
// back to its CR, comment lines and blank lines that came together are parted,
// the pieces of an oversized block are joined.
func (tr trace) units(t reporter) []unit {
	t.Helper()
	var out []unit
	inWide := false
	for _, p := range tr.pieces {
		means := p
		means.Raw, means.Part = "", 0
		if inWide && p.Part != sse.Fragment && p.Part != sse.Last {
			t.Fatalf("part %v inside an oversized block", p.Part)
		}
		switch p.Part {
		case sse.LineFeed:
			if len(out) == 0 || p.Raw != "\n" || !strings.HasSuffix(out[len(out)-1].Bytes, "\r") {
				t.Fatalf("stray LineFeed %q", p.Raw)
			}
			out[len(out)-1].Bytes += "\n"
		case sse.Comment:
			out = append(out, commentLines(t, p)...)
		case sse.Whole:
			text := strings.TrimPrefix(p.Raw, mark(p))
			if text[0] == ':' || text[0] == '\r' || text[0] == '\n' {
				out = append(out, commentLines(t, p)...)
			} else {
				out = append(out, unit{"block", p.Raw, means})
			}
		case sse.Fragment:
			if !inWide {
				out = append(out, unit{Kind: "oversized"})
			}
			u := &out[len(out)-1]
			u.Bytes += p.Raw
			u.Means.HasBOM = u.Means.HasBOM || p.HasBOM
			inWide = true
		case sse.Last:
			if !inWide {
				t.Fatalf("Last without Fragment: %q", p.Raw)
			}
			u := &out[len(out)-1]
			u.Bytes += p.Raw
			means.HasBOM = u.Means.HasBOM
			u.Means = means
			inWide = false
		default:
			t.Fatalf("unknown part %v", p.Part)
		}
	}
	if inWide {
		// How much of an unfinished line is held may depend on the chunks.
		out[len(out)-1].Bytes += tr.held
	} else {
		out = append(out, unit{Kind: "held", Bytes: tr.held})
	}
	return out
}

func mark(p piece) string {
	if p.HasBOM {
		return "\uFEFF"
	}
	return ""
}

// commentLines parts a piece that holds no field into its lines.
func commentLines(t reporter, p piece) []unit {
	t.Helper()
	if p.HasID || p.HasData || p.HasRetry || p.Type != "" {
		t.Fatalf("comments with fields: %+v", p)
	}
	var out []unit
	rest := strings.TrimPrefix(p.Raw, mark(p))
	for rest != "" {
		n := strings.IndexAny(rest, "\r\n")
		if n < 0 {
			t.Fatalf("incomplete comment line %q", p.Raw)
		}
		blank := n == 0
		n++
		if strings.HasPrefix(rest[n-1:], "\r\n") {
			n++
		}
		u := unit{Kind: "comment", Bytes: rest[:n]}
		switch {
		case blank && (p.Part != sse.Whole || n != len(rest)):
			t.Fatalf("blank line inside %v %q", p.Part, p.Raw)
		case blank:
			u.Kind = "blank"
		case rest[0] != ':':
			t.Fatalf("not a comment line: %q", rest[:n])
		}
		out = append(out, u)
		rest = rest[n:]
	}
	if len(out) == 0 {
		t.Fatalf("no line in %+v", p)
	}
	out[0].Bytes = mark(p) + out[0].Bytes
	out[0].Means.HasBOM = p.HasBOM
	return out
}

// wantSame fails unless both traces have the same units.
func wantSame(t reporter, what string, got, want trace) {
	t.Helper()
	if d := cmp.Diff(want.units(t), got.units(t)); d != "" {
		t.Fatalf("%s: other units than in one chunk (-one +%s):\n%s", what, what, d)
	}
}

// cut divides stream into chunks of the given sizes, used round robin.
func cut(stream []byte, sizes ...int) [][]byte {
	var out [][]byte
	for i := 0; len(stream) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(stream))
		out = append(out, stream[:n])
		stream = stream[n:]
	}
	return out
}

// everyCut checks stream whole, in every two chunks, and in small equal ones,
// with the given limit, and returns the trace of the whole.
func everyCut(t reporter, limit int, stream []byte) trace {
	t.Helper()
	whole := scan(t, limit, stream)
	for i := 1; i < len(stream); i++ {
		wantSame(t, fmt.Sprintf("cut at %d", i), scan(t, limit, stream[:i], stream[i:]), whole)
	}
	for n := 1; n <= 7; n++ {
		wantSame(t, fmt.Sprintf("chunks of %d", n), scan(t, limit, cut(stream, n)...), whole)
	}
	return whole
}
