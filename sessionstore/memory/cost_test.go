package memory_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// bed is a store with sessions of one live stream each.
type bed struct {
	*memory.Store
	leases []sessionstore.Lease
}

func newBed(tb testing.TB, sessions int) *bed {
	tb.Helper()
	b := &bed{Store: memory.New(memory.Options{})}
	for i := range sessions {
		var k sessionstore.Key
		// Spread over the shards, as hashes are.
		binary.LittleEndian.PutUint64(k.Session[:], uint64(i)*0x9e3779b97f4a7c15)
		l, _, err := b.Claim(tb.Context(), k)
		if err != nil {
			tb.Fatal(err)
		}
		b.leases = append(b.leases, l)
	}
	return b
}

// TestAdvanceDoesNotAllocate holds the hot path to its promise, with a window
// that grows until it is full, and then wraps.
func TestAdvanceDoesNotAllocate(t *testing.T) {
	b := newBed(t, 1)
	id := []byte("01938a7e-0000-7000-8000-000000000000")
	seen := []uint64{1}
	n := uint64(0)
	step := func() {
		n++
		seen[0] = n
		if err := b.Advance(t.Context(), b.leases[0], sessionstore.Progress{LastSent: id, Seen: seen, Events: n}); err != nil {
			t.Fatal(err)
		}
	}
	for range sessionstore.DefaultWindow {
		step()
	}
	if got := testing.AllocsPerRun(2*sessionstore.DefaultWindow, step); got != 0 {
		t.Errorf("%v allocations per Advance, want 0", got)
	}
}

// TestMemoryPerSession holds what a session with one stream may cost: at 1000
// IDs it is to fit, with everything around it, where the tracker itself must.
func TestMemoryPerSession(t *testing.T) {
	const sessions = 1_000
	for _, test := range []struct{ ids, limit int }{
		{ids: 0, limit: 700},
		{ids: 10, limit: 900},
		{ids: 100, limit: 2_000},
		{ids: 1_000, limit: 12_800},
	} {
		t.Run(fmt.Sprint(test.ids, " ids"), func(t *testing.T) {
			before := heap()
			b := newBed(t, sessions)
			for i := range test.ids {
				id := strconv.AppendInt([]byte("event-00000000-"), int64(i), 10)
				for _, l := range b.leases {
					if err := b.Advance(t.Context(), l, sessionstore.Progress{LastSent: id, Seen: []uint64{uint64(i)}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.leases = nil // the test's own
			got := int(heap()-before) / sessions
			runtime.KeepAlive(b)
			t.Logf("%d B per session", got)
			if got > test.limit {
				t.Errorf("%d B per session, want at most %d", got, test.limit)
			}
		})
	}
}

// heap is what is in use after a full collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkAdvance tells of one event per chunk: one session that stays in the
// CPU's caches, many that do not, and all of the latter from every CPU at once.
func BenchmarkAdvance(b *testing.B) {
	id := []byte("01938a7e-0000-7000-8000-000000000000")
	seen := []uint64{42}
	now := time.Now()
	advance := func(b *testing.B, bed *bed, i, n int) {
		p := sessionstore.Progress{Now: now, LastSent: id, Seen: seen, Events: uint64(n)}
		if err := bed.Advance(b.Context(), bed.leases[i%len(bed.leases)], p); err != nil {
			b.Fatal(err)
		}
	}
	for _, sessions := range []int{1, 1_000, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			bed := newBed(b, sessions)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				advance(b, bed, n, n)
			}
		})
	}
	b.Run("sessions=1000/parallel", func(b *testing.B) {
		bed := newBed(b, 1_000)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for n := 0; pb.Next(); n++ {
				advance(b, bed, n*7, n)
			}
		})
	})
}

// BenchmarkSave is what Advance saves: a full window at every chunk.
func BenchmarkSave(b *testing.B) {
	bed := newBed(b, 1_000)
	state := &sessionstore.State{
		LastSent: "01938a7e-0000-7000-8000-000000000000", Window: make([]uint64, sessionstore.DefaultWindow),
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := bed.Save(b.Context(), bed.leases[n%len(bed.leases)], state); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClaim is a stream's beginning and end: in a session of its own, which
// pushes another out of a full store, and coming back to a line that has a full
// window for it.
func BenchmarkClaim(b *testing.B) {
	b.Run("full", func(b *testing.B) {
		s := memory.New(memory.Options{Sessions: 100_000})
		b.ReportAllocs()
		for n := uint64(0); b.Loop(); n++ {
			var k sessionstore.Key
			binary.LittleEndian.PutUint64(k.Session[:], n*0x9e3779b97f4a7c15)
			l, _, _ := s.Claim(b.Context(), k)
			_ = s.Release(b.Context(), l)
		}
	})
	b.Run("return", func(b *testing.B) {
		s := memory.New(memory.Options{})
		state := &sessionstore.State{Window: make([]uint64, sessionstore.DefaultWindow)}
		b.ReportAllocs()
		for b.Loop() {
			l, earlier, _ := s.Claim(b.Context(), sessionstore.Key{})
			if len(earlier) > 0 {
				state.Continues = earlier[0].Lease.Number
			}
			_ = s.Save(b.Context(), l, state)
			_ = s.Release(b.Context(), l)
		}
	})
}
