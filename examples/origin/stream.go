package main

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// stream writes one response in the format of
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
// Each block reaches the client at once; an error says that it has gone.
type stream struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	eol  string
	next bytes.Buffer
}

func newStream(w http.ResponseWriter, crlf bool) *stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	s := &stream{w: w, ctl: http.NewResponseController(w), eol: "\n"}
	if crlf {
		s.eol = "\r\n"
	}
	return s
}

func (s *stream) event(id, data string) error {
	if id != "" {
		s.line("id: " + id)
	}
	s.line("data: " + data) // JSON: it has no line break
	return s.send()
}

func (s *stream) retry(d time.Duration) error {
	s.line("retry: " + strconv.FormatInt(d.Milliseconds(), 10))
	return s.send()
}

func (s *stream) comment(text string) error {
	s.line(": " + text)
	return s.send()
}

func (s *stream) line(text string) {
	s.next.WriteString(text)
	s.next.WriteString(s.eol)
}

// send ends the block and writes it.
func (s *stream) send() error {
	s.line("")
	if _, err := s.next.WriteTo(s.w); err != nil {
		return err
	}
	return s.ctl.Flush()
}
