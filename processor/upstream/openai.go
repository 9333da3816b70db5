package upstream

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// openAI resumes a streamed response of OpenAI's Responses API, and of servers
// that speak it. Its events carry no SSE id. The JSON of each has a
// `sequence_number`, the one that announces the response has its id, and
//
//	GET …/responses/{id}?stream=true&starting_after={sequence_number}
//
// streams what comes after: "starting_after: The sequence number of the event
// after which to start streaming."
// https://platform.openai.com/docs/api-reference/responses/get
//
// That needs a response that goes on without its client, one made with
// background=true: "You can only start a new stream from a background response
// if you created it with stream=true."
// https://platform.openai.com/docs/guides/background
// A response that says of itself that it is not in the background is never
// asked for: closing its stream has ended it.
type openAI struct {
	first Request
	id    string // the response's
	last  int64  // sequence number of the last event observed, if any
	some  bool   // last is valid

	// over: the response is complete, cannot be resumed, or numbers its events
	// in a way that cannot carry a resume.
	over bool
}

func (s *openAI) Name() string  { return OpenAIResponses.String() }
func (s *openAI) Watches() bool { return !s.over && s.fits() }

// fits reports whether the request is one that such a stream begins with: the
// creation of a response, or the streaming of one that exists.
func (s *openAI) fits() bool {
	path, query := cutQuery(s.first.Path)
	switch s.first.Method {
	case http.MethodPost:
		return strings.HasSuffix(path, "/responses")
	case http.MethodGet:
		return strings.HasSuffix(parent(path), "/responses") && hasParameter(query, "stream", "true")
	}
	return false
}

func (s *openAI) Observe(e Event) {
	number, numbered := int64(0), false
	kind := e.Type
	for name, value := range members(e.Data) {
		switch string(name) {
		case "sequence_number":
			n, err := strconv.ParseInt(string(value), 10, 64)
			number, numbered = n, err == nil && n >= 0
		case "type":
			kind = bytes.Trim(value, `"`)
		case "response":
			s.identify(value)
		}
	}
	switch string(kind) {
	case "response.completed", "response.failed", "response.incomplete", "response.cancelled", "error":
		s.over = true // nothing comes after
	}
	switch {
	case !numbered:
		// An event outside the sequence; a resume would not bring it again.
	case s.some && number <= s.last:
		s.over = true // what starts after a number is not known any more
	default:
		s.last, s.some = number, true
	}
}

// identify reads the response object that some events carry.
func (s *openAI) identify(response []byte) {
	if s.id != "" {
		return
	}
	for name, value := range members(response) {
		switch string(name) {
		case "id":
			if id, ok := plain(value); ok && isSegment(id) {
				s.id = id
			}
		case "background":
			if string(value) == "false" {
				s.over = true
			}
		}
	}
}

// isSegment reports whether an id can be a segment of a path without any escape,
// as those that OpenAI gives can.
//
//	"unreserved = ALPHA / DIGIT / "-" / "." / "_" / "~""
//	https://www.rfc-editor.org/rfc/rfc3986#section-2.3
func isSegment(id string) bool {
	const most = 256
	if id == "" || len(id) > most || strings.Trim(id, ".") == "" {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Request pays no heed to the cursor: these streams have one of their own.
func (s *openAI) Request(string) (Request, bool) {
	if s.over || !s.some || s.id == "" || !s.fits() {
		return Request{}, false
	}
	r := continuation(&s.first)
	r.Header.Set("Accept", "text/event-stream")
	path, query := cutQuery(r.Path)
	if s.first.Method == http.MethodGet {
		path = parent(path)
	}
	// What else was asked for is asked for again: a deployment's api-version,
	// include, include_obfuscation.
	query = without(query, "stream", "starting_after")
	if query != "" {
		query += "&"
	}
	r.Path = path + "/" + s.id + "?" + query + "stream=true&starting_after=" + strconv.FormatInt(s.last, 10)
	return r, true
}

func (s *openAI) Judge(now time.Time, status int, header http.Header) Verdict {
	v := judge(now, status, header)
	s.over = s.over || v.Action == Never
	return v
}

// Place implements [Sequencer].
func (s *openAI) Place(e Event) Place {
	if !s.some {
		return Unplaced
	}
	for name, value := range members(e.Data) {
		if string(name) != "sequence_number" {
			continue
		}
		n, err := strconv.ParseInt(string(value), 10, 64)
		switch {
		case err != nil || n < 0:
			return Unplaced
		case n <= s.last:
			return Repeated
		case n == s.last+1:
			return Next
		}
		return Beyond
	}
	return Unplaced
}

// cutQuery takes a path apart at the first question mark.
func cutQuery(target string) (path, query string) {
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

// parent returns a path without its last segment.
func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}

// without returns a query without the parameters of these names. The others stay
// as they are written.
func without(query string, names ...string) string {
	var kept []string
next:
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, _, _ := strings.Cut(part, "=")
		for _, n := range names {
			if name == n {
				continue next
			}
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "&")
}

func hasParameter(query, name, value string) bool {
	for part := range strings.SplitSeq(query, "&") {
		if n, v, _ := strings.Cut(part, "="); n == name && strings.EqualFold(v, value) {
			return true
		}
	}
	return false
}
