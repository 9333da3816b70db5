package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushosts "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"holdfast/processor/config"
)

// Several processors may stand behind one name. One that dies is noticed by its
// health checks within seconds. Until then a request that is sent to it asks
// another one: without that it would go to its upstream unattended, and the
// clients of a processor that has died are the first to come back.

// RelayHealthPath is where a relay listener says whether it takes on streams.
const RelayHealthPath = "/holdfast/ready"

// replicated says whether an address may stand for several hosts.
func replicated(a Address) bool { return !a.IsUnix() && !isIP(a.Host) }

// callRetries is for calls of the processor. They can only be repeated before it
// has answered, and so before anything was said in them that counts.
func callRetries() (*corev3.RetryPolicy, error) {
	other, err := anyOf(&previoushosts.PreviousHostsPredicate{})
	if err != nil {
		return nil, err
	}
	return &corev3.RetryPolicy{
		RetryOn:    "connect-failure,refused-stream,reset,unavailable",
		NumRetries: u32(2),
		RetryHostPredicate: []*corev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &corev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: other},
		}},
		HostSelectionRetryMaxAttempts: 5,
		RetryBackOff: &corev3.BackoffStrategy{
			BaseInterval: durationpb.New(5 * time.Millisecond),
			MaxInterval:  durationpb.New(50 * time.Millisecond),
		},
	}, nil
}

// relayAffinity leads the requests of one client to one processor, as long as it
// lives, so that what it remembers of the client is at hand. keys are those of the
// policies; the first that a request has decides. A client with none of them is
// known by its address.
func relayAffinity(keys []config.KeySource) []*routev3.RouteAction_HashPolicy {
	var all []*routev3.RouteAction_HashPolicy
	for _, k := range keys {
		h := &routev3.RouteAction_HashPolicy{Terminal: true}
		switch k.In {
		case config.InHeader:
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: k.Name}}
		case config.InCookie:
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: &routev3.RouteAction_HashPolicy_Cookie{Name: k.Name}}
		case config.InQuery:
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{
				QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: k.Name},
			}
		}
		all = append(all, h)
	}
	return append(all, &routev3.RouteAction_HashPolicy{
		PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		},
	})
}

// relayReplicas is what the relay cluster needs where it has several hosts: any of
// them honours the others' tickets, if they share a key, so what matters is that a
// request reaches one that works, and takes on streams.
func relayReplicas(c *clusterv3.Cluster) {
	c.LbPolicy = clusterv3.Cluster_MAGLEV
	c.HealthChecks = []*corev3.HealthCheck{{
		Timeout:            seconds(1),
		Interval:           seconds(2),
		NoTrafficInterval:  seconds(2),
		UnhealthyInterval:  seconds(1),
		UnhealthyThreshold: u32(1),
		HealthyThreshold:   u32(1),
		HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{
			Path:            RelayHealthPath,
			CodecClientType: typev3.CodecClientType_HTTP2,
		}},
	}}
}
