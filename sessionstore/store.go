// Package sessionstore is the contract of what outlives a stream: enough to
// recognise, when a client comes back, what it already has.
//
// A session is everything one client does under one policy; a line is one
// request (method, host, path) within it; a stream is one response on that
// line. A client that reconnects begins a new stream on the same line, and finds
// there what the earlier ones knew.
//
// Beside what a stream knows there may be what it sent: its Log, for a client that
// comes back and does not have all of it.
//
// Implementations are in the packages below this one, and every one of them
// passes test/storetest.
package sessionstore

import (
	"context"
	"time"
)

// Bounds that every Store keeps, so that one session cannot grow without end.
const (
	// StreamsPerLine and StreamsPerSession are how many streams are kept, live
	// and ended together. One too many pushes out the oldest that has ended, or,
	// where all are live, the oldest, whose lease is then fenced.
	StreamsPerLine    = 8
	StreamsPerSession = 64

	// DefaultWindow is the window of a Key that does not say.
	DefaultWindow = 1000

	// MaxID is the longest event ID kept, in bytes. A longer one is kept as "",
	// no cursor at all: no client could send it back, for it is as long as
	// servers commonly allow a whole header line to be.
	MaxID = 8 << 10
)

// SessionID names a session: a hash over policy, principal and session key.
type SessionID [16]byte

// LineID names a line within a session: a hash over method, host and path.
type LineID [16]byte

// Key is where a new stream belongs, and what it wants to know.
type Key struct {
	Session SessionID
	Line    LineID
	Info    Info // shown to operators; the first Claim of a session decides it
	Window  int  // entries of State.Window to keep, the newest; zero: DefaultWindow
	Fresh   bool // the client brings no cursor: Claim need not tell of earlier streams

	Log  LogLimits // of the stream's log; the zero value: none
	Head []byte    // kept with the log, for whoever reads it; the store does not look into it
}

// Info describes a session to an operator. It never holds a credential.
type Info struct {
	Policy    string
	Principal string // shortened hash; "" if the client sent no credential
	Session   string // where the key came from and its shortened value, e.g. "header:mcp-session-id 1868a9…"; "" if none
}

// State is all that is kept of one stream. Its meaning is the splice package's;
// a store only keeps it.
type State struct {
	Acked      string    // the client's own Last-Event-ID when the stream began
	LastSent   string    // event ID in force after the last event sent
	Window     []uint64  // tracker entries, oldest first, at most Key.Window
	Key        [2]uint64 // key of the hash behind the entries
	Epoch      uint32    // restarts of the origin's event IDs
	Trust      uint8     // verdict on the origin's event IDs
	Events     uint64
	Duplicates uint64

	// Continues is the Number of the earlier stream that this one's State began
	// from, 0 for none. If that stream has ended by this one's first Save, the
	// store forgets it, for this one knows everything it knew: a client that
	// reconnects all day costs one Window and not StreamsPerLine of them. It stays
	// if its log holds records: those this one does not have.
	Continues uint64
}

// Progress is how a stream's State moved since its last Save or Advance. It is
// made to be told at every chunk, so nothing in it is ever copied by the caller:
// its slices are borrowed until Advance returns.
type Progress struct {
	// Now is the caller's clock, which it has just looked at: that look is half
	// of what an Advance in memory costs. Zero: the store looks at its own.
	Now time.Time

	LastSent []byte   // replaces State.LastSent
	Seen     []uint64 // added to State.Window, oldest first

	// These replace the State's; the counts are totals.
	Epoch      uint32
	Trust      uint8
	Events     uint64
	Duplicates uint64
}

// Lease is the right to write the State and the log of one stream.
type Lease struct {
	Session SessionID
	Line    LineID
	Number  uint64 // of the stream, from 1, rising, never given twice by a store
	Token   uint64 // from 1; one more whenever the stream is taken over. Only the greatest may write
}

// Store keeps the States of streams. It is safe for concurrent use; the calls
// for any one Lease come one at a time.
//
// What goes in and what comes out is copied: no caller can change what is kept.
//
// Within one Store value a Claim sees every earlier Save and Advance. Processes
// that share their state may lag behind each other by the store's flush
// interval, unless that is zero. An error other than the sentinels says that the
// store failed, not the stream: the stream goes on.
//
// The context bounds how long a call may wait for a disk or a network. A store
// that never waits need not look at it.
type Store interface {
	// Claim begins a stream. It makes the session if it is new, marks it as used,
	// and returns the lease of a new, live stream together with copies of the
	// line's earlier streams, newest first, live or ended, unless k.Fresh. The
	// earlier streams keep their leases: two tabs of one browser share a line.
	// The new stream has the zero State until it is saved.
	Claim(ctx context.Context, k Key) (Lease, []Stream, error)

	// Save replaces the State of the leased stream, or says ErrFenced. It copies
	// the whole Window (8 KB when full): for the beginning of a stream, and for
	// whenever the Window was started over.
	Save(ctx context.Context, l Lease, s *State) error

	// Advance applies p to the State of the leased stream, or says ErrFenced. It
	// is the hot path: it never waits for a disk or a network unless the store
	// was told to store before sending, and allocates nothing once the stream's
	// buffers have grown.
	Advance(ctx context.Context, l Lease, p Progress) error

	// Release says that the stream is over, and marks its session as used. The
	// State is kept until the session expires, newer streams push it out, or one
	// that continues it is saved. The lease no longer holds: whatever follows,
	// a second Release too, says ErrFenced.
	Release(ctx context.Context, l Lease) error
}
