package processor

import (
	"bytes"
	"errors"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/config"
	"holdfast/processor/live"
	"holdfast/processor/wire"
)

// answers are the messages that are the same for every request.
type answers struct {
	request  wire.Encoded // go on
	identity wire.Encoded // go on, and ask the upstream for no compression
	skip     wire.Encoded // go on, and show me nothing more
	response wire.Encoded // go on
	patience wire.Encoded // the answer to the request may take its time
	upload   wire.Encoded // send the request's body before the answer
	peek     wire.Encoded // go on, and let the response wait for us
}

func newAnswers() (answers, error) {
	skip := requestAnswer(nil)
	skip.ModeOverride = &extprocfilterv3.ProcessingMode{ResponseHeaderMode: extprocfilterv3.ProcessingMode_SKIP}
	peek := requestAnswer(nil)
	peek.ModeOverride = &extprocfilterv3.ProcessingMode{
		ResponseHeaderMode:  extprocfilterv3.ProcessingMode_SEND,
		ResponseBodyMode:    extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED,
		ResponseTrailerMode: extprocfilterv3.ProcessingMode_SEND,
	}
	var a answers
	err := errors.Join(
		encode(&a.request, requestAnswer(nil)),
		encode(&a.identity, requestAnswer(identityOnly())),
		encode(&a.skip, skip),
		encode(&a.response, responseAnswer()),
		encode(&a.peek, peek),
		encode(&a.patience, &extproc.ProcessingResponse{OverrideMessageTimeout: durationpb.New(longWait)}),
		encode(&a.upload, &extproc.ProcessingResponse{ModeOverride: &extprocfilterv3.ProcessingMode{
			RequestHeaderMode: extprocfilterv3.ProcessingMode_SEND, ResponseHeaderMode: extprocfilterv3.ProcessingMode_SEND,
			RequestBodyMode: extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED, RequestTrailerMode: extprocfilterv3.ProcessingMode_SEND,
		}}),
	)
	return a, err
}

// longWait is how long Envoy is asked to wait for a response that we fetch. The
// filter's max_message_timeout has to allow it.
const longWait = time.Hour

// encode gives the same bytes for the same message.
func encode(to *wire.Encoded, m *extproc.ProcessingResponse) (err error) {
	*to, err = proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return err
}

func requestAnswer(m *extproc.HeaderMutation) *extproc.ProcessingResponse {
	h := new(extproc.HeadersResponse)
	if m != nil {
		h.Response = &extproc.CommonResponse{HeaderMutation: m}
	}
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{RequestHeaders: h}}
}

func responseAnswer() *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseHeaders{
		ResponseHeaders: new(extproc.HeadersResponse),
	}}
}

// identityOnly sets the header even where the client sent none:
//
//	"If no Accept-Encoding header field is in the request, any content coding is
//	considered acceptable by the user agent."
//	https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
func identityOnly() *extproc.HeaderMutation {
	return &extproc.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
		Header:       &corev3.HeaderValue{Key: "accept-encoding", RawValue: []byte("identity")},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

// watchAnswer is the answer to the response headers of a policy's event streams,
// but for the stream's ID: all IDs have the same length, so one takes the place
// of another. (As protobuf structs the answer would be half of all the garbage
// that an opening stream leaves.)
type watchAnswer struct {
	encoded wire.Encoded
	id      int // where the ID begins
}

func newWatchAnswer(p *config.Policy) (watchAnswer, error) {
	var lowest, highest wire.Encoded
	err := errors.Join(encodeWatch(&lowest, p, 0), encodeWatch(&highest, p, ^live.ID(0)))
	if err != nil {
		return watchAnswer{}, err
	}
	id := 0 // where they begin to differ
	for lowest[id] == highest[id] {
		id++
	}
	return watchAnswer{encoded: lowest, id: id}, nil
}

func encodeWatch(to *wire.Encoded, p *config.Policy, id live.ID) error {
	r := responseAnswer()
	// The body goes through us from here on. Full-duplex mode demands trailers too.
	r.ModeOverride = &extprocfilterv3.ProcessingMode{
		ResponseBodyMode:    extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED,
		ResponseTrailerMode: extprocfilterv3.ProcessingMode_SEND,
	}
	r.DynamicMetadata = metadata(map[string]*structpb.Value{
		"policy":    structpb.NewStringValue(shorten(p.Name)),
		"mode":      structpb.NewStringValue(inlineMode(p).String()),
		streamField: structpb.NewStringValue(id.String()),
	})
	return encode(to, r)
}

// of is the answer for a stream.
func (w watchAnswer) of(id live.ID) wire.Encoded {
	b := bytes.Clone(w.encoded)
	copy(b[w.id:], id.String())
	return b
}

func bodyAnswer(body []byte, end bool, meta *structpb.Struct) *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{
		Response: &extproc.ProcessingResponse_ResponseBody{ResponseBody: &extproc.BodyResponse{
			Response: streamed(body, end),
		}},
		DynamicMetadata: meta,
	}
}

func streamed(body []byte, end bool) *extproc.CommonResponse {
	return &extproc.CommonResponse{BodyMutation: &extproc.BodyMutation{
		Mutation: &extproc.BodyMutation_StreamedResponse{
			StreamedResponse: &extproc.StreamedBodyResponse{Body: body, EndOfStream: end},
		},
	}}
}

func trailersAnswer(meta *structpb.Struct) *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{
		Response: &extproc.ProcessingResponse_ResponseTrailers{
			ResponseTrailers: new(extproc.TrailersResponse),
		},
		DynamicMetadata: meta,
	}
}

// namespace is where Envoy's access log finds what we say of a request:
// %DYNAMIC_METADATA(holdfast:outcome)%.
const namespace = "holdfast"

// streamField of that is the stream's ID, as our own log has it.
const streamField = "stream"

func metadata(fields map[string]*structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		namespace: structpb.NewStructValue(&structpb.Struct{Fields: fields}),
	}}
}

// letPass answers a message that nobody asked for such that Envoy goes on; nil
// is no answer. In full-duplex mode what is not sent back is lost, in the other
// modes an empty answer means "unchanged".
func letPass(m *extproc.ProcessingRequest, duplex bool) *extproc.ProcessingResponse {
	pass := func(b *extproc.HttpBody) *extproc.BodyResponse {
		if duplex {
			return &extproc.BodyResponse{Response: streamed(b.GetBody(), b.GetEndOfStream())}
		}
		return new(extproc.BodyResponse)
	}
	switch v := m.GetRequest().(type) {
	case *extproc.ProcessingRequest_RequestBody:
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestBody{RequestBody: pass(v.RequestBody)}}
	case *extproc.ProcessingRequest_ResponseBody:
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseBody{ResponseBody: pass(v.ResponseBody)}}
	case *extproc.ProcessingRequest_RequestTrailers:
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestTrailers{RequestTrailers: new(extproc.TrailersResponse)}}
	case *extproc.ProcessingRequest_ResponseTrailers:
		return trailersAnswer(nil)
	}
	return nil
}
