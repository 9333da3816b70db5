// Package sse is the wire codec of event streams (text/event-stream): a Scanner
// that cuts a stream into blocks without changing or copying it, and functions
// that append what Holdfast itself has to say.
//
// The grammar is that of the HTML Standard, §9.2 Server-sent events:
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
//
// The Scanner differs from the parser that the standard describes in what it
// is for. A client wants events; a relay wants to know where it may cut, which
// id it has passed on, and every byte in between. So the Scanner reports exact
// spans, keeps what no client sees (comments, unknown fields, blocks without
// data, ill-formed UTF-8), and hands field values out as the bytes they are:
// where a client decodes an ill-formed sequence to U+FFFD, the value here still
// holds the origin's bytes. Lines and fields can be found without decoding,
// for CR, LF and ':' never occur inside a UTF-8 sequence, and the UTF-8 decoder
// gives back any ASCII byte that cuts a sequence short:
// https://encoding.spec.whatwg.org/#utf-8-decoder
//
// The package is pure: no clock, no goroutine, no I/O, no dependency.
package sse
