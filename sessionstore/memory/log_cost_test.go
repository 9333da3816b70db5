package memory_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// newLogBed is newBed with a log for each stream.
func newLogBed(tb testing.TB, sessions int, limits sessionstore.LogLimits) *bed {
	tb.Helper()
	b := &bed{Store: memory.New(memory.Options{})}
	for i := range sessions {
		k := sessionstore.Key{Log: limits}
		binary.LittleEndian.PutUint64(k.Session[:], uint64(i)*0x9e3779b97f4a7c15)
		l, _, err := b.Claim(tb.Context(), k)
		if err != nil {
			tb.Fatal(err)
		}
		b.leases = append(b.leases, l)
	}
	return b
}

// TestAppendDoesNotAllocate holds the hot path to its promise once a log has
// reached a limit.
func TestAppendDoesNotAllocate(t *testing.T) {
	for name, limits := range map[string]sessionstore.LogLimits{
		"events": {Events: 1000},
		"bytes":  {Events: 1 << 20, Bytes: 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			b := newLogBed(t, 1, limits)
			recs := []sessionstore.Record{{ID: []byte("01938a7e-0000-7000-8000-000000000000"), Wire: make([]byte, 200)}}
			step := func() {
				recs[0].Seq++
				if err := b.Append(t.Context(), b.leases[0], time.Time{}, recs); err != nil {
					t.Fatal(err)
				}
			}
			for range 3_000 {
				step()
			}
			if got := testing.AllocsPerRun(5_000, step); got != 0 {
				t.Errorf("%v allocations per Append, want 0", got)
			}
		})
	}
}

// TestMemoryPerLog holds what a log may cost beside the bytes that it counts:
// little for a short one, and for one at its bound a few segments.
func TestMemoryPerLog(t *testing.T) {
	for _, test := range []struct{ sessions, events, size, bytes, limit int }{
		{sessions: 1_000, events: 0, size: 0, bytes: 1 << 20, limit: 1_000}, // with all of its session
		{sessions: 1_000, events: 10, size: 100, bytes: 1 << 20, limit: 3_000},
		{sessions: 200, events: 1_000, size: 200, bytes: 1 << 20, limit: 250_000},
		{sessions: 200, events: 5_000, size: 1_000, bytes: 1 << 20, limit: 1<<20 + 40_000},
		{sessions: 50, events: 500, size: 40_000, bytes: 1 << 20, limit: 1<<20 + 100_000},
		{sessions: 200, events: 5_000, size: 100, bytes: 16 << 10, limit: 16<<10 + 8_000},
	} {
		t.Run(fmt.Sprintf("%d of %d in %d", test.events, test.size, test.bytes), func(t *testing.T) {
			before := heap()
			b := newLogBed(t, test.sessions, sessionstore.LogLimits{Events: 5_000, Bytes: test.bytes})
			wire := bytes.Repeat([]byte("x"), test.size)
			for seq := range test.events {
				for _, l := range b.leases {
					if err := b.Append(t.Context(), l, time.Time{}, []sessionstore.Record{{Seq: uint64(seq) + 1, Wire: wire}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := int(heap()-before) / test.sessions
			told := int(b.LogBytes()) / test.sessions
			runtime.KeepAlive(b)
			t.Logf("%d B per log, %d of them told by LogBytes", got, told)
			if got > test.limit {
				t.Errorf("%d B per log, want at most %d", got, test.limit)
			}
			if test.events > 0 && (told > got || told < got*8/10-2_000) {
				t.Errorf("LogBytes says %d, of %d", told, got)
			}
		})
	}
}

// BenchmarkAppend tells of one event per chunk, like BenchmarkAdvance.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{120, 1 << 10, 64 << 10} {
		for _, sessions := range []int{1, 100, 1_000} {
			if size*sessions > 10<<20 {
				continue // of logs at their bound
			}
			b.Run(fmt.Sprintf("bytes=%d/sessions=%d", size, sessions), func(b *testing.B) {
				bed := newLogBed(b, sessions, sessionstore.LogLimits{Events: 1000})
				recs := []sessionstore.Record{{ID: []byte("01938a7e-0000-7000-8000-000000000000"), Wire: make([]byte, size)}}
				now := time.Now()
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for n := 0; b.Loop(); n++ {
					recs[0].Seq = uint64(n/sessions) + 1
					if err := bed.Append(b.Context(), bed.leases[n%sessions], now, recs); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	b.Run("full store", func(b *testing.B) {
		const sessions = 1_000
		bed := newLogBed(b, 0, sessionstore.LogLimits{})
		bed.Store = memory.New(memory.Options{Memory: 32 << 20})
		for i := range sessions {
			k := sessionstore.Key{Log: sessionstore.LogLimits{Events: 1000}}
			binary.LittleEndian.PutUint64(k.Session[:], uint64(i)*0x9e3779b97f4a7c15)
			l, _, _ := bed.Claim(b.Context(), k)
			bed.leases = append(bed.leases, l)
		}
		recs := []sessionstore.Record{{Wire: make([]byte, 120)}}
		now := time.Now()
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			recs[0].Seq = uint64(n/sessions) + 1
			_ = bed.Append(b.Context(), bed.leases[n%sessions], now, recs)
		}
	})
}

// BenchmarkReplay is the log's part of what a client waits for that comes back
// for the last thousand events.
func BenchmarkReplay(b *testing.B) {
	bed := newLogBed(b, 1, sessionstore.LogLimits{Events: 1000})
	for seq := range 1000 {
		id := fmt.Append(nil, "event-", seq)
		_ = bed.Append(b.Context(), bed.leases[0], time.Time{}, []sessionstore.Record{{Seq: uint64(seq) + 1, ID: id, Wire: make([]byte, 200)}})
	}
	l := bed.leases[0]
	b.ReportAllocs()
	for b.Loop() {
		p, err := bed.Seek(b.Context(), l.Session, l.Line, "event-1")
		if err != nil {
			b.Fatal(err)
		}
		for more := true; more; {
			page, err := bed.After(b.Context(), p, sessionstore.PageLimits{Records: 100})
			if err != nil {
				b.Fatal(err)
			}
			p.Seq, more = page.Records[len(page.Records)-1].Seq, page.More
		}
	}
}
