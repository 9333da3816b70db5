package processor

import (
	"net/http"

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

// replays serves a request from the log, or says false: then it goes on.
func (s *Server) replays(w http.ResponseWriter, r *http.Request, p *boundPolicy, id *identity, back *returning) bool {
	if s.store.records == nil || p.Replay.Events <= 0 || !back.has && !back.ours {
		return false
	}
	at, place, ok := s.locate(r, p, id, back)
	if !ok {
		return false
	}
	page, err := s.store.after(r.Context(), at)
	if err != nil {
		return false
	}
	head, ok := decodeHead(page.Head)
	if !ok || p.Sealed && head.Mark != place.Mark {
		return false
	}
	flush, _ := w.(http.Flusher)
	rd := &reader{
		srv: s, policy: p, w: w, flush: flush, r: r, at: at, page: page, head: head,
		place: place, scope: id.scope(), leave: make(chan struct{}),
	}
	rest := kept(page.Records) > 0
	if from := s.producers.find(at); from != nil && page.End == sessionstore.EndNone && from.join(r.Context()) {
		rd.from = from
		if !p.Sealed && !from.trusted() {
			rd.part()
			return false
		}
		// What was added since may be more than a page says that has no Changed.
		if rd.page, err = s.store.after(r.Context(), at); err != nil {
			rd.part()
			return false
		}
		s.read(rd)
		return true
	}
	again := place.Method == http.MethodGet
	switch {
	case page.End == sessionstore.EndComplete && (rest || !again):
		if !rest && r.Method == http.MethodGet {
			// "Clients will reconnect if the connection is closed; a client can be told
			// to stop reconnecting using the HTTP 204 No Content response code."
			// https://html.spec.whatwg.org/multipage/server-sent-events.html#server-sent-events-intro
			w.WriteHeader(http.StatusNoContent)
			return true
		}
	case !p.Sealed, !rest, again && upstream.ValidCursor(back.cursor):
		return false
	}
	s.read(rd)
	return true
}

// locate finds the place that a client's cursor names.
func (s *Server) locate(r *http.Request, p *boundPolicy, id *identity, back *returning) (sessionstore.Position, seal.Cursor, bool) {
	if p.Sealed {
		place := back.place
		if place.Number == 0 || place.Method == "" {
			return sessionstore.Position{}, place, false
		}
		return sessionstore.Position{
			Session: id.session(), Line: id.lineOf(place.Method), Number: place.Number, Token: place.Token, Seq: place.Seq,
		}, place, true
	}
	req := upstream.Request{Method: r.Method, Header: r.Header}
	if id.anonymous() || s.detaches(p, &req) == 0 {
		return sessionstore.Position{}, seal.Cursor{}, false
	}
	at, err := s.store.seek(r.Context(), id.session(), id.line, back.cursor)
	return at, seal.Cursor{Method: r.Method}, err == nil
}

// trusted says whether the origin's ids name places in the stream.
func (st *relayed) trusted() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	t, ok := st.m.(interface{ Trust() splice.Trust })
	return ok && !st.faulted && !t.Trust().Disproved()
}
