package sse_test

import (
	"strings"
	"testing"

	"holdfast/processor/sse"
)

// BenchmarkNext is for profiles. The ratios that are promised are measured by
// test/bench/sse.
func BenchmarkNext(b *testing.B) {
	for _, bench := range []struct {
		name, block string
		chunk       int
	}{
		{"llm", "id: 5f3a-00000000\ndata: " + strings.Repeat("x", 95) + "\n\n", 16 << 10},
		{"mcp", "event: message\nid: stream-7_42\ndata: " + strings.Repeat("x", 560) + "\n\n", 16 << 10},
		{"large", "id: 7\ndata: " + strings.Repeat("x", 64<<10) + "\n\n", 16 << 10},
		{"large-drip", "id: 7\ndata: " + strings.Repeat("x", 64<<10) + "\n\n", 256},
		{"heartbeat", ": keep-alive 1700000000\r\n\r\n: keep-alive 1700000000\r\n\r\n" +
			"event: tick\r\nid: 17000000000-1\r\ndata: {\"price\":100123}\r\n\r\n", 16 << 10},
		{"llm-bytes", "id: 5f3a-00000000\ndata: " + strings.Repeat("x", 95) + "\n\n", 1},
	} {
		b.Run(bench.name, func(b *testing.B) {
			n := (256<<10)/len(bench.block) + 1
			chunks := cut([]byte(strings.Repeat(bench.block, n)), bench.chunk)
			b.SetBytes(int64(n * len(bench.block)))
			b.ReportAllocs()
			s := sse.NewScanner(0)
			for b.Loop() {
				for _, c := range chunks {
					s.Feed(c)
					for {
						if _, ok := s.Next(); !ok {
							break
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/block")
		})
	}
}
