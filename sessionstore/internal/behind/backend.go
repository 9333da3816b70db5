// Package behind keeps the streams that this process writes in memory, and writes
// them to a Backend behind their backs: a stream never waits for a disk or a
// network, unless it was told to store before sending. It is what the stores that
// outlive a process have in common.
//
// # What is where
//
// A stream whose lease is ours is in memory, as memory.Store has it, with the newest
// part of its log. Every change marks its session, and a goroutine writes the
// marked ones at every flush: only what moved since the one before. Everything else
// is in the Backend, and read from there when somebody asks. Who asks for a session
// that is marked has it written first, so that nobody reads what has been overtaken.
//
// # When the Backend fails
//
// What could not be written is written again until it was; what comes after waits
// in memory, within the limits of each log and of all together. New streams are
// refused meanwhile, with the Backend's error: a store that accepted them would
// have become one of memory without anybody knowing.
package behind

import (
	"context"
	"time"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
)

// Backend keeps records of sessions for a Store. It decides by what is stored, not
// by what a Store believes: who may write, what a session may hold, and which
// sessions there may be. Its calls may come from several goroutines, but those that
// write come one at a time.
type Backend interface {
	// Apply makes changes, each of them as a whole, and fills in their results.
	// After an error any of them may have been made; the caller sends them again.
	Apply(ctx context.Context, now time.Time, changes []*Change) error

	// Load returns a session with its streams, newest first, and the windows of
	// those on one line, unless that is zero; or ErrNotFound, also if it has expired.
	Load(ctx context.Context, now time.Time, id sessionstore.SessionID, windows sessionstore.LineID) (*Session, error)

	// Records returns the batches of a stream's log, in order, from the one that holds
	// the given record, or the first after it, until they have about that many bytes.
	// What comes before LogState.Oldest may be missing or not.
	Records(ctx context.Context, id sessionstore.SessionID, number, from uint64, bytes int) ([]*holdfastv1.RecordBatch, error)

	// Takeover raises the token of a stream by one and marks it live. It returns the
	// stream as it was before, with its window, or ErrNotFound.
	Takeover(ctx context.Context, now time.Time, id sessionstore.SessionID, number uint64) (*Stream, error)

	// List returns the sessions above after that have not expired, in the order of
	// their IDs, at most limit.
	List(ctx context.Context, now time.Time, after sessionstore.SessionID, limit int) ([]*Session, error)

	// Drop forgets a session, or says ErrNotFound. Whoever writes its streams is fenced
	// from then on, as far as their numbers are not greater than upTo.
	Drop(ctx context.Context, now time.Time, id sessionstore.SessionID, upTo uint64) error

	// Tend forgets sessions that have expired, and those that are too many, the ones
	// unused for longest first and those with live streams last. It returns how many
	// are left, and which of those with live streams it has forgotten, fencing as Drop
	// does.
	Tend(ctx context.Context, now time.Time, upTo uint64) (left int, live []sessionstore.SessionID, err error)

	// Close ends the use of the Backend. No call is under way.
	Close() error
}

// Session is a session as it is stored.
type Session struct {
	ID      sessionstore.SessionID
	Record  *holdfastv1.Session
	Streams []*Stream
}

// Stream is a stream as it is stored.
type Stream struct {
	Number uint64
	Birth  *holdfastv1.StreamBirth
	State  *holdfastv1.StreamState
	Window []uint64 // nil: not asked for
}

// Change is what moved in one session.
type Change struct {
	ID sessionstore.SessionID

	// Record is of a session that is new, if it is. One that exists keeps its own
	// but for the time of its use, which never goes back; one that has expired is
	// forgotten, with its streams, if Claimed says that this process takes part in it
	// anew.
	Record  *holdfastv1.Session
	Claimed bool

	// Live says that some of the session's streams are live in this process, so that
	// it does not expire while nothing happens. There need be no other change.
	Live bool

	Streams []*StreamChange

	session *session
	gen     uint64 // of the session, when this was collected
}

// StreamChange is what moved in one stream.
//
// A stream that is not stored yet begins with its Birth, and then pushes others out
// if there are too many, by the rule of sessionstore.StreamsPerLine. If one with its
// number is stored that had another Birth, another process was faster, and it is
// Fenced.
type StreamChange struct {
	Number uint64
	Birth  *holdfastv1.StreamBirth // nil: it is stored
	Fixed  *holdfastv1.StreamBirth // the same, but never nil: what is stored
	State  *holdfastv1.StreamState // with its token and its revision

	// Forget is the number of an earlier stream of its line that this one continues;
	// to be forgotten if it has ended and no record of it is left at this time. Zero:
	// none.
	Forget uint64

	Seen []uint64 // to be added to the window
	Over bool     // which is to be started over first

	Records *holdfastv1.RecordBatch // nil: none
	Hole    bool                    // what is stored of earlier records is to go

	Result Result

	through uint64 // Seq of the last of Records
}

// Result is what became of a StreamChange.
type Result uint8

const (
	Applied Result = iota // now or earlier: the revision says
	Fenced                // the stream was dropped, pushed out or taken over
	Missing               // the backend does not know it, and has no reason to think it was fenced: send all of it
)
