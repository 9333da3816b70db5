package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/sessionstore/bolt"
	"holdfast/test/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	for name, flush := range map[string]time.Duration{
		"when asked":     time.Hour,
		"all the time":   time.Millisecond,
		"before sending": 0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t testing.TB, o storetest.Options) storetest.Fixture {
				// Only the test that is running moves the clock.
				var clock storetest.Clock
				s, err := bolt.Open(bolt.Options{
					Path: filepath.Join(t.TempDir(), "holdfast.db"), Flush: flush,
					Sessions: o.Sessions, TTL: o.TTL, Memory: o.Memory, Now: clock.Now,
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := s.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
				return storetest.Fixture{Store: s, Log: s, Directory: s, Wait: clock.Wait}
			})
		})
	}
}

func TestLinearizable(t *testing.T) {
	for name, flush := range map[string]time.Duration{"write-behind": time.Millisecond, "before sending": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "holdfast.db")
			s, err := bolt.Open(bolt.Options{Path: path, Flush: flush})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			storetest.Linearizable(t, false, func(testing.TB) []storetest.Process {
				return []storetest.Process{{Store: s, Log: s}}
			})
		})
	}
}
