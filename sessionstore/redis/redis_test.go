package redis_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/sessionstore/redis"
	"holdfast/test/redistest"
	"holdfast/test/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
