package storetest

import (
	"sync/atomic"
	"time"
)

// Clock is a store's clock that only a test moves. It is safe for concurrent use.
type Clock struct{ elapsed atomic.Int64 }

// Now is the time.
func (c *Clock) Now() time.Time {
	return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Add(time.Duration(c.elapsed.Load()))
}

// Wait moves it.
func (c *Clock) Wait(d time.Duration) { c.elapsed.Add(int64(d)) }
