package processor

import (
	"context"
	"errors"
	"net/http"
	"time"

	"holdfast/processor/seal"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
	"holdfast/sessionstore"
)

// When a client comes back with a cursor that a log knows, it is served from there
// if nobody else can do it as well (docs/adr/0016-replay-and-detach.md):
//
//   - the stream still runs in this process: the rest, and then what it brings;
//   - its origin had ended it: the rest, and that end. If there is no rest, a GET
//     that was one to begin with is asked anew, as it would be without us;
//   - otherwise the origin is asked, by the cursor that it knows itself;
//   - and if it knows none, what there is of the rest, and a cut.

// comeback is a request that may be one of a client that has come back.
type comeback struct {
	policy *boundPolicy
	id     *identity
	*returning
	method, path string // path without its query
	header       http.Header
}

// resumesMCP says whether the rest of an answer to a POST is the origin's to give:
//
//	"Resumption is always via HTTP GET with Last-Event-ID, regardless of how the
//	original stream was initiated"
//	https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery
func (c *comeback) resumesMCP() bool {
	mcp, cancels := upstream.LeavingCancels(&upstream.Request{Method: c.method, Header: c.header})
	return mcp && !cancels && upstream.ValidCursor(c.cursor)
}

// keeps says whether a stream that begins is kept in a log. lasting: it may outlive its
// client.
func (s *Server) keeps(p *boundPolicy, id *identity, lasting bool) bool {
	return s.store.records != nil && p.Replay.Events > 0 && (p.Sealed || lasting && !id.anonymous())
}

// comeBack finds what a log has for a client. nil: it is served by its origin.
func (s *Server) comeBack(ctx context.Context, c *comeback) *reader {
	rd, whole := s.find(ctx, c)
	// An origin that is not asked by a cursor goes on from where it is.
	c.lost = rd == nil && !whole && c.known && !c.has && c.method == http.MethodGet
	return rd
}

// find is comeBack's search. whole says that the client has all there was.
func (s *Server) find(ctx context.Context, c *comeback) (_ *reader, whole bool) {
	p := c.policy
	if s.store.records == nil || p.Replay.Events <= 0 || !c.has && !c.ours {
		return nil, false
	}
	at, place, ok := s.locate(ctx, c)
	if !ok {
		return nil, false
	}
	again := place.Method == http.MethodGet
	asks := again && upstream.ValidCursor(c.cursor) // the origin, for what follows
	resumable := asks || c.method == http.MethodGet && c.resumesMCP()
	page, err := s.catchUp(ctx, at)
	gapped := errors.Is(err, sessionstore.ErrTruncated) && p.GapEvent != "" && !resumable
	if gapped {
		at, page, err = s.beyondGap(ctx, at)
	}
	if err != nil {
		return nil, false
	}
	head, ok := decodeHead(page.Head)
	if !ok || p.Sealed && head.Mark != place.Mark {
		return nil, false
	}
	rd := &reader{
		srv: s, policy: p, ctx: ctx, method: c.method, path: c.path, at: at, page: page, head: head,
		place: place, scope: c.id.scope(), leave: make(chan struct{}), gapped: gapped,
	}
	rest := kept(page.Records) > 0 || gapped
	running := page.Live && page.End == sessionstore.EndNone
	if from := s.producers.find(at); from != nil && running && (from.life != nil || !asks) && from.join(rd) {
		rd.from = from
		if !p.Sealed && !from.trusted() {
			rd.part()
			return nil, false
		}
		// What was added since may be more than a page says that has no Changed.
		if rd.page, err = s.store.after(ctx, at); err != nil {
			rd.part()
			return nil, false
		}
		return rd, false
	}
	switch {
	case running && p.Sealed && !asks && (!page.Orphaned || !resumable):
		// Another process writes it, or it ends with its own client, whose leaving is
		// not noticed yet.
	case page.End == sessionstore.EndComplete && (rest || !again):
		// "Clients will reconnect if the connection is closed; a client can be told
		// to stop reconnecting using the HTTP 204 No Content response code."
		// https://html.spec.whatwg.org/multipage/server-sent-events.html#server-sent-events-intro
		rd.over = !rest && c.method == http.MethodGet
	case !p.Sealed, !rest, resumable:
		return nil, page.End == sessionstore.EndComplete
	}
	return rd, false
}

// catchUp is after for a client that may be a little ahead of what another process has
// stored: of its record, or of the whole stream.
func (s *Server) catchUp(ctx context.Context, at sessionstore.Position) (sessionstore.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, aheadPatience)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		page, err := s.store.after(ctx, at)
		ahead := errors.Is(err, sessionstore.ErrAhead) || errors.Is(err, sessionstore.ErrNotFound)
		if !ahead || s.store.shared == nil {
			return page, err
		}
		timer.Reset(lookFirst)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return page, err
		}
	}
}

// beyondGap is where a log begins that does not reach back to a client's place.
func (s *Server) beyondGap(ctx context.Context, at sessionstore.Position) (sessionstore.Position, sessionstore.Page, error) {
	wait := s.store.patience(ctx)
	defer wait.over()
	for _, st := range s.store.streams(wait, at.Session) {
		if st.Lease.Number == at.Number && st.Log.Oldest > at.Seq+1 {
			at.Seq, at.Token = st.Log.Oldest-1, 0
		}
	}
	page, err := s.store.after(ctx, at)
	return at, page, err
}

// aheadPatience is some flush intervals, as they are by default.
const aheadPatience = 500 * time.Millisecond

// locate finds the place that a client's cursor names.
func (s *Server) locate(ctx context.Context, c *comeback) (sessionstore.Position, seal.Cursor, bool) {
	if c.policy.Sealed {
		place := c.place
		if place.Number == 0 || place.Method == "" {
			return sessionstore.Position{}, place, false
		}
		at := c.id.position(&place)
		return at, place, true
	}
	req := upstream.Request{Method: c.method, Header: c.header}
	if c.id.anonymous() || s.detaches(c.policy, &req) == 0 {
		return sessionstore.Position{}, seal.Cursor{}, false
	}
	at, err := s.store.seek(ctx, c.id.session(), c.id.line, c.cursor)
	if err != nil {
		return at, seal.Cursor{}, false
	}
	// "The ID, if present, MUST be globally unique across all streams within that session":
	// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery
	// Elsewhere it may count from 1 in each response.
	if mcp, _ := upstream.LeavingCancels(&req); !mcp && s.store.ambiguous(ctx, at, c.cursor) {
		return at, seal.Cursor{}, false
	}
	return at, seal.Cursor{Method: c.method}, true
}

// trusted says whether the origin's ids name places in the stream.
func (st *held) trusted() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	t, ok := st.m.(interface{ Trust() splice.Trust })
	return ok && !st.faulted && !t.Trust().Disproved()
}
