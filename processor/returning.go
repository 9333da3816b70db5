package processor

import (
	"net/http"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"holdfast/processor/seal"
	"holdfast/processor/upstream"
)

// returning is a client's Last-Event-ID, as the request that goes on is to have it.
type returning struct {
	cursor string // what the origin knows the place by, if has
	has    bool
	place  seal.Cursor // of a sealed id
	ours   bool        // the client's header is an id of ours, or was to be one: it goes no further
}

// returns reads the Last-Event-ID of a request. With sealed ids it is one of ours,
// which says what the origin's is; anything else is taken for none.
func (s *Server) returns(p *boundPolicy, id *identity, header string, has bool) returning {
	if !p.Sealed || !has {
		return returning{cursor: header, has: has}
	}
	scope := id.scope()
	place, ok := s.sealer.Open(header, &scope)
	if !ok || !upstream.ValidCursor(string(place.Origin)) {
		return returning{ours: true, place: place}
	}
	return returning{cursor: string(place.Origin), has: true, ours: true, place: place}
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
