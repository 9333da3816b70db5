package main

import (
	"bytes"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"
)

// script is all that is said on one stream, made beforehand so that the client
// has little to do: which messages go out, and what must come back when.
type script struct {
	frames []frame

	// By server: one that echoes, one that drops repeats.
	echo, filter answer
}

// answer is what must come back.
type answer struct {
	bytes []byte
	// due[i] is how many bytes must have come back once frame i was dealt with.
	// What follows the last complete block may be held back by a filter; nothing
	// is due for a frame that completes none.
	due []int
	// whole has the events that both servers deliver.
	whole []delivery
}

// delivery is an event's last byte.
type delivery struct {
	frame int // that completes it
	end   int // offset in the bytes that come back
}

// write makes the script of a stream.
func write(stream []block, c cut, number int) (*script, error) {
	var s script
	var sent []byte
	for _, b := range stream {
		sent = append(sent, b.text...)
		if !b.repeat {
			s.filter.bytes = append(s.filter.bytes, b.text...)
		}
	}
	s.echo.bytes = sent
	start, next, blockEnd, kept := 0, 0, 0, 0
	for i, end := range c.ends(stream, number) {
		f, err := encode(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{
			ResponseBody: &extproc.HttpBody{Body: sent[start:end]},
		}})
		if err != nil {
			return nil, err
		}
		s.frames = append(s.frames, f)
		for ; next < len(stream) && blockEnd+len(stream[next].text) <= end; next++ {
			b := stream[next]
			blockEnd += len(b.text)
			if b.repeat {
				continue
			}
			kept += len(b.text)
			if b.event {
				s.echo.whole = append(s.echo.whole, delivery{frame: i, end: blockEnd})
				s.filter.whole = append(s.filter.whole, delivery{frame: i, end: kept})
			}
		}
		s.echo.due = append(s.echo.due, end)
		s.filter.due = append(s.filter.due, kept)
		start = end
	}
	return &s, nil
}

// check sees to it that the scripts of a scenario are what they are meant to be:
// repeats in them, and no two streams alike.
func check(all []*script, repeats bool) error {
	for i, s := range all {
		if repeats == (len(s.echo.bytes) == len(s.filter.bytes)) {
			return fmt.Errorf("stream %d: repeats are %t in a stream of %d bytes, of which a filter keeps %d", i, repeats, len(s.echo.bytes), len(s.filter.bytes))
		}
		if i > 0 && bytes.Equal(s.echo.bytes, all[i-1].echo.bytes) {
			return fmt.Errorf("streams %d and %d are the same", i-1, i)
		}
	}
	return nil
}

// requestHeaders announces the request of a session to the processor as Envoy
// does, with the values in raw_value.
func requestHeaders(session string) (frame, error) {
	return encode(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestHeaders{RequestHeaders: headers(
		":method", "GET",
		":path", "/stream/"+session,
		":authority", "bench.example",
		":scheme", "http",
		"accept", "text/event-stream",
		"user-agent", "bench",
		"x-request-id", session,
		"mcp-session-id", session,
	)}})
}

func responseHeaders() (frame, error) {
	return encode(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(
		":status", "200",
		"content-type", "text/event-stream",
		"cache-control", "no-cache",
	)}})
}

// endOfStream is the last message of a body.
func endOfStream() (frame, error) {
	return encode(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{
		ResponseBody: &extproc.HttpBody{EndOfStream: true},
	}})
}

func headers(pairs ...string) *extproc.HttpHeaders {
	m := new(corev3.HeaderMap)
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return &extproc.HttpHeaders{Headers: m}
}

func encode(m proto.Message) (frame, error) { return proto.Marshal(m) }
