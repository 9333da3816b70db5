package sessionstore

import "errors"

// The sentinel errors of every Store. Test with errors.Is: a store that talks
// to a disk or a network wraps them in what it was doing.
var (
	// ErrNotFound: no such session, stream or event ID. One that has expired, was dropped, or belongs
	// to somebody else looks exactly like one that never was.
	ErrNotFound = errors.New("sessionstore: not found")

	// ErrFenced: the lease no longer holds. Its session was dropped, evicted or
	// expired, newer streams pushed this one out, it was taken over, or it was
	// released. A lease never comes back: the stream may go on, but its state and
	// its log are no longer kept for it.
	ErrFenced = errors.New("sessionstore: lease lost")

	// ErrTruncated: what was asked for is no longer in the log, for records before
	// it were given up. To go on would be to lead a reader across a gap.
	ErrTruncated = errors.New("sessionstore: log truncated")

	// ErrAhead: the position is beyond what its writer had stored when it lost its
	// lease. What lies between is known to the client, if to anybody.
	ErrAhead = errors.New("sessionstore: position is ahead of the log")
)
