package sse

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// What an event stream has no way to say. The format knows no escapes.
var (
	// ErrID is returned for an id that holds NUL (clients ignore such an id),
	// CR or LF (which end a line).
	ErrID = errors.New("sse: event id contains NUL, CR or LF: an event stream cannot carry it")
	// ErrType is returned for an event type that holds CR or LF.
	ErrType = errors.New("sse: event type contains CR or LF: an event stream cannot carry it")
	// ErrRetry is returned for a reconnection time below zero.
	ErrRetry = errors.New("sse: reconnection time is negative: use zero or more")
)

// Message is an event to be written. The zero Message is a lone blank line.
type Message struct {
	ID    string        // the event's id, if HasID; empty resets the client's
	Type  string        // empty: no event field, clients take it as "message"
	Data  string        // the data, if HasData; CR, LF and CRLF each end a line of it
	Retry time.Duration // the client's new reconnection time, if HasRetry; rounded up to milliseconds

	HasID    bool
	HasData  bool // without data a client dispatches no event
	HasRetry bool
}

// AppendEvent appends m as one block, its blank line included, or returns dst
// as it was and ErrID, ErrType or ErrRetry. Line ends are LF and fields have
// the form "name: value" even where the value is empty, for there are clients
// that know no other.
func AppendEvent(dst []byte, m Message) ([]byte, error) {
	switch {
	case m.HasID && strings.ContainsAny(m.ID, "\x00\r\n"):
		return dst, ErrID
	case strings.ContainsAny(m.Type, "\r\n"):
		return dst, ErrType
	case m.HasRetry && m.Retry < 0:
		return dst, ErrRetry
	}
	if m.HasRetry {
		ms := m.Retry / time.Millisecond
		if m.Retry%time.Millisecond != 0 {
			ms++
		}
		dst = append(dst, "retry: "...)
		dst = append(strconv.AppendInt(dst, int64(ms), 10), '\n')
	}
	if m.HasID {
		dst = appendLine(dst, "id: ", m.ID)
	}
	if m.Type != "" {
		dst = appendLine(dst, "event: ", m.Type)
	}
	if m.HasData {
		dst = appendLines(dst, "data: ", m.Data)
	}
	return append(dst, '\n'), nil
}

// AppendComment appends text as a block of comment lines, which every client
// ignores: what keeps a silent connection alive. It may be inserted between
// blocks only.
//
//	"authors can include a comment line (one starting with a ':' character)
//	every 15 seconds or so"
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes
func AppendComment(dst []byte, text string) []byte {
	return append(appendLines(dst, ": ", text), '\n')
}

// appendLines appends each line of text after the prefix.
func appendLines(dst []byte, prefix, text string) []byte {
	for {
		i := strings.IndexAny(text, "\r\n")
		if i < 0 {
			return appendLine(dst, prefix, text)
		}
		dst = appendLine(dst, prefix, text[:i])
		if strings.HasPrefix(text[i:], "\r\n") {
			i++
		}
		text = text[i+1:]
	}
}

func appendLine(dst []byte, prefix, text string) []byte {
	return append(append(append(dst, prefix...), text...), '\n')
}
