package sessionstore

import (
	"context"
	"time"
)

// Behind is offered by a Store that keeps its state elsewhere too, and writes it
// there behind the streams.
type Behind interface {
	// Failure is why the state cannot be written or read at present; nil: it can, as
	// far as is known. While it fails, no stream begins, and those that run are kept
	// in memory, to be written as soon as that is possible again.
	Failure() error

	// OnFlush names a function that is called after every attempt to write, by one
	// goroutine. Without one nobody is told.
	OnFlush(observe func(Flush))

	// Flush writes what is not written yet.
	Flush(ctx context.Context) error

	// Close writes what is not written yet, for some seconds at most, and ends the use
	// of the store. The error says that something was left.
	Close() error
}

// Flush is one attempt to write.
type Flush struct {
	Took     time.Duration
	Sessions int
	Err      error
}
