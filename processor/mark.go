package processor

import (
	"errors"
	"net/http"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"holdfast/processor/upstream"
)

// Where hosts are to be tried one after the other, Envoy has a route of its own for
// the requests that this is for. They are marked with a header that leads there,
// and tells the filter before each host which policy they are under. So all other
// requests do without that filter.

// peeksKey is in the initial_metadata of a filter whose listener has such a route.
const peeksKey = "holdfast-peek"

// peekable says whether a mark would lead anywhere.
func (x *exchange) peekable() bool { return x.told(peeksKey) != "" }

// repeatable says whether another host may be asked. A GET for events only reads.
// A POST may have done something already: whoever sets retry_when in a policy for
// one says that it may be made again. No other method is.
func repeatable(p *boundPolicy, r *request) bool {
	switch r.method {
	case http.MethodGet:
		return r.wantsEvents() || len(p.RetryWhen) > 0
	case http.MethodPost:
		return len(p.RetryWhen) > 0
	}
	return false
}

// encodeMarks makes the answers to request headers that send a request where its
// tries are seen.
func (p *boundPolicy) encodeMarks() error {
	marked := func(m *extproc.HeaderMutation) *extproc.ProcessingResponse {
		m.SetHeaders = append(m.SetHeaders, overwrite(upstream.PeekHeader, p.Name))
		a := requestAnswer(m)
		a.GetRequestHeaders().Response.ClearRouteCache = true
		return a
	}
	return errors.Join(
		encode(&p.mark, marked(new(extproc.HeaderMutation))),
		encode(&p.markIdentity, marked(identityOnly())),
	)
}
