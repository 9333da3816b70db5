// Package sessionstore is the contract of what outlives a stream.
package sessionstore

import (
	"context"
	"errors"
	"time"
)

// Sentinel errors of every Store.
var (
	// ErrNotFound: there is no such session.
	ErrNotFound = errors.New("sessionstore: session not found")
	// ErrFenced: the lease no longer holds, for its session was dropped, evicted or expired.
	ErrFenced = errors.New("sessionstore: lease lost")
)

// SessionID names a session: a hash over policy, principal and session key.
type SessionID [16]byte

// LineID names a line of streams within a session: a hash over method,
// authority and path.
type LineID [16]byte

// Key is where a new stream belongs.
type Key struct {
	Session SessionID
	Line    LineID
	Info    Info // shown to operators; the first Claim of a session decides it
}

// Info describes a session to an operator. It never holds a credential.
type Info struct {
	Policy    string
	Principal string // shortened hash; "" if the client sent no credential
	Session   string // where the key came from and its shortened value, e.g. "header:mcp-session-id 1868a9…"; "" if none
}

// State is what is kept of one stream. Slices are copied in and out.
type State struct {
	Acked      string
	LastSent   string
	Window     []uint64
	Key        [2]uint64
	Epoch      uint32
	Trust      uint8
	Events     uint64
	Duplicates uint64
}

// Lease is the right to save the state of one stream.
type Lease struct {
	Session SessionID
	Line    LineID
	Number  uint64 // the stream's number within the store, never reused
}

// Store keeps the State of streams, by session and line. It is safe for
// concurrent use.
type Store interface {
	// Claim begins a stream: it makes the session if it is new, marks it as used,
	// and returns the lease of a new stream together with the States of the
	// line's earlier streams, newest first, ended or not. The new stream has the
	// zero State until its first Save.
	Claim(ctx context.Context, k Key) (Lease, []State, error)
	// Save replaces the leased stream's State, or says ErrFenced.
	Save(ctx context.Context, l Lease, s *State) error
	// Release says that the stream is over. Its last saved State is kept for the
	// line until the session expires or newer streams of the line push it out.
	Release(ctx context.Context, l Lease) error
}

// Directory is the operator's view of a Store.
type Directory interface {
	// Sessions returns at most limit sessions with an ID above after, in order.
	Sessions(ctx context.Context, after SessionID, limit int) ([]Session, error)
	// Session returns one, or ErrNotFound.
	Session(ctx context.Context, id SessionID) (Session, error)
	// Drop forgets a session and fences its live streams, or says ErrNotFound.
	Drop(ctx context.Context, id SessionID) error
	// Len is the number of sessions.
	Len() int
}

// Session is a copy of what is known of a session.
type Session struct {
	ID      SessionID
	Info    Info
	Created time.Time
	Used    time.Time
	Live    int // streams not released yet
	Streams []Stream
}

// Stream is one stream of a Session, newest first.
type Stream struct {
	Lease Lease
	Live  bool
	Saved time.Time
	State State
}
