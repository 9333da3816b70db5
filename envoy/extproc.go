package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutation "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// ExtProcService is the gRPC service Envoy calls, and the name under which it
	// asks grpc.health.v1 for the processor's health.
	ExtProcService = "envoy.service.ext_proc.v3.ExternalProcessor"

	// streamWindow is what one stream may have under way to Envoy before Envoy has
	// passed it on. Multiplied by the streams of a connection it gives the
	// connection's window, so that clients which stop reading can never use up what
	// the others on the connection need.
	streamWindow         = 64 << 10
	streamsPerConnection = 1024

	// reportedKey tells the processor that the access log of this filter's requests
	// comes to it as well; streamField is the dynamic metadata that marks its streams.
	reportedKey = "holdfast-access-log"
	streamField = "stream"

	// endsKey tells it that the filter of endFilter follows.
	endsKey = "holdfast-ends"

	// versionKey tells it which Envoy this is.
	versionKey = "holdfast-envoy"
)

// extProcFilter asks the processor about every request, and tells it about the
// filter's own place.
func extProcFilter(o *Options, place map[string]string) (*hcm.HttpFilter, error) {
	var retries *corev3.RetryPolicy
	if replicated(o.Processor) {
		var err error
		if retries, err = callRetries(); err != nil {
			return nil, err
		}
	}
	return httpFilter("envoy.filters.http.ext_proc", &extprocfilterv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{
			TargetSpecifier: processorService(),
			InitialMetadata: initialMetadata(place),
			RetryPolicy:     retries,
		},
		FailureModeAllow: true,
		ProcessingMode: &extprocfilterv3.ProcessingMode{
			RequestHeaderMode:   extprocfilterv3.ProcessingMode_SEND,
			ResponseHeaderMode:  extprocfilterv3.ProcessingMode_SEND,
			RequestBodyMode:     extprocfilterv3.ProcessingMode_NONE,
			ResponseBodyMode:    extprocfilterv3.ProcessingMode_NONE,
			RequestTrailerMode:  extprocfilterv3.ProcessingMode_SKIP,
			ResponseTrailerMode: extprocfilterv3.ProcessingMode_SKIP,
		},
		AllowModeOverride: true,
		MessageTimeout:    seconds(1),
		MaxMessageTimeout: durationpb.New(time.Hour),
		MutationRules:     &mutation.HeaderMutationRules{AllowEnvoy: yes()},
		RequestAttributes: requestAttributes(place),
		ResponseAttributes: []string{
			"upstream.address", "upstream.request_attempt_count",
		},
		MetadataOptions: &extprocfilterv3.MetadataOptions{
			ReceivingNamespaces: &extprocfilterv3.MetadataOptions_MetadataNamespaces{Untyped: []string{MetadataNamespace}},
		},
	})
}

// requestAttributes are what the processor cannot see in a request. Before a host,
// it is known which one that is, and the how many-th.
func requestAttributes(place map[string]string) []string {
	all := []string{"xds.route_name", "xds.cluster_name"}
	if place[positionKey] != "" {
		all = append(all, "upstream.address", "upstream.request_attempt_count")
	}
	return all
}

func processorService() *corev3.GrpcService_EnvoyGrpc_ {
	return &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ProcessorCluster}}
}

// processorHTTP2 is how Envoy speaks to the processor, whatever about.
func processorHTTP2(window, streams uint32) *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        u32(streams),
		InitialStreamWindowSize:     u32(window),
		InitialConnectionWindowSize: u32(window * streams),
		ConnectionKeepalive: &corev3.KeepaliveSettings{
			Interval: seconds(30),
			Timeout:  seconds(20),
		},
	}
}

// processorCluster is the way to the processor.
func processorCluster(o *Options) (*clusterv3.Cluster, error) {
	protocol, err := protocolOptions(H2C, processorHTTP2(streamWindow, streamsPerConnection))
	if err != nil {
		return nil, err
	}
	c := &clusterv3.Cluster{
		Name:                          ProcessorCluster,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                seconds(1),
		PerConnectionBufferLimitBytes: u32(connectionBuffer),
		LoadAssignment:                endpoints(ProcessorCluster, endpoint(o.Processor)),
		TypedExtensionProtocolOptions: protocol,
		CircuitBreakers:               noBreakers(),
		HealthChecks: []*corev3.HealthCheck{{
			Timeout:            seconds(2),
			Interval:           seconds(5),
			NoTrafficInterval:  seconds(5),
			UnhealthyInterval:  seconds(1),
			UnhealthyThreshold: u32(2),
			HealthyThreshold:   u32(1),
			HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{
				GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{ServiceName: ExtProcService},
			},
		}},
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 0}},
	}
	remote(c, o.Processor)
	if t := o.ProcessorTLS; t != nil {
		name := t.ServerName
		if name == "" {
			name = o.Processor.Host
		}
		c.TransportSocket, err = tlsSocket(name, t.CA, []string{"h2"}, t)
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}
