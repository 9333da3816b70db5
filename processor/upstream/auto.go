package upstream

import (
	"net/http"
	"time"
)

// auto chooses. In this order, the first that applies:
//
//  1. mcp, if the request has an Mcp-Session-Id or MCP-Protocol-Version header,
//     or the first response assigns a session. Then by that protocol's rules
//     alone, which for some revisions means never.
//  2. openai-responses, if the request creates or streams a response (by method
//     and path) and an event has shown the response's id and a sequence number.
//  3. last-event-id, if the request is a GET and the stream has a cursor.
//  4. none.
//
// So nothing is resumed because of what a stream might be: MCP by its headers,
// the Responses API by its events, all else by ids that the origin has sent.
type auto struct {
	mcp    *mcp // nil: it is none
	openAI openAI
	plain  lastEventID
	later  bool // the first response has been judged
}

func newAuto(first Request) *auto {
	a := &auto{openAI: openAI{first: first}, plain: lastEventID{first: first}}
	if first.Header[mcpSession] != nil || first.Header[mcpRevision] != nil {
		a.mcp = &mcp{first: first}
	}
	return a
}

// choice returns the strategy that applies at present.
func (a *auto) choice() Strategy {
	switch {
	case a.mcp != nil:
		return a.mcp
	case a.openAI.some && a.openAI.id != "":
		return &a.openAI
	case a.plain.first.Method == http.MethodGet:
		return &a.plain
	}
	return none{}
}

func (a *auto) Name() string { return a.choice().Name() }

func (a *auto) Watches() bool {
	if a.mcp != nil {
		return a.mcp.Watches()
	}
	return a.openAI.Watches()
}

func (a *auto) Observe(e Event) {
	switch {
	case !a.Watches():
	case a.mcp != nil:
		a.mcp.Observe(e)
	default:
		a.openAI.Observe(e)
	}
}

func (a *auto) Request(cursor string) (Request, bool) { return a.choice().Request(cursor) }

func (a *auto) Judge(now time.Time, status int, header http.Header) Verdict {
	if !a.later {
		a.later = true
		if a.mcp == nil && header[mcpSession] != nil {
			a.mcp = &mcp{first: a.plain.first}
		}
		if a.mcp != nil {
			return a.mcp.Judge(now, status, header)
		}
		return judge(now, status, header)
	}
	return a.choice().Judge(now, status, header)
}

// Place implements [Sequencer].
func (a *auto) Place(e Event) Place {
	if s, ok := a.choice().(Sequencer); ok {
		return s.Place(e)
	}
	return Unplaced
}
