package processor

import (
	"net/http"
	"strings"

	"holdfast/processor/upstream"
)

// bypass is why an exchange is left alone. The set is closed: it is a label of
// bypassed_total.
type bypass uint8

const (
	bypassNone      bypass = iota
	bypassNoPolicy         // no policy matches the request
	bypassOff              // the policy's mode is off
	bypassRollout          // the session is outside the policy's rollout
	bypassDraining         // this process is going away
	bypassNoRequest        // Envoy did not show the request's headers
	bypassType             // the answer is no event stream
	bypassStatus           // an event stream with a status other than 200
	bypassEncoded          // a compressed body cannot be read
	bypassNoBody           // HEAD, or an answer that ended with its headers
	bypassStatic           // the filter's static processing mode is not NONE
	bypassFault            // the core failed; the rest of the stream was copied
	bypassOwn              // a fetch of ours on its way through a listener with the filter
	bypassLoop             // the same, but without a pass
	bypassTicket           // a request to the relay listener without a valid ticket; it was refused
	bypassReasons          // how many there are
)

func (b bypass) String() string {
	return [bypassReasons]string{
		bypassNone:      "none",
		bypassNoPolicy:  "no_policy",
		bypassOff:       "off",
		bypassRollout:   "rollout",
		bypassDraining:  "draining",
		bypassNoRequest: "no_request_headers",
		bypassType:      "not_event_stream",
		bypassStatus:    "status",
		bypassEncoded:   "encoded",
		bypassNoBody:    "no_body",
		bypassStatic:    "static_mode",
		bypassFault:     "fault",
		bypassOwn:       "own_fetch",
		bypassLoop:      "loop",
		bypassTicket:    "no_ticket",
	}[b]
}

// judge decides by a response's headers whether its body is to be watched.
//
//	"any other response code […] must cause the user agent to fail the
//	connection", and so must any other type
//	https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model
func judge(h headers, ended, head bool) bypass {
	switch {
	case !isMedia(h.get("content-type"), eventStream):
		return bypassType
	case h.get(":status") != "200":
		return bypassStatus
	case !isIdentity(h.get("content-encoding")):
		return bypassEncoded
	case ended || head:
		return bypassNoBody
	}
	return bypassNone
}

// judgeResponse is judge for a response that was fetched.
func judgeResponse(method string, res *upstream.Response) bypass {
	switch {
	case !upstream.IsEventStream(res.Header):
		return bypassType
	case res.Status != http.StatusOK:
		return bypassStatus
	case !isIdentity(strings.Join(res.Header["Content-Encoding"], ",")):
		return bypassEncoded
	case method == http.MethodHead:
		return bypassNoBody
	}
	return bypassNone
}
