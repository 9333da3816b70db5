package sim

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"pgregory.net/rapid"

	"holdfast/processor/config"
)

// protocol is whose rules hold for a feed.
type protocol string

const (
	eventSource protocol = ""          // the HTML Standard's: a GET, and Last-Event-ID
	mcp         protocol = "mcp"       // a POST, or a GET, whose rest is a GET with Last-Event-ID
	responses   protocol = "responses" // a POST, whose rest is a GET of what it has made
)

// revisions of MCP; of the first, requests say nothing. The last two have no
// resumption: one has done away with it, and of the other nothing is known.
var revisions = []string{"", "2025-03-26", "2025-06-18", "2025-11-25", "2025-11-25", "2026-07-28", "draft"}

const (
	mcpSession  = "Mcp-Session-Id"
	mcpRevision = "Mcp-Protocol-Version"
)

// drawProtocol draws a feed of one of them.
func drawProtocol(t *rapid.T) feed {
	f := feed{
		Protocol: rapid.SampledFrom([]protocol{mcp, mcp, responses}).Draw(t, "protocol"),
		Policy:   drawPolicy(t), Method: http.MethodPost, Logged: !one(t, 4, "no access log"),
	}
	f.Policy.CompleteWhen = nil
	marked := one(t, 3, "detector")
	if f.Protocol == mcp {
		f.Revision = rapid.SampledFrom(revisions).Draw(t, "revision")
		f.Policy.Resume = rapid.SampledFrom([]string{"auto", "auto", "mcp", "none"}).Draw(t, "resume")
		if one(t, 4, "get") {
			f.Method = http.MethodGet
		}
		f.Session = "s" + place
	} else {
		f.Policy.Resume = rapid.SampledFrom([]string{"auto", "auto", "openai-responses", "none"}).Draw(t, "resume")
		f.Foreground = one(t, 6, "foreground")
		marked = marked && !f.Foreground
	}
	f.Log = journal{Kind: dense, Ends: true}
	if marked && f.Method == http.MethodPost {
		f.Policy.CompleteWhen = []config.CompletionConfig{{Detector: map[protocol]string{mcp: "jsonrpc", responses: "openai-responses"}[f.Protocol]}}
		f.Log.Marked = true
	}
	f.drawMessages(t)
	visits := rapid.Custom(func(t *rapid.T) visit { return drawVisit(t, one(t, 4, "bad origin")).honest() })
	most := 1
	if f.Protocol == mcp {
		most = 3
	}
	f.Visits = rapid.SliceOfN(visits, 1, most).Draw(t, "visits")
	return f
}

// honest takes the lies out: what they come to is seen with other feeds.
func (v visit) honest() visit {
	for i := range v.Attempts {
		v.Attempts[i].Lapse = honest
	}
	return v
}

// drawMessages draws what such an origin has to say.
func (f *feed) drawMessages(t *rapid.T) {
	at := time.Duration(0)
	n := 0
	add := func(text func(id string) string) {
		id := fmt.Sprintf("stream_%d", n)
		if f.Protocol == responses {
			id = fmt.Sprint(n)
		}
		f.Log.Entries = append(f.Log.Entries, entry{At: at, ID: id, Text: text(id)})
		n++
	}
	message := func(json string) func(string) string {
		if f.Protocol == responses {
			return func(id string) string {
				return fmt.Sprintf("event: note\ndata: {\"sequence_number\":%s,%s}\n\n", id, json)
			}
		}
		return func(id string) string { return fmt.Sprintf("event: message\nid: %s\ndata: {%s}\n\n", id, json) }
	}
	switch {
	case f.Protocol == responses:
		add(message(fmt.Sprintf(`"type":"response.created","response":{"id":"resp_%s","background":%v}`, place, !f.Foreground)))
	case one(t, 2, "primed"):
		retry := rapid.SampledFrom([]string{"", "retry: 500\n"}).Draw(t, "retry")
		add(func(id string) string { return retry + "id: " + id + "\ndata:\n\n" })
	}
	for range rapid.IntRange(0, 12).Draw(t, "messages") {
		if one(t, 2, "pause") {
			at += ms(t, rapid.SampledFrom([]int{100, 3000, 40_000}).Draw(t, "pause of"), "by")
		}
		data := place
		if more := rapid.SampledFrom([]int{0, 0, 0, 1100}).Draw(t, "large"); f.Protocol == responses || !f.Log.Marked {
			data += strings.Repeat("x", more) // the detector of MCP takes what is too large to be looked into for an answer
		}
		if f.Protocol == responses {
			add(message(fmt.Sprintf(`"type":"response.output_text.delta","delta":%q`, data)))
		} else {
			add(message(fmt.Sprintf(`"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d,"message":%q}`, n, data)))
		}
	}
	switch {
	case f.Protocol == responses:
		add(message(fmt.Sprintf(`"type":"response.completed","response":{"id":"resp_%s"}`, place)))
	case f.Method == http.MethodPost:
		add(message(`"jsonrpc":"2.0","id":1,"result":{}`))
	default:
		f.Log.Ends = false // a stream of notifications goes on
	}
}

// method of a visit's request: what an MCP client missed of an answer it asks for by
// GET.
func (v *visiting) method() string {
	if v.feed.Protocol == mcp && v.hasCursor {
		return http.MethodGet
	}
	return v.feed.Method
}

// repeats says whether the processor may ask for the rest of such a response.
func (v *visiting) repeats() bool {
	f := v.feed
	switch f.Protocol {
	case mcp:
		return f.Revision <= "2025-11-25"
	case responses:
		return !f.Foreground
	case eventSource:
	}
	return f.Method == http.MethodGet
}

// admitRest checks that the rest of a response is asked for by its protocol's rules,
// and returns the cursor.
func (v *visiting) admitRest(r *http.Request) (cursor string, has bool) {
	cursor, has = r.Header.Get("Last-Event-Id"), r.Header["Last-Event-Id"] != nil
	switch v.feed.Protocol {
	case mcp:
		if r.Header.Get(mcpSession) != v.asks().Get(mcpSession) || r.Header.Get(mcpRevision) != v.feed.Revision {
			v.w.fail("%s: the origin got %v", v.name, r.Header)
		}
	case responses:
		if r.Method == http.MethodPost {
			return cursor, has
		}
		resource := fmt.Sprintf("%s/resp_%d?stream=true&starting_after=", v.feed.path(), v.w.feedNumber(v.feed))
		var ok bool
		if cursor, ok = strings.CutPrefix(r.RequestURI, resource); !ok || has {
			v.w.fail("%s: the origin is asked for %s, %v", v.name, r.RequestURI, r.Header)
		}
		return cursor, true
	case eventSource:
	}
	if r.URL.Path != v.feed.path() {
		v.w.fail("%s: the origin is asked for %s", v.name, r.RequestURI)
	}
	return cursor, has
}

// answered says whether the processor has been sent what the stream is there for: then
// there is nothing more to ask for. In the oldest revision of MCP, which does not name
// itself, it may have been one of several answers.
func (v *visiting) answered() bool {
	f := v.feed
	if f.Protocol == eventSource || v.method() != http.MethodPost || f.Protocol == mcp && f.Revision == "" {
		return false
	}
	last := f.Log.Entries[len(f.Log.Entries)-1]
	switch a := v.seen.attempts[len(v.seen.attempts)-2]; a.end { // those before may have been given up
	case "done", string(early), string(stalls), string(hums):
		return strings.Contains(a.wrote.String(), last.Text)
	}
	return false
}
