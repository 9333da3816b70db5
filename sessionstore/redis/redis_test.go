package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/sessionstore"
	"holdfast/sessionstore/redis"
	"holdfast/test/redistest"
	"holdfast/test/storetest"
)

// TestMain looks for leaks as goleak.VerifyTestMain does, but longer: rueidis closes the
// connections of a cluster's earlier layout after five seconds.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for deadline := time.Now().Add(10 * time.Second); code == 0; {
		if leak = goleak.Find(); leak == nil || time.Now().After(deadline) {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, "goleak:", leak)
		code = 1
	}
	os.Exit(code)
}

// prefixes keep the tests that share a server apart.
var prefixes atomic.Int64

func open(tb testing.TB, o redis.Options) *redis.Store {
	tb.Helper()
	s, err := redis.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	redistest.Eventually(tb, "the store is connected", func() bool { return s.Failure() == nil })
	return s
}

func TestContract(t *testing.T) {
	server := redistest.Start(t)
	for name, flush := range map[string]time.Duration{
		"when asked":     time.Hour,
		"all the time":   time.Millisecond,
		"before sending": 0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t testing.TB, o storetest.Options) storetest.Fixture {
				var clock storetest.Clock
				s := open(t, redis.Options{
					URL: server.URL(), Prefix: fmt.Sprint("test", prefixes.Add(1)), Flush: flush,
					Sessions: o.Sessions, TTL: o.TTL, Memory: o.Memory, Now: clock.Now,
				})
				return storetest.Fixture{Store: s, Log: s, Directory: s, Wait: clock.Wait}
			})
		})
	}
}

// TestShared: a reader in another process sees what is written, is heard of by the
// writer, and learns when that is no more; who takes over then has the stream.
func TestShared(t *testing.T) {
	server := redistest.Start(t)
	o := redis.Options{URL: server.URL(), Prefix: fmt.Sprint("test", prefixes.Add(1)), Flush: time.Millisecond}
	writer, reader := open(t, o), open(t, o)
	ctx := t.Context()
	lease, _, err := writer.Claim(ctx, sessionstore.Key{Session: sessionstore.SessionID{1}, Log: sessionstore.LogLimits{Events: 10}, Head: []byte("h")})
	if err != nil {
		t.Fatal(err)
	}
	add := func(s *redis.Store, l sessionstore.Lease, seq uint64) error {
		if err := s.Append(ctx, l, time.Time{}, []sessionstore.Record{{Seq: seq, Wire: []byte("data: x\n\n")}}); err != nil {
			return err
		}
		return s.Flush(ctx)
	}
	if err := add(writer, lease, 1); err != nil {
		t.Fatal(err)
	}
	at := sessionstore.Position{Session: lease.Session, Line: lease.Line, Number: lease.Number}
	look := func(want int, live, orphaned bool) {
		t.Helper()
		page, err := reader.After(ctx, at, sessionstore.PageLimits{})
		if err != nil || len(page.Records) != want || page.Live != live || page.Orphaned != orphaned {
			t.Errorf("got %d records, live: %v, orphaned: %v, %v; want %d, %v, %v", len(page.Records), page.Live, page.Orphaned, err, want, live, orphaned)
		}
	}
	look(1, true, false)
	if read, err := writer.Attended(ctx, lease); err != nil || read {
		t.Errorf("read by nobody: %v, %v", read, err)
	}
	if err := reader.Attend(ctx, at); err != nil {
		t.Fatal(err)
	}
	if read, err := writer.Attended(ctx, lease); err != nil || !read {
		t.Errorf("read: %v, %v", read, err)
	}

	// Its process ends, and leaves the stream as it is.
	if err := add(writer, lease, 2); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the writer is missed", func() bool {
		page, err := reader.After(ctx, at, sessionstore.PageLimits{})
		return err == nil && page.Orphaned
	})
	mine, _, err := reader.Takeover(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := add(reader, mine, 3); err != nil {
		t.Fatal(err)
	}
	look(3, true, false)
	if err := reader.Release(ctx, mine); err != nil {
		t.Fatal(err)
	}
	look(3, false, false)
}

// TestLinearizable: one process that writes behind, and two that store before they
// return. What processes that write behind know of one another is up to a flush old.
func TestLinearizable(t *testing.T) {
	server := redistest.Start(t)
	for name, test := range map[string]struct {
		processes int
		flush     time.Duration
	}{
		"one process, write-behind":     {1, time.Millisecond},
		"two processes, before sending": {2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefix := fmt.Sprint("test", prefixes.Add(1))
			var processes []storetest.Process
			for range test.processes {
				s := open(t, redis.Options{URL: server.URL(), Prefix: prefix, Flush: test.flush})
				processes = append(processes, storetest.Process{Store: s, Log: s})
			}
			storetest.Linearizable(t, false, func(testing.TB) []storetest.Process { return processes })
		})
	}
}

// TestTakeoverGivenUp: who does not wait for a takeover has taken nothing, and nobody
// else has to wait for a writer that there is not.
func TestTakeoverGivenUp(t *testing.T) {
	server := redistest.Start(t)
	o := redis.Options{URL: server.URL(), Prefix: fmt.Sprint("test", prefixes.Add(1)), Flush: time.Millisecond}
	writer, reader := open(t, o), open(t, o)
	lease, _, err := writer.Claim(t.Context(), sessionstore.Key{Session: sessionstore.SessionID{1}, Log: sessionstore.LogLimits{Events: 10}, Head: []byte("h")})
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	at := sessionstore.Position{Session: lease.Session, Line: lease.Line, Number: lease.Number}
	server.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := reader.Takeover(ctx, at); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	server.Resume()
	redistest.Eventually(t, "nobody seems to write", func() bool {
		page, err := reader.After(t.Context(), at, sessionstore.PageLimits{})
		return err == nil && (!page.Live || page.Orphaned)
	})
}
