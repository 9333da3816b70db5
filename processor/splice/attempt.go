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
	Lost                    // the server says that events after the cursor are gone for good
)

// Dial asks for attempt Attempt: the continuation of the stream after Cursor.
// The driver answers with Opened and Chunks, or with Ended. An earlier attempt
// that is not over goes on until a Cancel says otherwise.
type Dial struct {
	Attempt Attempt
	Cursor  string // "": the request as the client made it (only before anything was delivered)
}

// Cancel gives an attempt up: its facts are inert from now on, its connection is to be closed.
type Cancel struct{ Attempt Attempt }

func (Dial) command()   {}
func (Cancel) command() {}

// Result is what became of one attempt after 0. Each gets exactly one, in a
// NoteResume.
type Result uint8

const (
	ResultResumed     Result = iota // it brought what had been missing
	ResultConfirmed                 // it showed that the stream was complete
	ResultNeedless                  // nothing had been missed, and the stream goes on
	ResultRefused                   // no response came
	ResultUnavailable               // the server answered that it cannot now
	ResultDenied                    // the server answered that it will not
	ResultUnresumable               // no request could be made
	ResultBroken                    // it ended before anything new came
	ResultUnproven                  // it does not continue what was sent
	ResultAbandoned                 // the stream ended first
	resultEnd
)

// Results returns all values of Result, for those who count them.
func Results() []Result {
	all := make([]Result, 0, resultEnd)
	for r := range resultEnd {
		all = append(all, r)
	}
	return all
}

// Backoff spaces out attempts that bring no progress. The first attempt after
// progress is immediate. The zero Backoff takes the defaults.
type Backoff struct {
	Base    time.Duration // wait before the second; doubles from there; zero: 1 s
	Max     time.Duration // longest wait; zero: 30 s
	Retries int           // attempts without progress before giving up; zero: 10
	Jitter  float64       // share of a wait by which it varies either way, 0 to 1
}
