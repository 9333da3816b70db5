package envoy

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttp "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	httpProtocolOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	// socketMatch is the metadata namespace by which an endpoint picks its TLS
	// settings; the name is Envoy's.
	socketMatch = "envoy.transport_socket_match"

	// Windows towards HTTP/2 upstreams. One connection carries at most 100 streams,
	// the number most servers allow, so stalled clients never fill its window.
	upstreamStreams      = 100
	upstreamStreamWindow = 256 << 10
)

// upstreamCluster holds every upstream as one cluster of several hosts.
func upstreamCluster(o *Options) (*clusterv3.Cluster, error) {
	scheme := o.Upstreams[0].Scheme
	names := false
	for _, u := range o.Upstreams {
		if u.Scheme != scheme {
			return nil, fmt.Errorf("upstreams %s and %s differ in scheme; they are hosts of one cluster, which speaks one protocol",
				o.Upstreams[0], u)
		}
		names = names || !u.isLocal()
	}
	protocol, err := protocolOptions(scheme, &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        u32(upstreamStreams),
		InitialStreamWindowSize:     u32(upstreamStreamWindow),
		InitialConnectionWindowSize: u32(upstreamStreamWindow * upstreamStreams),
		ConnectionKeepalive:         &corev3.KeepaliveSettings{Interval: seconds(30), Timeout: seconds(20)},
	})
	if err != nil {
		return nil, err
	}
	var hosts []*endpointv3.LbEndpoint
	for _, u := range o.Upstreams {
		hosts = append(hosts, upstreamEndpoint(u, names))
	}
	c := &clusterv3.Cluster{
		Name:                          UpstreamCluster,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LbPolicy:                      clusterv3.Cluster_LEAST_REQUEST,
		ConnectTimeout:                seconds(5),
		PerConnectionBufferLimitBytes: u32(connectionBuffer),
		LoadAssignment:                endpoints(UpstreamCluster, hosts...),
		TypedExtensionProtocolOptions: protocol,
		CircuitBreakers:               noBreakers(),
		OutlierDetection:              outlierDetection(),
		UpstreamConnectionOptions:     &clusterv3.UpstreamConnectionOptions{TcpKeepalive: tcpKeepalive()},
	}
	if o.Peek != nil {
		if err := addPeek(o, c); err != nil {
			return nil, err
		}
	}
	if names {
		resolveNames(c)
	}
	if scheme == HTTPS {
		if err := addTLS(c, o); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// upstreamEndpoint is one host. "localhost" may be 127.0.0.1 or ::1, depending on
// what the server's runtime made of it; an endpoint with both addresses is tried
// in that order. Clusters resolved by DNS cannot have such endpoints.
func upstreamEndpoint(u Upstream, resolved bool) *endpointv3.LbEndpoint {
	at := Address{Host: u.Host, Port: u.Port}
	var second []*endpointv3.Endpoint_AdditionalAddress
	if u.Host == "localhost" {
		at.Host = "127.0.0.1"
		if !resolved {
			six := Address{Host: "::1", Port: u.Port}
			second = []*endpointv3.Endpoint_AdditionalAddress{{Address: six.proto()}}
		}
	}
	e := endpoint(at)
	e.GetEndpoint().Hostname = u.authority()
	e.GetEndpoint().AdditionalAddresses = second
	return e
}

// resolveNames makes the cluster ask DNS for its hosts, again and again. IPv4
// comes first because a name with an unreachable IPv6 address is common, and with
// Envoy's default order such a name never works.
func resolveNames(c *clusterv3.Cluster) {
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	c.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
}

func endpoint(a Address) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
		Endpoint: &endpointv3.Endpoint{Address: a.proto()},
	}}
}

func endpoints(name string, hosts ...*endpointv3.LbEndpoint) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: hosts}},
	}
}

// protocolOptions says how to speak to a cluster's hosts.
func protocolOptions(s Scheme, h2 *corev3.Http2ProtocolOptions) (map[string]*anypb.Any, error) {
	h1 := &corev3.Http1ProtocolOptions{EnableTrailers: true}
	opts := &upstreamhttp.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			MaxHeadersCount:      u32(maxHeaders),
			MaxResponseHeadersKb: u32(maxHeaderKiB),
		},
	}
	switch s {
	case H2C:
		opts.UpstreamProtocolOptions = &upstreamhttp.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamhttp.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamhttp.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
			},
		}
	case HTTPS:
		opts.UpstreamProtocolOptions = &upstreamhttp.HttpProtocolOptions_AutoConfig{
			AutoConfig: &upstreamhttp.HttpProtocolOptions_AutoHttpConfig{HttpProtocolOptions: h1, Http2ProtocolOptions: h2},
		}
	default:
		opts.UpstreamProtocolOptions = &upstreamhttp.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamhttp.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamhttp.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: h1},
			},
		}
	}
	a, err := anyOf(opts)
	if err != nil {
		return nil, err
	}
	return map[string]*anypb.Any{httpProtocolOptions: a}, nil
}

func noBreakers() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     u32(unlimited),
		MaxPendingRequests: u32(unlimited),
		MaxRequests:        u32(unlimited),
		MaxRetries:         u32(unlimited),
	}}}
}

// outlierDetection rests a host that does not answer at all. An origin that
// answers 500 is alive and says what it wants to say, so statuses of its own do
// not count; 502, 503 and 504 do.
func outlierDetection() *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors:     true,
		ConsecutiveLocalOriginFailure:      u32(3),
		ConsecutiveGatewayFailure:          u32(5),
		EnforcingConsecutiveGatewayFailure: u32(100),
		EnforcingConsecutive_5Xx:           u32(0),
		EnforcingSuccessRate:               u32(0),
		EnforcingLocalOriginSuccessRate:    u32(0),
		Interval:                           seconds(5),
		BaseEjectionTime:                   seconds(10),
		MaxEjectionTime:                    seconds(60),
		MaxEjectionPercent:                 u32(50),
	}
}

// addTLS gives every host a handshake with its own name. Hosts of one name share
// the cluster's socket; several names need one socket each, found by metadata.
func addTLS(c *clusterv3.Cluster, o *Options) error {
	ca := o.UpstreamCA
	if ca == "" {
		var err error
		if ca, err = SystemCA(); err != nil {
			return fmt.Errorf("https upstreams cannot be verified: %w with --upstream-ca", err)
		}
	}
	hosts := c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()
	seen := map[string]bool{}
	for i, u := range o.Upstreams {
		hosts[i].Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{socketMatch: matchName(u.Host)}}
		if seen[u.Host] {
			continue
		}
		seen[u.Host] = true
		socket, err := tlsSocket(u.Host, ca, nil, nil)
		if err != nil {
			return err
		}
		c.TransportSocketMatches = append(c.TransportSocketMatches, &clusterv3.Cluster_TransportSocketMatch{
			Name: u.Host, Match: matchName(u.Host), TransportSocket: socket,
		})
	}
	// Negotiating the protocol demands a cluster that has a socket of its own, even
	// if every host has its match.
	c.TransportSocket = c.GetTransportSocketMatches()[0].GetTransportSocket()
	if len(seen) == 1 {
		c.TransportSocketMatches = nil
		for _, h := range hosts {
			h.Metadata = nil
		}
	}
	return nil
}

func matchName(host string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue(host)}}
}

// tlsSocket verifies the other side's chain and name: Envoy's default is to
// verify neither. own may be nil, and alpn, where the protocol is negotiated by
// the cluster's options.
func tlsSocket(name, ca string, alpn []string, own *ClientTLS) (*corev3.TransportSocket, error) {
	if ca == "" {
		var err error
		if ca, err = SystemCA(); err != nil {
			return nil, err
		}
	}
	tls := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: alpn}}
	san := tlsv3.SubjectAltNameMatcher_DNS
	if isIP(name) {
		// "Literal IPv4 and IPv6 addresses are not permitted in HostName."
		// https://www.rfc-editor.org/rfc/rfc6066#section-3
		san = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	} else {
		tls.Sni = name
	}
	check := &tlsv3.CertificateValidationContext{TrustedCa: file(ca)}
	if name != "" {
		check.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{
			SanType: san,
			Matcher: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: name}},
		}}
	}
	tls.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: check}
	if own != nil && own.Cert != "" {
		tls.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{{
			CertificateChain: file(own.Cert), PrivateKey: file(own.Key),
		}}
	}
	a, err := anyOf(tls)
	if err != nil {
		return nil, err
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: a},
	}, nil
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}
