package sse_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rules holds at least one stream for every rule of §9.2 about decoding,
// lines, fields and dispatch, with what a client must make of it.
var rules = []struct {
	rule   string
	stream string
	events []dispatched
	lastID string
	retry  string
}{
	// Decoding.
	{
		rule:   "one leading byte order mark is dropped",
		stream: "\uFEFFdata: a\n\n", events: []dispatched{{"message", "a", ""}},
	},
	{
		rule:   "a second byte order mark spoils the field name",
		stream: "\uFEFF\uFEFFdata: a\n\n",
	},
	{
		rule:   "a byte order mark on a later line spoils the field name",
		stream: "data: a\n\n\uFEFFdata: b\n\n", events: []dispatched{{"message", "a", ""}},
	},
	{
		rule:   "a byte order mark in a value is text",
		stream: "data: \uFEFFa\n\n", events: []dispatched{{"message", "\uFEFFa", ""}},
	},
	{
		rule:   "a part of a byte order mark is text",
		stream: "\xEF\xBBdata: a\n\ndata: b\n\n", events: []dispatched{{"message", "b", ""}},
	},
	{rule: "a byte order mark alone is nothing", stream: "\uFEFF"},
	{
		rule:   "ill-formed bytes become U+FFFD, one per maximal subpart",
		stream: "data: \x80|\xE2\x82|\xF0\x9F\x98|\xED\xA0\x80|\xFF\n\n",
		events: []dispatched{{"message", "\uFFFD|\uFFFD|\uFFFD|\uFFFD\uFFFD\uFFFD|\uFFFD", ""}},
	},
	{
		rule:   "a truncated sequence swallows neither LF nor CR nor colon",
		stream: "data: \xE2\x82\ndata: \xF0\rda\xC3:x\ndata\xC3: y\n\n",
		events: []dispatched{{"message", "\uFFFD\n\uFFFD", ""}},
	},
	{
		rule:   "overlong LF, CR and NUL are not LF, CR and NUL",
		stream: "id: \xC0\x80\ndata: a\xC0\x8Ab\xC0\x8Dc\n\n",
		events: []dispatched{{"message", "a\uFFFD\uFFFDb\uFFFD\uFFFDc", "\uFFFD\uFFFD"}}, lastID: "\uFFFD\uFFFD",
	},

	// Lines.
	{rule: "LF ends a line", stream: "data: a\n\n", events: []dispatched{{"message", "a", ""}}},
	{rule: "CR ends a line", stream: "data: a\r\r", events: []dispatched{{"message", "a", ""}}},
	{rule: "CRLF ends a line", stream: "data: a\r\n\r\n", events: []dispatched{{"message", "a", ""}}},
	{
		rule: "line ends mix freely", stream: "data: a\rdata: b\ndata: c\r\n\rdata: d\n\r\n",
		events: []dispatched{{"message", "a\nb\nc", ""}, {"message", "d", ""}},
	},
	{
		rule: "LF CR is two line ends", stream: "data: a\n\rdata: b\n\n",
		events: []dispatched{{"message", "a", ""}, {"message", "b", ""}},
	},
	{
		rule: "CR CRLF is two line ends", stream: "data: a\r\r\ndata: b\n\n",
		events: []dispatched{{"message", "a", ""}, {"message", "b", ""}},
	},
	{
		rule:   "VT, FF, NEL and the Unicode separators are text",
		stream: "data: a\vb\fc\u0085d\u2028e\u2029f\n\n",
		events: []dispatched{{"message", "a\vb\fc\u0085d\u2028e\u2029f", ""}},
	},
	{
		rule: "an unterminated line is discarded", stream: "data: a\n\ndata: b",
		events: []dispatched{{"message", "a", ""}},
	},
	{
		rule: "an unterminated block is discarded", stream: "data: a\n\ndata: b\nid: 1\n",
		events: []dispatched{{"message", "a", ""}},
	},

	// Fields.
	{
		rule: "comments are ignored", stream: ": a\ndata: b\n:data: c\n:\n\n: d\n\n",
		events: []dispatched{{"message", "b", ""}},
	},
	{
		rule: "a field is split at the first colon", stream: "data:a:b: c\n\n",
		events: []dispatched{{"message", "a:b: c", ""}},
	},
	{
		rule: "one space is removed from a value", stream: "data:  a \ndata:b\n\n",
		events: []dispatched{{"message", " a \nb", ""}},
	},
	{
		rule: "a tab is not removed from a value", stream: "data:\ta\nid:\t1\n\n",
		events: []dispatched{{"message", "\ta", "\t1"}}, lastID: "\t1",
	},
	{
		rule: "a line without colon is a name with an empty value", stream: "data\ndata\n\n",
		events: []dispatched{{"message", "\n", ""}},
	},
	{
		rule:   "names match case-sensitively and exactly",
		stream: "Data: a\nDATA: b\n data: c\ndata : d\ndatas: e\ndat: f\nID: 1\niD: 2\nEvent: g\nevents: h\nRetry: 5\nretry : 6\n\n",
	},
	{
		rule: "unknown fields are ignored", stream: "foo: 1\nbar\ndata: a\n42\n\n",
		events: []dispatched{{"message", "a", ""}},
	},
	{
		rule:   "a line of blanks is an unknown field, not a blank line",
		stream: "data: a\n \n\t\ndata: b\n\n", events: []dispatched{{"message", "a\nb", ""}},
	},
	{
		rule: "data lines are joined by LF", stream: "data: a\ndata:\ndata: b\ndata\n\n",
		events: []dispatched{{"message", "a\n\nb\n", ""}},
	},
	{
		rule: "the last event field counts", stream: "event: a\nevent: b\ndata: c\n\n",
		events: []dispatched{{"b", "c", ""}},
	},
	{
		rule: "an empty event field resets the type", stream: "event: a\nevent:\ndata: b\n\nevent: a\nevent\ndata: c\n\n",
		events: []dispatched{{"message", "b", ""}, {"message", "c", ""}},
	},
	{
		rule: "the last id counts, with or without the space", stream: "id: 1\nid:2\ndata: a\n\n",
		events: []dispatched{{"message", "a", "2"}}, lastID: "2",
	},
	{
		rule: "an id with NUL is ignored", stream: "id: 1\nid: 2\x00\ndata: a\n\nid: \x003\ndata: b\n\n",
		events: []dispatched{{"message", "a", "1"}, {"message", "b", "1"}}, lastID: "1",
	},
	{
		rule: "a long id with NUL is ignored", stream: "id: 1\nid: " + strings.Repeat("x", 100) + "\x00\ndata: a\n\n",
		events: []dispatched{{"message", "a", "1"}}, lastID: "1",
	},
	{
		rule: "a long id is kept", stream: "id: " + strings.Repeat("x", 100) + "\ndata: a\n\n",
		events: []dispatched{{"message", "a", strings.Repeat("x", 100)}}, lastID: strings.Repeat("x", 100),
	},
	{
		rule: "an id with a tab is kept", stream: "id: 1\t2\ndata: a\n\n",
		events: []dispatched{{"message", "a", "1\t2"}}, lastID: "1\t2",
	},
	{
		rule: "retry is ASCII digits in base ten", stream: "retry: 0100\nretry: 1a\nretry: -1\nretry: +1\nretry: 1.5\nretry: 0x10\nretry:  7\nretry: ٣\n\n",
		retry: "100",
	},
	{rule: "an empty retry is ignored", stream: "retry: 5\nretry:\nretry\n\n", retry: "5"},
	{rule: "a retry of zero is a time", stream: "retry: 5\nretry: 0\n\n", retry: "0"},
	{rule: "an absurd retry is bounded", stream: "retry: 18446744073709551616\n\n", retry: "2147483647"},

	// Dispatch.
	{
		rule: "data: alone dispatches an empty event", stream: "data:\n\ndata\n\n",
		events: []dispatched{{"message", "", ""}, {"message", "", ""}},
	},
	{
		rule:   "a block without data dispatches nothing and clears the type",
		stream: "event: a\n\ndata: b\n\n", events: []dispatched{{"message", "b", ""}},
	},
	{rule: "a block with only an id updates it silently", stream: "id: 1\n\n", lastID: "1"},
	{
		rule: "an id stays in force", stream: "id: 1\ndata: a\n\ndata: b\n\n",
		events: []dispatched{{"message", "a", "1"}, {"message", "b", "1"}}, lastID: "1",
	},
	{
		rule: "an empty id resets it", stream: "id: 1\ndata: a\n\nid:\ndata: b\n\nid: 2\n\nid\ndata: c\n\n",
		events: []dispatched{{"message", "a", "1"}, {"message", "b", ""}, {"message", "c", ""}},
	},
	{rule: "an id in a cut-off block does not count", stream: "id: 1\n\nid: 2\n", lastID: "1"},
	{rule: "blank lines alone are nothing", stream: "\n\r\r\n\n"},
}

func TestRules(t *testing.T) {
	for _, tt := range rules {
		t.Run(tt.rule, func(t *testing.T) {
			want := interpretation{tt.events, tt.lastID, tt.retry}
			if d := cmp.Diff(want, oracle([]byte(tt.stream))); d != "" {
				t.Fatalf("the transcription of the standard is wrong (-want +got):\n%s", d)
			}
			got := everyCut(t, 0, []byte(tt.stream)).client(t)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%q (-want +got):\n%s", tt.stream, d)
			}
		})
	}
}

// TestRulesUnderLimits runs the same streams with limits that they exceed.
func TestRulesUnderLimits(t *testing.T) {
	for _, tt := range rules {
		t.Run(tt.rule, func(t *testing.T) {
			stream := []byte(tt.stream)
			whole := scan(t, 0, stream).units(t)
			for _, limit := range []int{8, 9, 11, 14, 20, 33, 104} {
				got := everyCut(t, limit, stream).units(t)
				if d := cmp.Diff(limited(whole, limit), got); d != "" {
					t.Errorf("%q, limit %d (-want +got):\n%s", tt.stream, limit, d)
				}
			}
		})
	}
}
