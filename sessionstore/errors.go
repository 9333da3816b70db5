package sessionstore

import "errors"

// The sentinel errors of every Store. Test with errors.Is: a store that talks
// to a disk or a network wraps them in what it was doing.
var (
	// ErrNotFound: no such session. One that has expired, was dropped, or belongs
	// to somebody else looks exactly like one that never was.
	ErrNotFound = errors.New("sessionstore: session not found")

	// ErrFenced: the lease no longer holds. Its session was dropped, evicted or
	// expired, newer streams pushed this one out, or it was released. A lease
	// never comes back: the stream may go on, but its state is no longer kept.
	ErrFenced = errors.New("sessionstore: lease lost")
)
