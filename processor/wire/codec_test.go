package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

func bodyRequest(body []byte, eos bool) *extproc.ProcessingRequest {
	return &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{
		ResponseBody: &extproc.HttpBody{Body: body, EndOfStream: eos},
	}}
}

func bodyResponse(body []byte, eos bool) *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseBody{
		ResponseBody: &extproc.BodyResponse{Response: &extproc.CommonResponse{
			BodyMutation: &extproc.BodyMutation{Mutation: &extproc.BodyMutation_StreamedResponse{
				StreamedResponse: &extproc.StreamedBodyResponse{Body: body, EndOfStream: eos},
			}},
		}},
	}}
}

func immediateBodyResponse(body []byte, eos bool) *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_StreamedImmediateResponse{
		StreamedImmediateResponse: &extproc.StreamedImmediateResponse{Response: &extproc.StreamedImmediateResponse_BodyResponse{
			BodyResponse: &extproc.StreamedBodyResponse{Body: body, EndOfStream: eos},
		}},
	}}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(c *Codec, b []byte) (*Request, error) {
	r := new(Request)
	return r, c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, r)
}

// checkRequest holds the codec to what protobuf makes of the same bytes. It
// reports nothing when they agree.
func checkRequest(c *Codec, b []byte) string {
	want := new(extproc.ProcessingRequest)
	wantErr := proto.Unmarshal(b, want)
	got, err := decode(c, b)
	defer got.Free()
	switch {
	case err != nil && wantErr == nil:
		return "protobuf accepts, the codec says " + err.Error()
	case err != nil && !errors.Is(err, ErrMalformed):
		return "an error that is not ErrMalformed: " + err.Error()
	case err == nil && wantErr != nil:
		// The one freedom: what is skipped beside chunks and headers is not looked
		// into, and nobody minds what bytes a header's name has.
		if !got.IsBody && got.Headers == nil {
			return "the codec accepts, protobuf says " + wantErr.Error()
		}
	case err == nil:
		switch v := want.GetRequest().(type) {
		case *extproc.ProcessingRequest_ResponseBody:
			if hb := v.ResponseBody; !got.IsBody || !bytes.Equal(got.Body, hb.GetBody()) || got.EndOfStream != hb.GetEndOfStream() {
				return "body differs"
			}
		case *extproc.ProcessingRequest_RequestHeaders:
			return sameHeaders(got.Headers, want, v.RequestHeaders, false)
		case *extproc.ProcessingRequest_ResponseHeaders:
			return sameHeaders(got.Headers, want, v.ResponseHeaders, true)
		default:
			if got.IsBody || got.Headers != nil || !proto.Equal(got.Message, want) {
				return "message differs"
			}
		}
	}
	return ""
}

func sameHeaders(got *Headers, m *extproc.ProcessingRequest, list *extproc.HttpHeaders, response bool) string {
	if got == nil {
		return "no headers"
	}
	want := &Headers{Response: response}
	want.fromMessage(m, list)
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Headers{}), cmpopts.EquateEmpty()); d != "" {
		return "headers differ: " + d
	}
	for _, set := range m.GetAttributes() {
		for name, v := range set.GetFields() {
			want, ok := v.GetStringValue(), len(m.GetAttributes()) == 1 // only one filter's attributes ever come
			switch k := v.GetKind().(type) {
			case *structpb.Value_StringValue:
			case *structpb.Value_NumberValue:
				want = strconv.FormatFloat(k.NumberValue, 'f', -1, 64)
			default:
				ok = false
			}
			if a := got.Attribute(name); ok && a != want {
				return fmt.Sprintf("attribute %q is %q, want %q", name, a, want)
			}
		}
	}
	return ""
}

func TestRequest(t *testing.T) {
	hot := encoded(t, bodyRequest([]byte("data: x\n\n"), true))
	meta := encoded(t, &extproc.ProcessingRequest{
		MetadataContext:   &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"a": {}}},
		Attributes:        map[string]*structpb.Struct{"b": {}},
		ObservabilityMode: true,
		ProtocolConfig:    &extproc.ProtocolConfiguration{SendBodyWithoutWaitingForHeaderResponse: true},
	})
	unknown := protowire.AppendTag(nil, 1000, protowire.Fixed64Type)
	unknown = protowire.AppendFixed64(unknown, 7)
	group := protowire.AppendTag(nil, 900, protowire.StartGroupType)
	group = append(group, unknown...)
	group = protowire.AppendTag(group, 900, protowire.EndGroupType)
	headers := encoded(t, &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extproc.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: ":path", RawValue: []byte("/")}}}},
	}})
	responseHeaders := encoded(t, &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseHeaders{
		ResponseHeaders: &extproc.HttpHeaders{EndOfStream: true, Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
			{Key: ":status", Value: "200"}, {Key: "both", Value: "a", RawValue: []byte("b")}, {Key: "empty"}, {},
		}}},
	}})
	attributes, _ := structpb.NewStruct(map[string]any{"upstream.address": "127.0.0.1:80", "n": 1.0, "": "x"})
	first := encoded(t, &extproc.ProcessingRequest{
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": attributes},
		ProtocolConfig: &extproc.ProtocolConfiguration{
			RequestBodyMode:  extprocfilterv3.ProcessingMode_STREAMED,
			ResponseBodyMode: extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED,
		},
	})
	wrongType := protowire.AppendVarint(protowire.AppendTag(nil, requestResponseBody, protowire.VarintType), 1)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

	for name, b := range map[string][]byte{
		"empty":               nil,
		"chunk":               hot,
		"empty chunk":         encoded(t, bodyRequest(nil, false)),
		"end without a byte":  encoded(t, bodyRequest(nil, true)),
		"fields around":       join(meta, unknown, hot, group, meta),
		"two chunks merge":    join(hot, encoded(t, bodyRequest([]byte("later"), false))),
		"headers":             headers,
		"headers, much else":  join(meta, headers, unknown, first),
		"response headers":    responseHeaders,
		"headers twice":       join(headers, headers),
		"both headers":        join(headers, responseHeaders),
		"no header":           encoded(t, &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestHeaders{}}),
		"bad header":          {requestFirst<<3 | 2, 4, 0x0a, 2, 0x0a, 9},
		"bad config":          join(headers, []byte{requestProtocolConfig<<3 | 2, 1, 8}),
		"headers then chunk":  join(headers, hot),
		"chunk then headers":  join(hot, headers),
		"chunk, headers, end": join(hot, headers, encoded(t, bodyRequest(nil, true))),
		"wrong wire type":     wrongType,
		"wrong type, chunk":   join(wrongType, hot),
		"no member":           meta,
		"cut short":           hot[:len(hot)-3],
		"length beyond end":   {requestResponseBody<<3 | 2, 0x7f, 1},
		"endless varint":      bytes.Repeat([]byte{0xff}, 12),
		"field number zero":   {0x02, 0x00},
		"unmatched group end": {900<<3&0x7f | 4 | 0x80, 0x38},
		"bad field in body":   {requestResponseBody<<3 | 2, 2, 0x0a, 0x05},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := checkRequest(NewCodec(nil), b); diff != "" {
				t.Errorf("%s: % x", diff, b)
			}
		})
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(encoded(f, bodyRequest([]byte("data: x\n\n"), true)))
	f.Add(encoded(f, bodyRequest(nil, false)))
	f.Add([]byte{0x2a, 0x05, 0x0a, 0x01, 'x', 0x10, 0x01, 0x2a, 0x00})
	f.Add(encoded(f, &extproc.ProcessingRequest{
		Request: &extproc.ProcessingRequest_RequestHeaders{RequestHeaders: &extproc.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
			{Key: ":path", RawValue: []byte("/")}, {Key: "x", Value: "y"},
		}}}},
		Attributes:     map[string]*structpb.Struct{"f": {Fields: map[string]*structpb.Value{"a": structpb.NewStringValue("b")}}},
		ProtocolConfig: &extproc.ProtocolConfiguration{ResponseBodyMode: extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED},
	}))
	c := NewCodec(nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		if diff := checkRequest(c, b); diff != "" {
			t.Errorf("%s: % x", diff, b)
		}
	})
}

// The pieces a message arrives in, by HTTP/2 frame, do not matter.
func TestRequestInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := pattern(rapid.IntRange(0, 40<<10).Draw(t, "size"))
		b, _ := proto.Marshal(bodyRequest(body, true))
		pool := &countingPool{BufferPool: mem.DefaultBufferPool()}
		var data mem.BufferSlice
		for len(b) > 0 {
			n := min(len(b), rapid.IntRange(1, 16<<10).Draw(t, "piece"))
			data = append(data, mem.Copy(b[:n], pool))
			b = b[n:]
		}
		var r Request
		if err := NewCodec(pool).Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		data.Free() // as grpc does once Unmarshal returns
		if !bytes.Equal(r.Body, body) {
			t.Fatal("body differs")
		}
		r.Free()
		if pool.out != 0 {
			t.Fatalf("%d buffers were never given back", pool.out)
		}
	})
}

// The answer, whatever its bytes lie in, is what protobuf would have sent, and
// stays so after the request was freed and its memory used again.
func TestResponse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(copyBelow-2, copyBelow+2), rapid.IntRange(2000, 70_000))
		in := pattern(sizes.Draw(t, "in"))
		pool := &countingPool{BufferPool: mem.DefaultBufferPool()}
		c := NewCodec(pool)
		b, _ := proto.Marshal(bodyRequest(in, false))
		raw := mem.Copy(b, pool)
		var req Request
		if err := c.Unmarshal(mem.BufferSlice{raw}, &req); err != nil {
			t.Fatal(err)
		}
		raw.Free()

		out, mine := bytes.Clone(in), true // memory of our own …
		if from := req.Body; len(from) > 0 && rapid.Bool().Draw(t, "within the request") {
			lo := rapid.IntRange(0, len(from)).Draw(t, "lo")
			hi := rapid.IntRange(lo, len(from)).Draw(t, "hi")
			out, mine = from[lo:hi], lo == hi
			if rapid.Bool().Draw(t, "capped") {
				out = from[lo:hi:hi]
			}
		}
		end, immediate := rapid.Bool().Draw(t, "end"), rapid.Bool().Draw(t, "immediate")
		want := bodyResponse(bytes.Clone(out), end)
		if immediate {
			want = immediateBodyResponse(bytes.Clone(out), end)
		}

		sent, err := c.Marshal(&Response{Body: out, EndOfStream: end, Immediate: immediate, From: &req})
		if err != nil {
			t.Fatal(err)
		}
		req.Free()
		if mine { // … may be used again at once
			clear(out)
		}
		got := new(extproc.ProcessingResponse)
		if err := proto.Unmarshal(sent.Materialize(), got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
		sent.Free()
		if pool.out != 0 {
			t.Fatalf("%d buffers were never given back", pool.out)
		}
	})
}

// pattern is n bytes of which no two neighbours look alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// countingPool counts what is out, as far as grpc gives it back at all: below a
// threshold it leaves buffers to the garbage collector. It hands out dirty
// memory, and soils what comes back, so that a use after Free shows.
type countingPool struct {
	mem.BufferPool
	out int
}

func (p *countingPool) Get(n int) *[]byte {
	if !mem.IsBelowBufferPoolingThreshold(n) {
		p.out++
	}
	b := bytes.Repeat([]byte{0xaa}, n)
	return &b
}

func (p *countingPool) Put(b *[]byte) {
	p.out--
	s := (*b)[:cap(*b)]
	for i := range s {
		s[i] = 0xdd
	}
}

func TestOtherMessagesAreProtobuf(t *testing.T) {
	c := NewCodec(nil)
	want := &grpc_health_v1.HealthCheckRequest{Service: "x"}
	b, err := c.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := new(grpc_health_v1.HealthCheckRequest)
	if err := c.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	full := bodyResponse([]byte("x"), true)
	full.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{"holdfast": structpb.NewStringValue("x")}}
	b, err = c.Marshal(&Response{Message: full})
	if err != nil {
		t.Fatal(err)
	}
	back := new(extproc.ProcessingResponse)
	if err := proto.Unmarshal(b.Materialize(), back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(full, back, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestWrongDirection(t *testing.T) {
	c := NewCodec(nil)
	if _, err := c.Marshal(&Request{}); err == nil {
		t.Error("a Request was encoded")
	}
	if err := c.Unmarshal(nil, &Response{}); err == nil {
		t.Error("a Response was decoded")
	}
	abort := &AbortError{Reason: "cut"}
	if _, err := c.Marshal(abort); !errors.Is(err, abort) {
		t.Errorf("an AbortError was encoded: %v", err)
	}
}

func TestFreeTwice(t *testing.T) {
	r, err := decode(NewCodec(nil), encoded(t, bodyRequest([]byte("x"), false)))
	if err != nil {
		t.Fatal(err)
	}
	r.Free()
	r.Free()
	if r.IsBody || r.Body != nil {
		t.Error("a freed Request still has a message")
	}
}
