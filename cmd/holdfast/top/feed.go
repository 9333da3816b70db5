package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"holdfast/processor/sse"
)

// Query is which streams to show.
type Query struct {
	Sort   string // a field of the admin API, with - before it for the reverse
	State  string
	Bad    bool   // those that ended cut or with a gap
	Text   string // in path, id, host, cursor
	Offset int
	Limit  int
}

func (q *Query) path() string {
	v := url.Values{"with": {"summary"}, "sort": {q.Sort}, "state": {q.State}, "limit": {fmt.Sprint(q.Limit)}, "offset": {fmt.Sprint(q.Offset)}}
	if q.Bad {
		v.Set("state", "ended")
		v.Set("outcome", "bad")
	}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	return "/api/v1/streams/watch?" + v.Encode()
}

// Get asks the admin port for a path. An answer that is not good is an error.
type Get func(ctx context.Context, path string) (*http.Response, error)

const (
	// largestMessage bounds a message, in bytes.
	largestMessage = 16 << 20
	// silence is how long the watch stream may say nothing: it sends a comment
	// every 15 s.
	silence = 40 * time.Second
)

// errEnded says that the server ended the stream, as it does when it stops.
var errEnded = errors.New("the server ended the connection")

// follow calls tell with each message until ctx ends or the stream does, which is
// an error.
func follow(ctx context.Context, get Get, q Query, tell func(event string, data []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(fmt.Errorf("nothing was heard for %s", silence)) })
	defer quiet.Stop()
	res, err := get(ctx, q.path())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	scanner, buf := sse.NewScanner(largestMessage), make([]byte, 64<<10)
	var data []byte
	for {
		n, err := res.Body.Read(buf)
		quiet.Reset(silence)
		scanner.Feed(buf[:n])
		for {
			ev, ok := scanner.Next()
			if !ok {
				break
			}
			if ev.Part != sse.Whole || !ev.HasData {
				continue
			}
			data = sse.AppendData(data[:0], ev)
			if err := tell(string(ev.Type), data); err != nil {
				return err
			}
		}
		switch {
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return errEnded
		case err != nil:
			return fmt.Errorf("the connection broke off: %w", err)
		}
	}
}
