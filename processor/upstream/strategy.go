package upstream

import (
	"net/http"
	"strings"
	"time"
)

// Strategy knows how one stream can be continued after it broke off. There is
// one for each stream, made by [NewStrategy]; it belongs to whoever owns the
// stream and is not safe for concurrent use.
//
// The owner calls Judge with the header of every response of the stream, the
// first one included, Observe for the events while Watches says so, and Request
// when the stream has to be continued.
type Strategy interface {
	// Name returns the value of the policy's `resume` key that the strategy
	// stands for. For one that chooses among others it is the present choice.
	Name() string

	// Judge says what the header of a response means for the stream, and learns
	// from it. The verdict on the first response is what it would be on a
	// continuation; its owner relays the response whatever the verdict.
	Judge(now time.Time, status int, header http.Header) Verdict

	// Watches reports whether Observe needs to be called. It may change from
	// true to false for good, as events are observed, never back.
	Watches() bool

	// Observe is told of each whole event once it has been handed to the client,
	// in order. The event is borrowed.
	Observe(e Event)

	// Request returns the request that asks for what comes after the given
	// cursor, or false if there is none: then the stream cannot be continued, at
	// least not from there. The cursor is the id that a client would send as
	// Last-Event-ID after what it was given; empty: there is none. What is
	// returned is a GET without a body; its AnswerWithin is not set.
	Request(cursor string) (Request, bool)
}

// Event is what a Strategy looks at in an event.
type Event struct {
	Type []byte // empty: "message"
	Data []byte // of all data fields, joined by LF
}

// Sequencer is a Strategy that can tell by an event alone where in its stream it
// belongs, for streams whose events carry no id.
type Sequencer interface {
	// Place compares an event of a continuation with the last one observed. It
	// does not observe it.
	Place(e Event) Place
}

// Place is where an event stands relative to what the client has.
type Place uint8

const (
	Unplaced Place = iota // it does not say
	Next                  // it is what comes after the last one observed
	Repeated              // the client has it
	Beyond                // something is missing between the last one observed and this
)

// Resume is the policy's `resume` key.
type Resume uint8

const (
	Auto            Resume = iota // choose by the request and by what the stream shows
	LastEventID                   // GET with Last-Event-ID: the HTML Standard's way
	MCP                           // as LastEventID, by the Model Context Protocol's rules
	OpenAIResponses               // GET of the response by its id, starting after a sequence number
	None                          // never
)

// String returns the value as it is written in a configuration.
func (r Resume) String() string {
	names := [...]string{"auto", "last-event-id", "mcp", "openai-responses", "none"}
	if int(r) >= len(names) {
		return "unknown"
	}
	return names[r]
}

// ParseResume returns the Resume of a name; false if there is none of that name.
func ParseResume(name string) (Resume, bool) {
	for r := Auto; r <= None; r++ {
		if r.String() == name {
			return r, true
		}
	}
	return None, false
}

// NewStrategy returns the strategy for a stream that begins with this request,
// which has to stay as it is while the stream lives.
func NewStrategy(r Resume, first Request) Strategy {
	switch r {
	case Auto:
		return newAuto(first)
	case LastEventID:
		return &lastEventID{first: first}
	case MCP:
		return &mcp{first: first}
	case OpenAIResponses:
		return &openAI{first: first}
	default:
		return none{}
	}
}

// MaxCursor is the longest id that is sent as Last-Event-ID, in bytes. Servers
// bound a header field at 8 KiB and more, all of them together at 16 KiB and
// more; ids of a kilobyte are seen in the field (Wikimedia).
const MaxCursor = 4 << 10

// ValidCursor reports whether an id can be sent in a header such that the same id
// arrives. An id with a control character cannot be sent; blanks around it would
// be lost on the way; an empty one says that there is no cursor.
//
//	"field-value = *field-content [...] field-content = field-vchar [ 1*( SP /
//	HTAB / field-vchar ) field-vchar ]"
//	https://www.rfc-editor.org/rfc/rfc9110#section-5.5
//
//	"A field value does not include leading or trailing whitespace."
func ValidCursor(id string) bool {
	if id == "" || len(id) > MaxCursor || id[0] == ' ' || id[len(id)-1] == ' ' {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c < ' ' || c == 0x7f {
			return false // HTAB too: clients differ in what they make of it
		}
	}
	return true
}

// continuation returns the request for the rest of a stream that began with
// first: a GET of the same with the same credentials, trace context and request
// id, without what was about the first request's body or about a copy that the
// client held.
func continuation(first *Request) Request {
	r := Request{
		Method:    http.MethodGet,
		Path:      first.Path,
		Authority: first.Authority,
		Header:    make(http.Header, len(first.Header)+2),
		Policy:    first.Policy,
	}
	for name, values := range first.Header {
		if !ofTheFirst(name) {
			r.Header[name] = values
		}
	}
	return r
}

// ofTheFirst reports whether a header field is about the first request alone.
func ofTheFirst(name string) bool {
	switch {
	case strings.HasPrefix(name, "Content-"), strings.HasPrefix(name, "If-"):
		return true
	}
	switch name {
	case "Range", "Expect", "Idempotency-Key", "Trailer", "Transfer-Encoding":
		return true
	case "Last-Event-Id": // the cursor of long ago; the strategy sets its own
		return true
	}
	return false
}

// none never resumes.
type none struct{}

func (none) Name() string                   { return None.String() }
func (none) Watches() bool                  { return false }
func (none) Observe(Event)                  {}
func (none) Request(string) (Request, bool) { return Request{}, false }

func (none) Judge(now time.Time, status int, header http.Header) Verdict {
	return judge(now, status, header)
}
