package splice

import "time"

// Verdict is what an answer to a resume request means for the stream.
type Verdict uint8

const (
	Continue Verdict = iota // 200, an event stream, readable: splice it
	Stop                    // 204: the origin has no more to say; end cleanly
	Wait                    // 429, 503: try again, not before Opened.RetryAfter
	Retry                   // another failure of the server that may pass (5xx, 408)
	Never                   // this request will not be granted (4xx, another content type, encoded)
)

// Dial asks for attempt Attempt: the continuation of the stream after Cursor.
// The driver answers with Opened and Chunks, or with Ended.
type Dial struct {
	Attempt Attempt
	Cursor  string // "": the request as the client made it (only before anything was delivered)
}

// Cancel gives an attempt up: its facts are inert from now on, its connection is to be closed.
type Cancel struct{ Attempt Attempt }

func (Dial) command()   {}
func (Cancel) command() {}

// Backoff spaces out attempts that bring no progress. The first attempt after
// progress is immediate. The zero Backoff takes the defaults.
type Backoff struct {
	Base    time.Duration // wait before the second; doubles from there; zero: 1 s
	Max     time.Duration // longest wait; zero: 30 s
	Retries int           // attempts without progress before giving up; zero: 10
	Jitter  float64       // share of a wait by which it varies either way, 0 to 1
}
