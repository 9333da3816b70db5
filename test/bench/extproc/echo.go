package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

// echoCommand makes this program the echo server.
const echoCommand = "serve-echo"

// echoReady is what it prints before its address.
const echoReady = "echo listens on "

func isEcho(args []string) bool { return len(args) == 2 && args[1] == echoCommand }

// maxMessage is larger than any chunk.
const maxMessage = 16 << 20

// serveEcho serves until its input ends, so that it does not outlive the program
// that started it, whatever that dies of.
func serveEcho(in io.Reader, out io.Writer) error {
	lis, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// Nothing is tuned: this is what everybody's first processor looks like.
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	extproc.RegisterExternalProcessorServer(srv, echo{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		srv.Stop()
	}()
	fmt.Fprintln(out, echoReady+lis.Addr().String())
	return srv.Serve(lis)
}

// echo sends every chunk back and changes nothing.
type echo struct {
	extproc.UnimplementedExternalProcessorServer
}

// Process answers message by message, each with structs of its own: grpc-go's Recv
// leaves no choice, and reusing the answer's would already be tuning.
func (echo) Process(g extproc.ExternalProcessor_ProcessServer) error {
	for {
		req, err := g.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp, err := unchanged(req)
		if err != nil {
			return err
		}
		if err := g.Send(resp); err != nil {
			return err
		}
	}
}

func unchanged(req *extproc.ProcessingRequest) (*extproc.ProcessingResponse, error) {
	switch m := req.GetRequest().(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{
			RequestHeaders: &extproc.HeadersResponse{},
		}}, nil
	case *extproc.ProcessingRequest_ResponseHeaders:
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseHeaders{
			ResponseHeaders: &extproc.HeadersResponse{},
		}}, nil
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
