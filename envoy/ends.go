package envoy

import (
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// EndFilter is the name of the filter that learns how relayed streams ended, for the
// access log.
const EndFilter = "holdfast.ends"

// positionEnd tells the processor that a filter stands at the end of responses.
const positionEnd = "end"

// endFilter asks the processor about nothing, but on the ticket route about trailers.
// Envoy opens a filter's gRPC stream with its first message, so while a response runs
// there is none. It stands behind the one that changes the route, for it reads its
// route's configuration when a request comes by.
func endFilter() (*hcm.HttpFilter, error) {
	return httpFilter(EndFilter, &extprocfilterv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{
			TargetSpecifier: processorService(),
			InitialMetadata: initialMetadata(map[string]string{positionKey: positionEnd}),
		},
		FailureModeAllow: true,
		ProcessingMode:   nothing(),
		MessageTimeout:   seconds(1),
		MetadataOptions: &extprocfilterv3.MetadataOptions{
			ReceivingNamespaces: &extprocfilterv3.MetadataOptions_MetadataNamespaces{Untyped: []string{MetadataNamespace}},
		},
	})
}

// nothing is the mode of a filter that the processor hears nothing of.
func nothing() *extprocfilterv3.ProcessingMode {
	return &extprocfilterv3.ProcessingMode{
		RequestHeaderMode:   extprocfilterv3.ProcessingMode_SKIP,
		ResponseHeaderMode:  extprocfilterv3.ProcessingMode_SKIP,
		RequestBodyMode:     extprocfilterv3.ProcessingMode_NONE,
		ResponseBodyMode:    extprocfilterv3.ProcessingMode_NONE,
		RequestTrailerMode:  extprocfilterv3.ProcessingMode_SKIP,
		ResponseTrailerMode: extprocfilterv3.ProcessingMode_SKIP,
	}
}

// endAsked is the ticket route's configuration of that filter.
func endAsked() (*anypb.Any, error) {
	mode := nothing()
	mode.ResponseTrailerMode = extprocfilterv3.ProcessingMode_SEND
	return anyOf(&extprocfilterv3.ExtProcPerRoute{Override: &extprocfilterv3.ExtProcPerRoute_Overrides{
		Overrides: &extprocfilterv3.ExtProcOverrides{ProcessingMode: mode},
	}})
}
