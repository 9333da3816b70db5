package splice

import "time"

// heartbeatState knows when the client has heard nothing for too long.
//
// "Legacy proxy servers are known to, in certain cases, drop HTTP connections
// after a short timeout. To protect against such proxy servers, authors can
// include a comment line (one starting with a ':' character) every 15 seconds or
// so." (https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes)
type heartbeatState struct {
	every time.Duration
	sent  time.Time // when the client was last sent bytes; zero: never
}

// keepAlive is the comment that is sent.
const keepAlive = "keep-alive"

func (h *heartbeatState) bytesSent(now time.Time) { h.sent = now }

// due is when the next comment has to be sent; zero: never. Before the first
// bytes there is none, because Envoy kills a stream into which a chunk is
// injected before the upstream's first.
func (h *heartbeatState) due() time.Time {
	if h.every <= 0 || h.sent.IsZero() {
		return time.Time{}
	}
	return h.sent.Add(h.every)
}
