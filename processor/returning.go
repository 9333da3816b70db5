package processor

import (
	"context"
	"net/http"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"holdfast/processor/seal"
	"holdfast/processor/upstream"
	"holdfast/sessionstore"
)

// returning is a client's Last-Event-ID, as the request that goes on is to have it.
type returning struct {
	cursor string // what the origin knows the place by, if has
	has    bool
	place  seal.Cursor // of a sealed id
	ours   bool        // the client's header is an id of ours, or was to be one: it goes no further
	known  bool        // it is one
	lost   bool        // what follows it is gone for good
}

// returns reads the Last-Event-ID of a request. With sealed ids it is one of ours,
// which says what the origin's is; anything else is taken for none.
func (s *Server) returns(p *boundPolicy, id *identity, header string, has bool) returning {
	if !p.Sealed || !has {
		return returning{cursor: header, has: has}
	}
	scope := id.scope()
	place, ok := s.sealer.Open(header, &scope)
	r := returning{ours: true, known: ok, place: place}
	r.at(place.Origin)
	return r
}

// at says what the origin knows the place by, if it has a name for it that can be sent.
func (r *returning) at(origin []byte) {
	r.cursor, r.has = "", false
	if cursor := string(origin); upstream.ValidCursor(cursor) {
		r.cursor, r.has = cursor, true
	}
}

// lookUp completes what a sealed id says by what the store knows: a name of the origin's
// that was too long for the id, and whether the origin's ids have begun anew since, so
// that the name is another event's now.
func (s *Server) lookUp(ctx context.Context, id *identity, r *returning) {
	if !r.known || r.place.Number == 0 || r.place.Method == "" || s.store.records == nil {
		return
	}
	at := id.position(&r.place)
	if r.place.Referred {
		r.at(s.referred(ctx, at))
	}
	if r.has && s.restarted(ctx, at, r.place.Epoch) {
		r.at(nil)
	}
}

// position is where in which log a sealed id says that its client is.
func (id *identity) position(place *seal.Cursor) sessionstore.Position {
	return sessionstore.Position{
		Session: id.session(), Line: id.lineOf(place.Method), Number: place.Number, Token: place.Token, Seq: place.Seq,
	}
}

// referred is what the origin calls a place; nil: it is not in the log any more.
func (s *Server) referred(ctx context.Context, at sessionstore.Position) []byte {
	// That the place is the client's is known by its token, which says nothing of the
	// place before it.
	if _, err := s.store.page(ctx, at, sessionstore.PageLimits{Records: 1}); err != nil || at.Seq == 0 {
		return nil
	}
	seq := at.Seq
	at.Seq, at.Token = seq-1, 0
	page, err := s.store.page(ctx, at, sessionstore.PageLimits{Records: 1})
	if err != nil || len(page.Records) == 0 || page.Records[0].Seq != seq {
		return nil
	}
	return page.Records[0].ID
}

// restarted says whether the ids of a stream's origin have begun anew since that epoch,
// on the stream itself or on one that goes on from it.
func (s *Server) restarted(ctx context.Context, at sessionstore.Position, epoch uint32) bool {
	key := sessionstore.Key{Session: at.Session, Line: at.Line}
	wait := s.store.patience(ctx)
	defer wait.over()
	s.lines.save(wait, lineNumber(&key))
	streams := s.store.streams(wait, at.Session)
	for i := len(streams) - 1; i >= 0; i-- { // the oldest first
		st := &streams[i]
		if st.Lease.Number != at.Number && st.State.Continues != at.Number {
			continue
		}
		if st.State.Epoch > epoch {
			return true
		}
		at.Number = st.Lease.Number
	}
	return false
}

// fields are a request's headers as the origin is to see them.
func (x *exchange) fields(h headers) http.Header {
	out := h.fields()
	x.returns.rewrite(out)
	return out
}

// edit is rewrite, for Envoy to do.
func (r *returning) edit(m *extproc.HeaderMutation) {
	switch {
	case !r.ours:
	case r.has:
		m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: "last-event-id", RawValue: []byte(r.cursor)},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	default:
		m.RemoveHeaders = append(m.RemoveHeaders, "last-event-id")
	}
}

// lastEventID is the header's name as net/http writes it.
const lastEventID = "Last-Event-Id"

// rewrite puts the header in the form in which the origin is to see it.
func (r *returning) rewrite(h http.Header) {
	switch {
	case !r.ours:
	case r.has:
		h.Set(lastEventID, r.cursor)
	default:
		h.Del(lastEventID)
	}
}
