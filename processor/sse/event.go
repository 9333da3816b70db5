package sse

import "time"

// Part says what piece of the stream an Event's Raw holds. The concatenation
// of every Raw that a Scanner hands out, in order, plus its Held bytes, is
// exactly its input.
type Part uint8

const (
	// Whole is a complete block: every line up to and including the blank line
	// that ends it. It may hold no field at all (a blank line, or comments
	// followed by one).
	Whole Part = iota
	// Comment is one or more complete comment lines that come before the first
	// field of a block. They stand apart from the block, so that an origin's
	// keep-alive is never held back and never dropped with an event.
	Comment
	// Fragment is a piece of a block that is larger than the Scanner's limit;
	// more of the same block follows. Its fields are not reported.
	Fragment
	// Last is the final piece of such a block; at least one Fragment came
	// before it. Its fields describe the whole block as far as their lines were
	// within the limit. A leading comment line above the limit is a block of
	// its own, without fields, that ends with the line.
	Last
	// LineFeed is the LF of a CRLF whose CR was the last byte of the Event
	// before it. It belongs to that Event: forward or drop both.
	LineFeed
)

// Event is one piece of an event stream, with what the block's fields mean.
// Its slices alias the Scanner's input or its hold buffer: they are valid until
// the next call of Next or Feed.
//
// Values are the bytes of the stream: a client decodes ill-formed UTF-8 in them
// to U+FFFD, and it is in that form that an id comes back in Last-Event-ID.
type Event struct {
	Raw  []byte // the exact bytes, line ends included
	ID   []byte // value of the last valid id field; empty also when it resets
	Type []byte // value of the last event field; empty means "message"

	// Retry is the value of the last valid retry field, if HasRetry; at most
	// MaxRetry. For a client it counts as soon as its line ends; here it comes
	// with its block.
	Retry time.Duration
	Part  Part

	HasID    bool // an id field is present and valid (no NUL)
	HasData  bool // a data field is present: the block dispatches an event
	HasRetry bool
	BOM      bool // Raw begins with the stream's byte order mark
}
