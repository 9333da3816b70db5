package sessionstore

import (
	"context"
	"time"
)

// RecordOverhead is what a record counts for in LogLimits.Bytes beside its Wire
// and its ID, so that a million tiny events do not cost many times the bound.
const RecordOverhead = 16

// LogLimits is how much of a stream's log is kept. At a limit the oldest records
// are given up, never the newest, and never the stream: it goes on if not one
// record fits.
type LogLimits struct {
	Events int           // zero or less: the stream has no log
	Bytes  int           // of Wire, ID and RecordOverhead together; zero or less: 1 MiB
	TTL    time.Duration // how long a record is kept; zero or less: an hour
}

// Record is one block of a stream as its client got it, or would have: an event,
// a comment, or bytes that only look like one. Nothing that a client was sent
// may be missing between two Records.
type Record struct {
	Seq uint64 // position in its stream: 1, 2, 3, …

	// ID is the event ID in force after the block: what a client that got it, and
	// nothing more, would send as its Last-Event-ID. Empty: none. A block that sets
	// no ID of its own has that of the one before. One longer than MaxID is kept as "".
	ID []byte

	// Wire is the exact bytes, blank line included. Empty: nothing was sent that could
	// be kept, but whoever is before this Record lacks something.
	Wire []byte
}

// End is how a stream ended, as far as its log has to know.
type End uint8

const (
	EndNone     End = iota // it has not, or nobody was there to see: there may be more to get
	EndComplete            // the origin had no more to say: whoever has all records has everything
	EndCut                 // the rest is lost for good: whoever has all records was never told the end
)

// Position is a place in a stream's log: just after one of its records.
type Position struct {
	Session SessionID
	Line    LineID
	Number  uint64 // the stream's
	Token   uint64 // the Lease.Token under which the record was written; zero: not known
	Seq     uint64 // the record's; zero: the beginning
}

// Page is a part of a log, and what the log was like when it was read.
type Page struct {
	Records []Record // without holes, from the position on
	More    bool     // there are more after these

	Oldest uint64 // Seq of the oldest record kept; Newest+1 if none is. See LogInfo
	Newest uint64 // Seq of the last record appended; zero: none yet
	Head   []byte // Key.Head of the stream
	Token  uint64 // of the present Lease, or the last
	Live   bool   // its lease was not released: somebody writes, unless they died
	End    End

	// Orphaned says that the stream is Live, but that its writer has died, or is held up
	// for so long (WriterLife) that it might have: nothing more will come unless somebody
	// takes the stream over.
	Orphaned bool

	// Changed is closed as soon as this page is out of date: a record was appended,
	// the stream ended, was released, taken over or forgotten. It is nil where that
	// cannot be known: the stream is written by another process, or by nobody, or
	// there is more to read already.
	Changed <-chan struct{}
}

// PageLimits bound a Page. Where there is a record at all, there is one in the
// page, however large.
type PageLimits struct {
	Records int // zero or less: 1000
	Bytes   int // of Wire and ID; zero or less: 256 KiB
}

// Log keeps what was sent on a stream, for a client that comes back and does not
// have all of it. A Store offers it too, and what it says of safe use, copies,
// processes and errors holds here as well.
//
// A stream has a log if the Key that claimed it says so (LogLimits). It lives and
// dies with its stream, with two exceptions: its records may be given up before,
// at a bound of the stream or of the whole store, and a stream with records is
// not forgotten for being continued.
//
// There is one writer: whoever has the stream's lease. Takeover moves the lease,
// to another process as well as within one, and whatever an earlier holder writes
// from then on is refused inside the store, however late it comes and whatever its
// clock says. So a log never holds what two processes made of one stream.
//
// # Replay, then live
//
// A reader that wants all of a stream asks for page after page, and for the live
// events no differently. Nothing is lost or seen twice between them, for the
// page and Page.Changed are of the same moment:
//
//	for {
//		page, err := log.After(ctx, at, limits)
//		// … forward page.Records, move at.Seq (and at.Token to page.Token)
//		switch {
//		case page.More: // go on
//		case page.Changed != nil: // wait for it
//		case page.Live && !page.Orphaned: // another process's: look again, a little later
//		default: // ended (page.End), released, or orphaned: take it over, or end
//		}
//	}
//
// Who wants to go on in a dead writer's place takes the stream over first, and
// then reads: from then on nobody else adds a record, so the last page is the end.
type Log interface {
	// Append adds records to the log of the leased stream, all of them or none, or
	// says ErrFenced, also once the stream's end is recorded. Like Advance it is the
	// hot path, with the same promises: the records are borrowed until it returns,
	// and it never waits unless the store was told to store before sending. Without
	// a log it does nothing. now is the caller's clock; zero: the store looks at
	// its own.
	//
	// The first Seq is the newest one's successor. A greater one leaves a hole, which
	// no reader may be led across: every record before it is given up. A lesser one
	// is a caller's mistake and an error of its own.
	Append(ctx context.Context, l Lease, now time.Time, recs []Record) error

	// Finish records how the leased stream ended, or says ErrFenced. The lease holds
	// until it is released.
	Finish(ctx context.Context, l Lease, end End) error

	// Seek finds where a client is that brings this event ID: in the newest stream of
	// the line whose log holds it, or, with the zero LineID, of the session. Where
	// the ID is in force after several records, it is the first of these, so that a
	// client may get what it has, but never miss what it has not. ErrTruncated: no
	// log holds it, and one of them has given up records that may have had it.
	// ErrNotFound: no log holds it. The empty ID is never found.
	Seek(ctx context.Context, session SessionID, line LineID, eventID string) (Position, error)

	// After returns what follows a position. ErrNotFound: no such stream, or it has
	// no log. ErrTruncated: the record that follows is not kept any more, so that
	// there would be a gap. ErrAhead: there is no such record, or it is another
	// writer's; the position was given out by a writer that lost its lease, or died,
	// before the record was stored.
	After(ctx context.Context, p Position, limits PageLimits) (Page, error)

	// Takeover makes the caller the only one who may write the stream that p is in,
	// live or not, and returns the new lease and what the stream knew. Seq and Token
	// of p do not matter. ErrNotFound: no such stream. An end that was recorded stays.
	Takeover(ctx context.Context, p Position) (Lease, Stream, error)
}
