package sessionstore_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/sessionstore"
	"holdfast/sessionstore/bolt"
	"holdfast/sessionstore/memory"
	"holdfast/sessionstore/redis"
	"holdfast/test/redistest"
)

// store is any of the stores.
type store interface {
	sessionstore.Store
	sessionstore.Log
	sessionstore.Directory
}

// kind is a way to open stores; open may be called again after the store is closed,
// and finds what was in it.
type kind struct {
	name string
	open func(tb testing.TB, flush time.Duration) store
}

// kinds makes each ready to be opened.
func kinds(tb testing.TB) []kind {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "holdfast.db")
	all := []kind{
		{"memory", func(testing.TB, time.Duration) store { return memory.New(memory.Options{}) }},
		{"bolt", func(tb testing.TB, flush time.Duration) store {
			tb.Helper()
			s, err := bolt.Open(bolt.Options{Path: file, Flush: flush})
			if err != nil {
				tb.Fatal(err)
			}
			return s
		}},
	}
	if redistest.Program() == "none" {
		tb.Log("NOT RUN: redis, for there is no redis-server")
		return all
	}
	server := redistest.Start(tb)
	return append(all, kind{"redis", func(tb testing.TB, flush time.Duration) store {
		tb.Helper()
		s, err := redis.Open(redis.Options{URL: server.URL(), Flush: flush})
		if err != nil {
			tb.Fatal(err)
		}
		redistest.Eventually(tb, "the store is connected", func() bool { return s.Failure() == nil })
		return s
	}})
}

// shut ends a store that has something to end.
func shut(tb testing.TB, s store) {
	tb.Helper()
	if b, ok := s.(sessionstore.Behind); ok {
		if err := b.Close(); err != nil {
			tb.Log(err) // a busy machine may take longer than it is given
		}
	}
}

// begin makes sessions of one live stream each.
func begin(tb testing.TB, s store, sessions int, limits sessionstore.LogLimits) []sessionstore.Lease {
	tb.Helper()
	leases := make([]sessionstore.Lease, sessions)
	for i := range leases {
		k := sessionstore.Key{Fresh: true, Log: limits}
		binary.LittleEndian.PutUint64(k.Session[:], (uint64(i)+1)*0x9e3779b97f4a7c15)
		var err error
		if leases[i], _, err = s.Claim(tb.Context(), k); err != nil {
			tb.Fatal(err)
		}
	}
	return leases
}

// event is what the hot path is told of one.
type event struct {
	progress sessionstore.Progress
	record   [1]sessionstore.Record
}

func newEvent() *event {
	e := &event{progress: sessionstore.Progress{
		Now: time.Now(), LastSent: []byte("01938a7e-0000-7000-8000-000000000000"), Seen: []uint64{0},
	}}
	e.record[0] = sessionstore.Record{ID: e.progress.LastSent, Wire: make([]byte, 120)}
	return e
}

// tell is the hot path.
func (e *event) tell(tb testing.TB, s store, l sessionstore.Lease, n uint64, logged bool) {
	tb.Helper()
	e.progress.Seen[0], e.progress.Events = n, n
	if err := s.Advance(tb.Context(), l, e.progress); err != nil {
		tb.Fatal(err)
	}
	if !logged {
		return
	}
	e.record[0].Seq = n
	if err := s.Append(tb.Context(), l, e.progress.Now, e.record[:]); err != nil {
		tb.Fatal(err)
	}
}

// TestHotPathDoesNotAllocate, in any store, once a stream's window and log are full.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			s := k.open(t, time.Hour) // what a flush allocates is not the stream's
			defer shut(t, s)
			l := begin(t, s, 1, sessionstore.LogLimits{Events: 1000})[0]
			e, n := newEvent(), uint64(0)
			step := func() {
				n++
				e.tell(t, s, l, n, true)
			}
			for range 5_000 {
				step()
			}
			if got := testing.AllocsPerRun(5_000, step); got != 0 {
				t.Errorf("%v allocations per event, want 0", got)
			}
		})
	}
}

// BenchmarkHotPath tells stores of events as fast as it can, while they write behind
// as they do by default. cpu-ns is what the calling thread itself took, which is all that
// a stream pays, and does not depend on what else the machine does.
func BenchmarkHotPath(b *testing.B) {
	for _, k := range kinds(b) {
		for _, sessions := range []int{1, 1_000} {
			for _, logged := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/sessions=%d/log=%t", k.name, sessions, logged), func(b *testing.B) {
					s := k.open(b, 100*time.Millisecond)
					defer shut(b, s)
					var limits sessionstore.LogLimits
					if logged {
						limits.Events = 1000
					}
					leases := begin(b, s, sessions, limits)
					e, n := newEvent(), 0
					b.ReportAllocs()
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					before := threadTime(b)
					for b.Loop() {
						e.tell(b, s, leases[n%sessions], uint64(n/sessions)+1, logged)
						n++
					}
					b.ReportMetric(float64((threadTime(b)-before).Nanoseconds())/float64(n), "cpu-ns/op")
				})
			}
		}
	}
}

// threadTime is the CPU time that this thread has taken.
func threadTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSessions is what sessions cost that have had 10 events each: memory while
// their streams live and after they have ended, and the time until a store that has
// them is open. It is meant for -benchtime 1x.
func BenchmarkSessions(b *testing.B) {
	const sessions = 100_000
	for _, k := range kinds(b) {
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				s := k.open(b, 100*time.Millisecond)
				leases := begin(b, s, sessions, sessionstore.LogLimits{})
				e := newEvent()
				for n := range uint64(10) {
					for _, l := range leases {
						e.tell(b, s, l, n+1, false)
					}
				}
				settle(b, s)
				b.ReportMetric(perSession(before, sessions, cap(leases)), "live-B/session")
				for _, l := range leases {
					if err := s.Release(b.Context(), l); err != nil {
						b.Fatal(err)
					}
				}
				settle(b, s)
				b.ReportMetric(perSession(before, sessions, cap(leases)), "ended-B/session")
				shut(b, s)
				runtime.KeepAlive(s)

				began := time.Now()
				s = k.open(b, 100*time.Millisecond)
				settle(b, s)
				b.ReportMetric(float64(time.Since(began).Milliseconds()), "open-ms")
				shut(b, s)
			}
		})
	}
}

// settle has a store write what it has to.
func settle(tb testing.TB, s store) {
	tb.Helper()
	if b, ok := s.(sessionstore.Behind); ok {
		if err := b.Flush(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
}

func perSession(before uint64, sessions, leases int) float64 {
	own := uint64(leases) * 48 // the leases are the benchmark's
	return (float64(heap()) - float64(before) - float64(own)) / float64(sessions)
}

// heap is what is in use after a full collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
