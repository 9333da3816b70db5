package envoy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// ticketRoute sends to the processor's relay listener what the processor has
// given a ticket. Nothing is repeated here, for a ticket is good for one request.
func ticketRoute() *routev3.Route {
	return &routev3.Route{
		Name: TicketRoute,
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
			Headers: []*routev3.HeaderMatcher{{
				Name:                 ticketHeader,
				HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			}},
		},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: RelayCluster},
			Timeout:          seconds(0),
			IdleTimeout:      seconds(0),
		}},
	}
}

// relayCluster is the processor's relay listener. It has neither health checks
// nor outlier detection: without a processor that works there are no tickets, and
// what looks like its failures are the origins'.
func relayCluster(o *Options) (*clusterv3.Cluster, error) {
	h2 := processorHTTP2()
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
		// Several replicas behind one name are several hosts.
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
	}
}
