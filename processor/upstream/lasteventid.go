package upstream

import (
	"net/http"
	"time"
)

// lastEventID resumes as a browser's EventSource does.
//
//	"If the EventSource object's last event ID string is not the empty string
//	[...] Set (`Last-Event-ID`, lastEventIDValue) in request's header list."
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#reestablish-the-connection
//
// Only a GET is repeated. Without a cursor there is no resume: a browser would
// begin again and tell its page so by an event; a client whose connection never
// broke expects what comes next and nothing else.
type lastEventID struct {
	first Request
	asked string // cursor of the request that is under way
	over  bool   // a refusal that is final
}

func (s *lastEventID) Name() string  { return LastEventID.String() }
func (s *lastEventID) Watches() bool { return false }
func (s *lastEventID) Observe(Event) {}

func (s *lastEventID) Request(cursor string) (Request, bool) {
	if s.over || s.first.Method != http.MethodGet || !ValidCursor(cursor) {
		return Request{}, false
	}
	r := continuation(&s.first)
	r.Header.Set("Last-Event-Id", cursor)
	s.asked = cursor
	return r, true
}

func (s *lastEventID) Judge(now time.Time, status int, header http.Header) Verdict {
	v := judge(now, status, header)
	// In conflict with the stream that we have, it may be granted when that is no more.
	s.over = s.over || v.Action == Never && status != http.StatusConflict
	// "The value of this response field MUST be the identifier of the event
	// preceding the first event sent to the subscriber, or the reserved value
	// earliest if there is no preceding event (for example, [...] when the
	// requested event does not exist or has been discarded)."
	// https://mercure.rocks/spec#reconciliation
	const preceding = "Mercure-Last-Event-Id"
	if at := header.Get(preceding); v.Action == Continue && s.asked != "" && at != "" && at != s.asked {
		v.Gap, v.Reason = true, "the hub has discarded what comes after the cursor"
	}
	return v
}
