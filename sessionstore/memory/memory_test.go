package memory_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/sessionstore/memory"
	"holdfast/test/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	storetest.Run(t, func(_ testing.TB, o storetest.Options) storetest.Fixture {
		// Only the test that is running moves the clock, and not while others use it.
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		s := memory.New(memory.Options{Sessions: o.Sessions, TTL: o.TTL, Memory: o.Memory, Now: func() time.Time { return now }})
		return storetest.Fixture{Store: s, Log: s, Directory: s, Wait: func(d time.Duration) { now = now.Add(d) }}
	})
}

func TestLinearizable(t *testing.T) {
	storetest.Linearizable(t, true, func(testing.TB) []storetest.Process {
		s := memory.New(memory.Options{})
		return []storetest.Process{{Store: s, Log: s}}
	})
}
