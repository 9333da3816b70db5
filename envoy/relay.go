package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// relayWindow is streamWindow for relayed responses. An event leaves the processor
// whole, and behind a window that it fills, each waits for word that the one before
// it has left: with events as large as the window, half of the throughput. What a
// client does not read waits here, and as much again in the processor's own window
// (processor/upstream).
const relayWindow = 256 << 10

// relayStreams is streamsPerConnection for relayed requests. The processor's window for
// the bodies of all on a connection is bounded by 4 MiB; with so many, and the 16 KiB
// that it has for each, those that nobody takes can not use it up.
const relayStreams = 256

// ticketRoute sends to the processor's relay listener what the processor has
// given a ticket. Nothing that has arrived there is repeated, for a ticket is good
// for one request; where there are several processors, one that cannot be reached
// is made up for by another.
func ticketRoute(o *Options) (*routev3.Route, error) {
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: RelayCluster},
		Timeout:          seconds(0),
		IdleTimeout:      seconds(0),
	}
	if replicated(o.Relay) {
		var err error
		if action.RetryPolicy, err = retryPolicy("connect-failure,refused-stream"); err != nil {
			return nil, err
		}
		action.HashPolicy = relayAffinity(o.Clients)
	}
	asked, err := endAsked()
	if err != nil {
		return nil, err
	}
	return &routev3.Route{
		Name:                 TicketRoute,
		TypedPerFilterConfig: map[string]*anypb.Any{EndFilter: asked},
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
			Headers: []*routev3.HeaderMatcher{{
				Name:                 ticketHeader,
				HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			}},
		},
		Action: &routev3.Route_Route{Route: action},
	}, nil
}

// relayCluster is the processor's relay listener. It has no outlier detection, for
// what looks like its failures are the origins', and with one processor no health
// checks: without it there are no tickets.
func relayCluster(o *Options) (*clusterv3.Cluster, error) {
	h2 := processorHTTP2(relayWindow, relayStreams)
	h2.OverrideStreamErrorOnInvalidHttpMessage = yes()
	protocol, err := protocolOptions(H2C, h2)
	if err != nil {
		return nil, err
	}
	c := &clusterv3.Cluster{
		Name:                          RelayCluster,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                seconds(1),
		PerConnectionBufferLimitBytes: u32(connectionBuffer),
		LoadAssignment:                endpoints(RelayCluster, endpoint(o.Relay)),
		TypedExtensionProtocolOptions: protocol,
		CircuitBreakers:               noBreakers(),
	}
	remote(c, o.Relay)
	if replicated(o.Relay) {
		relayReplicas(c)
	}
	return c, nil
}

// remote adds what a way over the network needs.
func remote(c *clusterv3.Cluster, to Address) {
	if to.IsUnix() {
		return
	}
	c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: tcpKeepalive()}
	if !isIP(to.Host) {
		resolveNames(c)
		// Several replicas behind one name are several hosts. A machine that is gone
		// refuses no connection, it says nothing: the next one has to be asked before
		// the filter's message_timeout is over.
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		c.ConnectTimeout = durationpb.New(250 * time.Millisecond)
	}
}
