package processor

import (
	"encoding/json"
	"net/http"

	"holdfast/processor/seal"
	"holdfast/processor/upstream"
)

// logHead is what a stream's log begins with: what its reader has to know that its
// records do not say. It is written once, and never holds a credential.
type logHead struct {
	Version int         `json:"version"`
	Mark    seal.Mark   `json:"mark"`   // tells this log from one of another life of the store
	Header  http.Header `json:"header"` // of the response, for the responses that its readers get
}

const logHeadVersion = 1

// encodeHead leaves out what belongs to one response only.
func encodeHead(mark seal.Mark, h http.Header) []byte {
	head := logHead{Version: logHeadVersion, Mark: mark, Header: h.Clone()}
	upstream.StripHopByHop(head.Header)
	for _, name := range [...]string{
		"Set-Cookie", "Set-Cookie2", "Www-Authenticate", "Authentication-Info", "Mcp-Session-Id",
		"Date", "Content-Length", "Age", "Trailer", "X-Envoy-Upstream-Service-Time",
	} {
		head.Header.Del(name)
	}
	b, err := json.Marshal(&head)
	if err != nil {
		return nil // of strings and bytes it has no reason to fail
	}
	return b
}

// decodeHead says false of a head that is none, or of a version to come.
func decodeHead(b []byte) (logHead, bool) {
	var head logHead
	if json.Unmarshal(b, &head) != nil || head.Version != logHeadVersion || head.Header == nil {
		return logHead{}, false
	}
	return head, true
}
