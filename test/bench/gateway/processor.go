package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

// loopback is the bare gateway's way back to the upstream.
type loopback struct {
	known   chan struct{} // closed when address is
	address string
}

// transport speaks HTTP/2 with prior knowledge, whatever the URL's host.
func (l *loopback) transport() *http.Transport {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols: &h2c,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			<-l.known
			return new(net.Dialer).DialContext(ctx, network, l.address)
		},
		DisableCompression: true,
	}
}

// serveProcessor serves what a shape needs beside Envoy, written as anybody would
// write it first.
func serveProcessor(s shape, lis net.Listener, back *loopback) (stop func()) {
	if s == relay {
		var h2c http.Protocols
		h2c.SetUnencryptedHTTP2(true)
		srv := &http.Server{
			Handler: &httputil.ReverseProxy{
				FlushInterval: -1,
				Transport:     back.transport(),
				Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "loop"}) },
			},
			Protocols:         &h2c,
			HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1 << 20},
			ReadHeaderTimeout: time.Minute,
		}
		go func() { _ = srv.Serve(lis) }()
		return func() { _ = srv.Close() }
	}
	srv := grpc.NewServer()
	extproc.RegisterExternalProcessorServer(srv, &bareProcessor{shape: s, client: &http.Client{Transport: back.transport()}})
	go func() { _ = srv.Serve(lis) }()
	return srv.Stop
}

// bareProcessor is the ext_proc service of the echo and the immediate shape.
type bareProcessor struct {
	extproc.UnimplementedExternalProcessorServer

	shape  shape
	client *http.Client
}

// Process serves one request.
func (p *bareProcessor) Process(g extproc.ExternalProcessor_ProcessServer) error {
	for {
		req, err := g.Recv()
		if err != nil {
			return nil //nolint:nilerr // Envoy has no more to say, in whatever way
		}
		if h := req.GetRequestHeaders(); h != nil && p.shape == immediate {
			return p.answer(g, h)
		}
		resp, err := echoed(req)
		if err != nil {
			return err
		}
		if err := g.Send(resp); err != nil {
			return err
		}
	}
}

func echoed(req *extproc.ProcessingRequest) (*extproc.ProcessingResponse, error) {
	switch m := req.GetRequest().(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{
			RequestHeaders: &extproc.HeadersResponse{},
		}}, nil
	case *extproc.ProcessingRequest_ResponseHeaders:
		return &extproc.ProcessingResponse{
			Response: &extproc.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extproc.HeadersResponse{}},
			ModeOverride: &extprocfilterv3.ProcessingMode{
				ResponseBodyMode:    extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED,
				ResponseTrailerMode: extprocfilterv3.ProcessingMode_SEND,
			},
		}, nil
	case *extproc.ProcessingRequest_ResponseBody:
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseBody{
			ResponseBody: &extproc.BodyResponse{Response: &extproc.CommonResponse{
				BodyMutation: &extproc.BodyMutation{Mutation: &extproc.BodyMutation_StreamedResponse{
					StreamedResponse: &extproc.StreamedBodyResponse{
						Body:        m.ResponseBody.GetBody(),
						EndOfStream: m.ResponseBody.GetEndOfStream(),
					},
				}},
			}},
		}}, nil
	default:
		return nil, fmt.Errorf("a %T was not to be expected", m)
	}
}

// answer fetches what was asked for and sends that as the response.
func (p *bareProcessor) answer(g extproc.ExternalProcessor_ProcessServer, h *extproc.HttpHeaders) error {
	req, err := http.NewRequestWithContext(g.Context(), http.MethodGet, "http://loop"+header(h, ":path"), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = g.Send(immediately(&extproc.StreamedImmediateResponse{
		Response: &extproc.StreamedImmediateResponse_HeadersResponse{HeadersResponse: &extproc.HttpHeaders{
			Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				{Key: ":status", RawValue: fmt.Append(nil, resp.StatusCode)},
				{Key: "content-type", RawValue: []byte(resp.Header.Get("Content-Type"))},
			}},
		}},
	}))
	buf := make([]byte, 16<<10)
	for err == nil {
		var n int
		if n, err = resp.Body.Read(buf); n > 0 {
			if err := g.Send(immediateBody(buf[:n], false)); err != nil {
				return err
			}
		}
	}
	if err == io.EOF {
		err = g.Send(immediateBody(nil, true))
	}
	return err
}

func immediately(r *extproc.StreamedImmediateResponse) *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_StreamedImmediateResponse{StreamedImmediateResponse: r}}
}

func immediateBody(b []byte, end bool) *extproc.ProcessingResponse {
	return immediately(&extproc.StreamedImmediateResponse{
		Response: &extproc.StreamedImmediateResponse_BodyResponse{
			BodyResponse: &extproc.StreamedBodyResponse{Body: b, EndOfStream: end},
		},
	})
}

func header(h *extproc.HttpHeaders, name string) string {
	for _, v := range h.GetHeaders().GetHeaders() {
		if v.GetKey() == name {
			return string(v.GetRawValue())
		}
	}
	return ""
}
