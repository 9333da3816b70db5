package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Action is what to do with a response to a request for a continuation.
type Action uint8

const (
	Continue Action = iota // its body is the continuation
	Stop                   // the stream is over: end it cleanly
	Wait                   // the server asks to come again after Verdict.Wait
	Retry                  // a passing failure: try again after the usual pause
	Never                  // the stream cannot be continued
)

func (a Action) String() string {
	names := [...]string{"continue", "stop", "wait", "retry", "never"}
	if int(a) >= len(names) {
		return "unknown"
	}
	return names[a]
}

// Verdict is what a response's header means for a stream.
type Verdict struct {
	Action Action
	Wait   time.Duration // with Wait: at least this long, at most MaxRetryAfter
	// Gap: the server says that it does not have all that comes after the
	// cursor. Continue then means to go on with a hole in the stream.
	Gap    bool
	Reason string // constant text for the log; empty with Continue
}

// MaxRetryAfter bounds what a server can ask for: nobody holds a client longer.
const MaxRetryAfter = 24 * time.Hour

// judge applies the rules that hold for every strategy.
func judge(now time.Time, status int, header http.Header) Verdict {
	switch {
	case status == http.StatusOK:
		return judgeBody(header)
	case status == http.StatusNoContent:
		// "Clients will reconnect if the connection is closed; a client can be
		// told to stop reconnecting using the HTTP 204 No Content response code."
		// https://html.spec.whatwg.org/multipage/server-sent-events.html#server-sent-events-intro
		return Verdict{Action: Stop, Reason: "204: the server says that the stream is over"}
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		if wait, ok := retryAfter(now, header); ok {
			return Verdict{Action: Wait, Wait: wait, Reason: "the server asks to come again later"}
		}
		return Verdict{Action: Retry, Reason: "the server is busy"}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return Verdict{Action: Retry, Reason: "the server failed"}
	case status >= 400:
		return Verdict{Action: Never, Reason: refusal(status)}
	case status >= 300:
		// What was fetched is relayed as it is, so it was no redirect that the
		// stream began with; to follow one now would lead away from where the
		// client's credentials belong.
		return Verdict{Action: Never, Reason: "redirected"}
	}
	return Verdict{Action: Never, Reason: "a status other than 200"}
}

// judgeBody looks at what a 200 brings.
func judgeBody(header http.Header) Verdict {
	switch {
	case !IsEventStream(header):
		return Verdict{Action: Never, Reason: "not an event stream"}
	case encoded(header):
		return Verdict{Action: Never, Reason: "encoded, though identity was asked for"}
	}
	return Verdict{Action: Continue}
}

func refusal(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "the client's credentials are not accepted any more"
	case http.StatusNotFound, http.StatusGone:
		return "there is no such stream any more"
	case http.StatusMethodNotAllowed:
		return "the server offers no resumption: method not allowed"
	case http.StatusConflict:
		return "in conflict with another stream"
	}
	return "the server does not accept the request"
}

// IsEventStream reports whether the content type's essence is text/event-stream,
// whatever its parameters and case.
func IsEventStream(header http.Header) bool {
	essence, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.Trim(essence, " \t"), "text/event-stream")
}

// encoded reports whether a content coding other than identity was applied.
func encoded(header http.Header) bool {
	for _, codings := range header["Content-Encoding"] {
		for coding := range strings.SplitSeq(codings, ",") {
			if coding = strings.Trim(coding, " \t"); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

// retryAfter reads the time to wait in either form.
//
//	"Retry-After = HTTP-date / delay-seconds"
//	https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
//
// A date is compared with the response's own Date if there is one, so that the
// server's clock need not agree with ours.
func retryAfter(now time.Time, header http.Header) (time.Duration, bool) {
	value := strings.Trim(header.Get("Retry-After"), " \t")
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter), true
}
