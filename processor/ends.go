package processor

import (
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// The filter is done with a relayed request before there is a response, so it cannot
// tell Envoy's access log how that ended. The relay listener can: by a trailer, which
// it adds to every event stream that has a clean end. A second filter, which Envoy
// asks about the trailers of relayed responses and about nothing else, brings it back
// here; the trailer becomes dynamic metadata and goes no further. Envoy opens that
// filter's gRPC stream for its first message, so a stream that runs costs nothing.
//
// A response that is aborted has no trailers. Envoy's flags say of it whose fault
// that was.

const (
	// endsKey is in the initial_metadata of a listener's filter that such a filter
	// follows.
	endsKey = "holdfast-ends"
	// positionEnd is where that one stands.
	positionEnd = "end"
	// EndHeader asks for the trailer of the same name. It stays between the filter and
	// the relay listener.
	EndHeader = "x-holdfast-end"
)

var endHeader = textproto.CanonicalMIMEHeaderKey(EndHeader) //nolint:gochecknoglobals // a constant

// ending is metadata of a stream's end as a trailer.
func ending(fields map[string]*structpb.Value) string {
	v := url.Values{}
	for name, f := range fields {
		switch k := f.GetKind().(type) {
		case *structpb.Value_NumberValue:
			v.Set(name, strconv.FormatFloat(k.NumberValue, 'f', -1, 64))
		case *structpb.Value_BoolValue:
			v.Set(name, strconv.FormatBool(k.BoolValue))
		default:
			v.Set(name, f.GetStringValue())
		}
	}
	return v.Encode()
}

// endMetadata is that trailer as metadata; nil, if it is none.
func endMetadata(trailer string) *structpb.Struct {
	v, err := url.ParseQuery(trailer)
	if err != nil || !v.Has("outcome") {
		return nil
	}
	fields := make(map[string]*structpb.Value, len(v))
	for name := range maps.Keys(v) {
		switch name {
		case "events", "duplicates", "resumes":
			n, err := strconv.ParseFloat(v.Get(name), 64)
			if err != nil {
				return nil
			}
			fields[name] = structpb.NewNumberValue(n)
		case "stored":
			fields[name] = structpb.NewBoolValue(v.Get(name) == "true")
		default:
			fields[name] = structpb.NewStringValue(v.Get(name))
		}
	}
	return metadata(fields)
}

// endOfRelayed answers the only message of a filter that asks about the ends of
// relayed responses.
func endOfRelayed(trailers []*corev3.HeaderValue) *extproc.ProcessingResponse {
	i := slices.IndexFunc(trailers, func(h *corev3.HeaderValue) bool { return h.GetKey() == EndHeader })
	if i < 0 {
		return trailersAnswer(nil)
	}
	a := trailersAnswer(endMetadata(string(trailers[i].GetRawValue())))
	a.GetResponseTrailers().HeaderMutation = &extproc.HeaderMutation{RemoveHeaders: []string{EndHeader}}
	return a
}

// wantsEnd says whether a relayed request's response is to have the trailer, and
// removes what says so.
func wantsEnd(r *http.Request) bool {
	wants := r.Header[endHeader] != nil
	delete(r.Header, endHeader)
	return wants
}
