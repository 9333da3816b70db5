package splice

import (
	"time"

	"holdfast/processor/sse"
)

// Attempt numbers the responses a stream is made of: 0 is the one Envoy relays,
// n is our n-th resume request.
type Attempt uint32

// Input is one fact about the world. Facts of a superseded attempt are inert.
type Input interface{ input() }

// Opened says that an attempt's response headers arrived. A Status of 0 means
// that the driver has already judged the response to be an event stream;
// otherwise anything but 200 with EventType is only passed through.
type Opened struct {
	Attempt   Attempt
	Status    int
	EventType bool // the content type is text/event-stream

	// Of attempts after 0, Verdict and RetryAfter say what the answer means.
	Verdict    Verdict
	RetryAfter time.Duration // the server's wish, zero if none
}

// Chunk is body bytes of an attempt, borrowed until the Ready is carried out.
type Chunk struct {
	Attempt Attempt
	Bytes   []byte
	Last    bool // a clean Ended follows: what is left of the stream is all there is
}

// Ended says that an attempt is over.
type Ended struct {
	Attempt Attempt
	Cause   Cause
}

// Tick says that Ready.Deadline has passed. A Tick before its time is harmless:
// a driver need not re-arm its timer when the deadline moves later, it may let
// the timer fire, Tick, and arm it for the Deadline that comes back.
type Tick struct{}

// Drain says that this process is going away: end at an event boundary, at the
// latest at By. Of several Drains the earliest By holds.
type Drain struct{ By time.Time }

// Gone says that the client's side is over; it is always answered by Close.
type Gone struct{}

func (Opened) input() {}
func (Chunk) input()  {}
func (Ended) input()  {}
func (Tick) input()   {}
func (Drain) input()  {}
func (Gone) input()   {}

// Cause is how an attempt ended.
type Cause uint8

const (
	CleanEnd    Cause = iota // end of stream, body complete as far as HTTP can tell
	Reset                    // the transfer was aborted
	Refused                  // no response came: no connection, no healthy host, reset or timeout before headers
	Unresumable              // the driver cannot make a request that continues after this cursor
)

// Command is work for the driver.
type Command interface{ command() }

// Close ends the stream: it is the last Command of every Machine.
type Close struct {
	Outcome Outcome
	// Abort asks that the client sees an aborted transfer; otherwise it sees a
	// clean end.
	Abort bool
}

func (Close) command() {}

// Outcome is how a stream ended, for the operator.
type Outcome uint8

const (
	Complete   Outcome = iota // the origin's end reached the client
	Resumed                   // complete after at least one resume
	Gap                       // a missing part is gone for good
	Cut                       // truncated
	ClientGone                // the client's side went away first
	Drained                   // ended by us at an event boundary, to move elsewhere
	Passed                    // given up watching: the bytes were only passed through
)

// Ready is all that one Step asks for, carried out in field order. Its slices
// are valid until the next Step.
type Ready struct {
	ToClient []byte    // may alias the Chunk just given or the hold buffer
	Save     bool      // State has changed in a way worth keeping (after ToClient was sent)
	Commands []Command // at most one Close, always last
	Deadline time.Time // zero: no timer needed
	Notes    []Note    // for logs and metrics; never load-bearing
}

// Note is something an operator may want to know.
type Note struct {
	Kind   NoteKind
	Result Result        // of NoteResume
	Text   string        // constant text, never payload or credentials
	Took   time.Duration // of ResultResumed: from the failure to the first new event forwarded
}

// NoteKind is the closed set of notes.
type NoteKind uint8

const (
	NoteOversize   NoteKind = iota // an event above Policy.EventBytes is streaming through
	NoteOverlap                    // an overlap with what the client has was found and is being dropped
	NoteOverlapEnd                 // the overlap is over: everything from here on is new to the client
	NoteTrust                      // the verdict on the origin's event IDs changed; Text names the new one
	NoteHeartbeat                  // a comment was sent into a silence
	NoteStalled                    // the upstream is silent and nothing can be done; Text names the silence (health.Clock)
	NoteResume                     // an attempt after 0 came to something: Result, which is also Text, and Took
)

// Counts are totals of one Machine since New.
type Counts struct {
	Events     uint64 // dispatched events received (blocks with data), dropped ones included
	Duplicates uint64 // blocks dropped as repeats
	Heartbeats uint64 // comments sent
	Attempts   uint64 // Dials after attempt 0
	Resumes    uint64 // attempts that brought what had been missing
	BytesIn    uint64
	BytesOut   uint64 // heartbeats included
}

// Phase is where in its life a Machine is; see the diagram in the package
// documentation.
type Phase uint8

const (
	Opening  Phase = iota // no response headers yet
	Live                  // the response is being relayed
	Resuming              // it has ended, and another attempt is to go on with it
	Draining              // asked to end: looking for a boundary to end at
	Closed                // Close was given; every further Step is empty
)

// Dedup says when a repeated event is dropped.
type Dedup uint8

const (
	DedupOverlap Dedup = iota // only inside the overlap after a reconnect, by id and content, in order
	DedupAlways               // every id seen within the window, by id alone
	DedupOff
)

// Trust is the verdict on an origin's event IDs.
type Trust uint8

const (
	TrustAbsent     Trust = iota // no event carried an id so far
	TrustUnique                  // every id so far differs, in no order we know
	TrustMonotonic               // every id so far is greater than the one before
	TrustConstant                // the same id again and again
	TrustRestarting              // ids start over, come again with other content, or name topics instead of events
)

// Start is what is known when a stream begins.
type Start struct {
	// Seed is the Machine's only randomness. It has to be unguessable (64 bits
	// of crypto/rand), for the key of the tracker's hash is made of it.
	Seed        uint64
	LastEventID string // the client's own header value, if HasCursor
	HasCursor   bool
	Repeatable  bool // the client may be sent away with a clean end, for it comes back (GET)
	Owned       bool // we own the client's response (hold): nothing upstream does can end it by itself
	Dialable    bool // the driver can fetch, so that Dial may be asked for
	Opening     bool // there is no attempt 0 yet: the first Step's Ready asks to Dial it
	// RetryBinds says that by the origin's protocol a clean end is an appointment:
	// the stream goes on, and its retry field says when to ask for the rest. Any
	// other clean end is looked into at once, for the client waits for its own.
	RetryBinds bool

	// Identity gives an event's id where it is not the id field, such as a
	// sequence number in the data; nil: the id field. The result is borrowed
	// until the next call.
	Identity func(*sse.Event) (id []byte, ok bool)
	// Earlier is what an earlier stream of the same line knew; zero: nothing.
	// Of several, choose the newest one that Policy.Remembers the cursor, unless
	// one newer than that has a Trust that is Disproved.
	Earlier State
}
