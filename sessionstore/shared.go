package sessionstore

import (
	"context"
	"time"
)

const (
	// WriterLife is how long a process counts as alive after its last sign of life. Until
	// then a stream that it was writing is not Page.Orphaned.
	WriterLife = 5 * time.Second

	// ReaderLife is how long a stream counts as read after an Attend.
	ReaderLife = 15 * time.Second
)

// Shared is offered by a Store whose state several processes share. A reader of a
// stream that another process writes tells it so that it is there, and a writer whose
// client has left asks before it gives the stream up.
type Shared interface {
	// Attend says that somebody reads the stream that p is in, for ReaderLife from now.
	Attend(ctx context.Context, p Position) error

	// Attended says whether somebody has said so of the leased stream.
	Attended(ctx context.Context, l Lease) (bool, error)
}
