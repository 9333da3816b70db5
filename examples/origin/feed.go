package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// feed is what /events serves: a run of numbered events, and how it is told.
// The flags set what is served by default, and a request can change any of it by
// a query parameter of the same name.
type feed struct {
	events     int           // numbered from 1
	rate       float64       // new events per second; 0: as fast as the client reads
	ids        ids           // what stands in their id fields
	size       int           // bytes of padding in each event's data
	crlf       bool          // lines end with CRLF instead of LF
	comments   int           // a comment after this many events; 0: none
	retry      time.Duration // the retry hint that begins each response; 0: none
	overReplay int           // events sent again that the client says it has
	endEvery   int           // a response ends cleanly after this many new events; 0: only after the last
}

func defaultFeed() feed {
	return feed{events: 100, rate: 10, ids: monotonic, retry: time.Second}
}

// flagsOf returns a set of flags that changes f.
func flagsOf(f *feed) *flag.FlagSet {
	s := flag.NewFlagSet("origin", flag.ContinueOnError)
	s.IntVar(&f.events, "events", f.events, "how many events there are")
	s.Float64Var(&f.rate, "rate", f.rate, "new events per second and stream; 0 for as fast as the client reads")
	s.Func("ids", "event ids: none, constant, restarting, monotonic (the default) or uuid", func(v string) (err error) {
		f.ids, err = parseIDs(v)
		return err
	})
	s.IntVar(&f.size, "size", f.size, "bytes of padding in every event")
	s.BoolVar(&f.crlf, "crlf", f.crlf, "end lines with CRLF")
	s.IntVar(&f.comments, "comments", f.comments, "send a comment after every so many events; 0 for none")
	s.DurationVar(&f.retry, "retry", f.retry, "reconnection time that clients are told; 0 for none")
	s.IntVar(&f.overReplay, "over-replay", f.overReplay, "events sent again to a client that returns, although it has them")
	s.IntVar(&f.endEvery, "end-every", f.endEvery, "end a response after so many new events; 0 for only after the last")
	return s
}

// with returns f as a request's query wants it. Two parameters are not about the
// feed: "client", and "session", which a gateway may want to see.
func (f feed) with(query url.Values) (feed, error) {
	flags := flagsOf(&f)
	flags.SetOutput(io.Discard)
	for name, values := range query {
		if name == "client" || name == "session" {
			continue
		}
		if flags.Lookup(name) == nil {
			return feed{}, fmt.Errorf("unknown parameter %q: every flag of the origin is one, and client and session", name)
		}
		if err := flags.Set(name, values[len(values)-1]); err != nil {
			return feed{}, fmt.Errorf("parameter %s=%q: %w", name, values[len(values)-1], err)
		}
	}
	return f, f.check()
}

// maxSize keeps an event's padding below what a server could be asked to choke on.
const maxSize = 16 << 20

func (f feed) check() error {
	switch {
	case f.events < 0, f.comments < 0, f.overReplay < 0, f.endEvery < 0:
		return errors.New("counts cannot be negative")
	case f.rate < 0, f.retry < 0:
		return errors.New("rate and retry cannot be negative")
	case f.size < 0, f.size > maxSize:
		return fmt.Errorf("size must be between 0 and %d", maxSize)
	}
	return nil
}

// data is the JSON in event n: the same every time, as a replay must be.
func (f feed) data(n int) string {
	const words = " lorem ipsum dolor sit amet"
	padding := strings.Repeat(words, f.size/len(words)+1)[:f.size]
	return fmt.Sprintf(`{"n":%d,"text":"event %d of %d%s"}`, n, n, f.events, padding)
}
