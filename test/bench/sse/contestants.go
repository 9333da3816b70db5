package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	tmaxmax "github.com/tmaxmax/go-sse"

	"holdfast/processor/sse"
)

// tally is what every contestant counts, so that none can skip its work.
type tally struct {
	events  int // with data
	idBytes int
}

// scanAll reads the stream as the processor does: spans, ids and types. The
// Scanner is as old as its stream, that is, older than a pass.
func scanAll(s *sse.Scanner, chunks [][]byte) tally {
	var t tally
	for _, c := range chunks {
		s.Feed(c)
		for {
			ev, ok := s.Next()
			if !ok {
				break
			}
			if ev.HasData {
				t.events++
			}
			t.idBytes += len(ev.ID)
		}
	}
	return t
}

func tmaxmaxAll(chunks [][]byte) tally {
	var t tally
	r := &reader{chunks: chunks}
	for ev, err := range tmaxmax.Read(r, &tmaxmax.ReadConfig{MaxEventSize: tmaxmaxEvent}) {
		if err != nil {
			return tally{}
		}
		t.events++
		t.idBytes += len(ev.LastEventID)
	}
	return t
}

// indexAll finds every LF and does nothing with it. A line that a chunk cuts
// is two lines to it, which costs it nothing.
func indexAll(chunks [][]byte) int {
	n := 0
	for _, c := range chunks {
		for {
			i := bytes.IndexByte(c, '\n')
			if i < 0 {
				break
			}
			n++
			c = c[i+1:]
		}
	}
	return n
}

// agree checks that the contestants see the same stream before they are timed.
func agree(chunks [][]byte, events int) error {
	ours, theirs := scanAll(sse.NewScanner(0), chunks), tmaxmaxAll(chunks)
	switch {
	case ours != theirs:
		return fmt.Errorf("scanner counts %+v, tmaxmax %+v", ours, theirs)
	case ours.events != events:
		return fmt.Errorf("%d events found of %d", ours.events, events)
	case indexAll(chunks) < 3*events:
		return errors.New("too few lines")
	}
	return nil
}

// reader gives at most one chunk per Read, as a connection does.
type reader struct {
	chunks [][]byte
	rest   []byte // of the chunk before chunks[0]
}

func (r *reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if len(r.chunks) == 0 {
			return 0, io.EOF
		}
		r.rest, r.chunks = r.chunks[0], r.chunks[1:]
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
