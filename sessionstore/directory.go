package sessionstore

import (
	"context"
	"time"
)

// Directory is an operator's view of a Store, and the store's own type offers
// both. It is safe for concurrent use, and looking at a session does not count
// as using it.
type Directory interface {
	// Sessions returns at most limit sessions, in the order of their IDs,
	// beginning above after; the zero SessionID begins at the first. Fewer than
	// limit is the end. Sessions that come and go meanwhile may or may not be
	// seen, the others are seen once. No session has the zero SessionID.
	Sessions(ctx context.Context, after SessionID, limit int) ([]Session, error)

	// Session returns one, or ErrNotFound.
	Session(ctx context.Context, id SessionID) (Session, error)

	// Drop forgets a session and fences its live streams, or says ErrNotFound.
	Drop(ctx context.Context, id SessionID) error

	// Len is the number of sessions. A store shared by several processes may
	// answer from what it learnt up to a flush interval ago.
	Len() int

	// LogBytes is the memory that the logs in this process hold.
	LogBytes() int64
}

// Session is a copy of what is known of a session.
type Session struct {
	ID      SessionID
	Info    Info
	Created time.Time
	Used    time.Time // the last Claim, Save, Advance or Release
	Live    int       // streams not released yet
	Streams []Stream  // all that are kept, newest first
}

// Stream is a copy of one stream. The Directory leaves State.Window and
// State.Key out, for they mean nothing to a reader and are large; Tracked says
// how long the window is.
type Stream struct {
	Lease   Lease
	Live    bool
	Saved   time.Time // the last Save or Advance; zero: none yet
	Tracked int       // entries in the window
	Log     LogInfo   // what there is of its log
	State   State
}

// LogInfo is what a log is like, or was when it was last written: some records may
// be told of that have expired since, for as long as there are others.
type LogInfo struct {
	Oldest uint64 // Seq of the oldest record kept; Newest+1 if none is
	Newest uint64 // Seq of the last record appended; zero: none yet, or no log
	Bytes  int    // as LogLimits.Bytes counts
	End    End
}
