package splice

import (
	"bytes"
	"strings"
	"testing"

	"holdfast/processor/sse"
)

// numbered knows events by a member of their data, as the Responses API has it, and
// looks into small ones only.
func numbered(ev *sse.Event) (id []byte, ok bool) {
	data := sse.AppendData(nil, *ev)
	_, rest, ok := bytes.Cut(data, []byte(`"n":`))
	if !ok || len(data) > 60 {
		return nil, false
	}
	return rest[:bytes.IndexAny(append(rest, ','), ",}")], true
}

// An event that nobody has looked into has a number all the same, and its successor is
// no sign that something is missing.
func TestUnreadNumbersAreNoGap(t *testing.T) {
	text := func(n, size int) string {
		return `data: {"more":"` + strings.Repeat("x", size) + `","n":` + string(rune('0'+n)) + "}\n\n"
	}
	early := func(n, size int) string {
		return `data: {"n":` + string(rune('0'+n)) + `,"more":"` + strings.Repeat("x", size) + "\"}\n\n"
	}
	for name, sixth := range map[string]string{
		"held, and not read":       text(6, 80),
		"not held":                 text(6, 300),
		"not held, and known soon": early(6, 300),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, Policy{EventBytes: 200}, Start{Owned: true, Dialable: true, Identity: numbered})
			for n := 1; n <= 5; n++ {
				r.chunk(text(n, 0))
			}
			r.m.Step(r.now, Ended{Cause: Reset})
			r.m.Step(r.now, Opened{Attempt: 1, Status: 200, EventType: true})
			rest := text(5, 0) + sixth + text(7, 0)
			if got := string(r.m.Step(r.now, Chunk{Attempt: 1, Bytes: []byte(rest)}).ToClient); got != sixth+text(7, 0) {
				t.Fatalf("got %q, phase %v", got, r.m.Phase())
			}
			// And what the client has of it is known, should it come again.
			r.m.Step(r.now, Ended{Attempt: 1, Cause: Reset})
			r.m.Step(r.now, Opened{Attempt: 2, Status: 200, EventType: true})
			if got := string(r.m.Step(r.now, Chunk{Attempt: 2, Bytes: []byte(rest + text(8, 0))}).ToClient); got != text(8, 0) {
				t.Fatalf("then got %q, phase %v", got, r.m.Phase())
			}
		})
	}
}
