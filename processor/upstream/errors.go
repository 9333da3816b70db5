package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Cause is how a fetch ended.
type Cause uint8

const (
	CleanEnd  Cause = iota // the response ended, complete as far as HTTP can tell
	Refused                // no connection to the listener: refused, unreachable, no such socket
	NoAnswer               // the stream or its connection was reset before the response's header
	Reset                  // the transfer was aborted inside the body
	TimedOut               // our own patience ended: Request.AnswerWithin, or the context's deadline
	Cancelled              // our own side gave up: the context was cancelled, or the Response closed
	Malformed              // the request cannot be sent as it is
	Looped                 // the request has been here before
)

func (c Cause) String() string {
	names := [...]string{
		"clean end", "refused", "reset before the response", "reset inside the response",
		"timed out", "cancelled", "malformed request", "loop",
	}
	if int(c) >= len(names) {
		return "unknown"
	}
	return names[c]
}

// A LocalError is our own decision, or our own fault: nobody can be blamed for
// it, and it says nothing about the upstream's health.
type LocalError struct {
	Cause Cause // TimedOut, Cancelled, Malformed or Looped
	Err   error // what happened, in words
}

func (e *LocalError) Error() string { return "fetch: " + e.Cause.String() + ": " + e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

// A PeerError is what the other side did, or the way to it. Because Envoy is
// between, an upstream that cannot be reached is no PeerError but an answer with
// status 503.
type PeerError struct {
	Cause Cause // Refused, NoAnswer or Reset
	// Unprocessed says that the other side has not acted on the request: it may
	// be sent again, whatever its method.
	//
	//	"Requests that have not been processed have not failed; clients MAY
	//	automatically retry them, even those with non-idempotent methods."
	//	https://www.rfc-editor.org/rfc/rfc9113#section-8.7
	Unprocessed bool
	// Code is the HTTP/2 error code of the RST_STREAM frame that ended the
	// stream (https://www.rfc-editor.org/rfc/rfc9113#section-7), if HasCode.
	Code    uint32
	HasCode bool
	Err     error
}

func (e *PeerError) Error() string { return "fetch: " + e.Cause.String() + ": " + e.Err.Error() }
func (e *PeerError) Unwrap() error { return e.Err }

var (
	// ErrLoop says that a request came back to the process that had sent it, or
	// went through too many like it: the way back leads to a listener that runs
	// the filter and has no pass, or to a wrong address.
	ErrLoop = errors.New("this request was fetched by Holdfast before: " +
		"let fetch.url name a listener without the filter, or set fetch.pass_key_file")
	// ErrClosed says that the Dialer was closed.
	ErrClosed = errors.New("the dialer is closed")
	// ErrAnswerTimeout says that no response came within Request.AnswerWithin.
	ErrAnswerTimeout = errors.New("no response within the connection timeout")

	errBodyClosed = errors.New("the response was closed")
)

// CauseOf returns the Cause of an error of this package; that of nil and io.EOF
// is CleanEnd, that of any other error Reset.
func CauseOf(err error) Cause {
	if err == nil || err == io.EOF { //nolint:errorlint // a wrapped EOF is no clean end
		return CleanEnd
	}
	if local, ok := errors.AsType[*LocalError](err); ok {
		return local.Cause
	}
	if peer, ok := errors.AsType[*PeerError](err); ok {
		return peer.Cause
	}
	return Reset
}

// IsStreamReset reports whether the other side has ended this one stream. Else, if its
// connection is lost, that is between us and Envoy, and no fault of the host's behind it.
func IsStreamReset(err error) bool {
	peer, ok := errors.AsType[*PeerError](err)
	return ok && peer.HasCode
}

// streamError has the shape of the error that net/http returns when a stream was
// reset. It has no name there, but lets itself be copied to a struct with the
// same fields: https://go.dev/src/net/http/h2_error.go
type streamError struct {
	StreamID uint32
	Code     streamCode
	Cause    error
}

type streamCode uint32

func (e streamError) Error() string { return fmt.Sprintf("stream reset with code %d", e.Code) }

// refusedStream is REFUSED_STREAM of RFC 9113, section 7.
const refusedStream = 7

// goAwayText is part of the message of the error for a request above the last
// stream that the peer will process: "if the receiver of the GOAWAY has sent
// data on streams with a higher stream identifier than what is indicated in the
// GOAWAY frame, those streams are not or will not be processed"
// (https://www.rfc-editor.org/rfc/rfc9113#section-6.8). That error has neither a
// name nor a type of its own. Should the message change, such a request counts
// as one that may have been processed, which is the safe side.
const goAwayText = "graceful shutdown GOAWAY"

// localError returns err's LocalError if our own side ended the fetch: its
// context says so.
func localError(ctx context.Context) *LocalError {
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrAnswerTimeout) || errors.Is(cause, context.DeadlineExceeded) {
		return &LocalError{TimedOut, cause}
	}
	return &LocalError{Cancelled, cause}
}

// peerError classifies what the transport says of the other side.
func peerError(phase Cause, err error) *PeerError {
	e := &PeerError{Cause: phase, Err: err}
	if reset, ok := errors.AsType[streamError](err); ok {
		e.Code, e.HasCode = uint32(reset.Code), true
	}
	e.Unprocessed = phase == NoAnswer && (e.HasCode && e.Code == refusedStream || strings.Contains(err.Error(), goAwayText))
	return e
}
