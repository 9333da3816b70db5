package sse_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzScanner compares any stream, in any cut, with the standard: once with a
// limit that nothing reaches, once with a small one.
func FuzzScanner(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), []byte{1}, uint8(0))
		f.Add([]byte(s), []byte{3, 1, 7}, uint8(12))
		f.Add(bytes.Repeat([]byte(s), 3), []byte{20, 2}, uint8(40))
	}
	f.Fuzz(func(t *testing.T, stream, sizes []byte, limit uint8) {
		if len(stream) > 4<<10 {
			return // nothing new, only slower
		}
		cuts := []int{len(stream) + 1}
		for _, n := range sizes {
			cuts = append(cuts, int(n)+1)
		}
		chunks := cut(stream, cuts[min(1, len(cuts)-1):]...)

		whole := scan(t, 0x10000000, stream)
		parted := scan(t, 0x10000000, chunks...)
		want := oracle(stream)
		if d := cmp.Diff(want, whole.client(t)); d != "" {
			t.Fatalf("one chunk (-standard +scanner):\n%s", d)
		}
		if d := cmp.Diff(want, parted.client(t)); d != "" {
			t.Fatalf("in chunks (-standard +scanner):\n%s", d)
		}
		wantSame(t, "chunks", parted, whole)
		wantSame(t, "bytes", scan(t, 0x10000000, cut(stream, 1)...), whole)

		// With a small limit there is more to go wrong and less to compare
		// with: the data of oversized blocks is not reported.
		small := scan(t, int(limit), stream)
		wantSame(t, "chunks, small limit", scan(t, int(limit), chunks...), small)
		wantSame(t, "bytes, small limit", scan(t, int(limit), cut(stream, 1)...), small)
		if d := cmp.Diff(limited(whole.units(t), int(limit)), small.units(t)); d != "" {
			t.Fatalf("limit %d (-want +got):\n%s", limit, d)
		}
	})
}

// seeds are streams of every shape that matters somewhere.
var seeds = []string{
	"",
	"\n",
	"data: a\n\n",
	"data: a\r\n\r\n",
	"data: a\r\rdata: b\r\r",
	"data:a\n\r\ndata:b\r\n\ndata:c\r\n\r",
	"\uFEFFdata: a\n\n\uFEFFdata: b\n\n",
	"\uFEFF: c\ndata: a\n\n",
	"\xEF\xBBdata: a\n\n",
	": hi\n\n: ho\n:\ndata\ndata:\ndata: \ndata:  x\n\n",
	"id: 1\nevent: e\ndata: 1\ndata: 2\nretry: 0100\n\nid\n\ndata: x\n\n",
	"id: 1\nid: \x00\ndata: x\n\nid: 2\x00\n\ndata: y\n\n",
	"retry: 99999999999999999999\nretry: 1a\nretry:\nretry\n\n",
	"retry: 7\ndata: cut",
	"event: a\nevent\ndata: x\n\nevent: b\n\ndata: c\n\n",
	"data: cut",
	"data: cut\n",
	"id: cut\ndata: x\nid: 2\r",
	"data: 0123456789012345678901234567890123456789\nid: 7\nevent: late\n\nid: 8\n\n",
	": a comment that is longer than a small limit allows\ndata: x\n\n",
	"id: 01234567890123456789\ndata: x\n\nid: 2\nfoo: 0123456789\ndata: y\n\n",
	" data: x\n\nDATA: x\n\ndatax: y\n\n \n\n",
	"data: \xC3\r\n\xE2\x82\ndata: \xC0\x8A\n\ndata: \xED\xA0\x80\xF4\x90\n\nid: \xC0\x80\n\n",
	"data: a\vb\fc\u0085d\u2028e\u2029\n\n",
	":\r\n\r\n: x\r\n\r\nevent: tick\r\nid: 5-1\r\ndata: {}\r\n\r\n",
}
