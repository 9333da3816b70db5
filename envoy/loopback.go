package envoy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	previoushosts "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// loopbackBuffer is smaller than a client's: what a client does not read waits
	// here as well, and in the processor between the two.
	loopbackBuffer = 256 << 10
	// loopbackHeaderKiB and loopbackHeaders leave room for what the first pass
	// through Envoy has added: a request that got in must not fail here.
	loopbackHeaderKiB = 2 * maxHeaderKiB
	loopbackHeaders   = maxHeaders + 100
)

// Headers between the processor and this configuration. The processor has its own
// names for them; the end-to-end tests fail if they are not these.
const (
	ticketHeader = "x-holdfast-ticket"
	passHeader   = "x-holdfast-pass"
	hopsHeader   = "x-holdfast-hops"
	// endHeader asks for a trailer that says how a stream ended.
	endHeader = "x-holdfast-end"
	// upstreamHeader is where a fetched response says which host sent it.
	upstreamHeader = "x-holdfast-upstream"
)

// private are the request headers that origins never see.
func private() []string { return []string{endHeader, hopsHeader, passHeader, peekHeader, ticketHeader} }

// loopbackListener is the processor's way back to the upstreams. Clients must not
// reach it: it believes what a request says about where it came from.
func loopbackListener(o *Options) (*listenerv3.Listener, error) {
	at, err := o.Loopback.bindable()
	if err != nil {
		return nil, fmt.Errorf("the loopback listener: %w", err)
	}
	if !at.isLoopback() {
		return nil, fmt.Errorf("the loopback listener at %s could be reached from other machines, and what comes there is trusted; "+
			"use 127.0.0.1, [::1] or unix:/path", at)
	}
	if at == o.Listen {
		return nil, errors.New("the loopback listener and the one for clients have the same address; give them different ones")
	}
	manager, err := loopbackManager(o)
	if err != nil {
		return nil, err
	}
	chain, err := filterChain(manager)
	if err != nil {
		return nil, err
	}
	l := &listenerv3.Listener{
		Name:                          LoopbackListener,
		Address:                       at.proto(),
		FilterChains:                  []*listenerv3.FilterChain{chain},
		PerConnectionBufferLimitBytes: u32(loopbackBuffer),
		DrainType:                     listenerv3.Listener_MODIFY_ONLY,
		TrafficDirection:              corev3.TrafficDirection_OUTBOUND,
		ConnectionBalanceConfig:       evenly(),
	}
	if !at.IsUnix() {
		l.EnableReusePort = no()
	}
	return l, nil
}

// isLoopback says that only this machine can connect.
func (a Address) isLoopback() bool {
	if a.IsUnix() {
		return true
	}
	ip, err := netip.ParseAddr(a.Host)
	return err == nil && ip.IsLoopback()
}

// loopbackManager changes nothing that the first pass through Envoy has settled:
// the request id, who the client is, the path.
func loopbackManager(o *Options) (*hcm.HttpConnectionManager, error) {
	last, err := routerFilter()
	if err != nil {
		return nil, err
	}
	routes, err := loopbackRoutes(o)
	if err != nil {
		return nil, err
	}
	m := connectionManager(LoopbackListener, routes, last)
	m.UseRemoteAddress = no()
	m.SkipXffAppend = true
	m.MaxRequestHeadersKb = u32(loopbackHeaderKiB)
	m.CommonHttpProtocolOptions.MaxHeadersCount = u32(loopbackHeaders)
	m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:                    u32(streamsPerConnection),
		InitialStreamWindowSize:                 u32(streamWindow),
		InitialConnectionWindowSize:             u32(streamWindow * streamsPerConnection),
		OverrideStreamErrorOnInvalidHttpMessage: yes(),
	}
	return m, nil
}

// loopbackRoutes lead where the public ones do, and say what Envoy may repeat by
// itself. That ends where the response begins: from there on it is the processor
// that decides, which knows what the client has.
func loopbackRoutes(o *Options) (*routev3.RouteConfiguration, error) {
	safe := mainRoute(o)
	safe.Name = SafeRoute
	safe.Match.Headers = []*routev3.HeaderMatcher{readingMethods()}
	other := mainRoute(o)
	for route, on := range map[*routev3.Route]string{safe: safeRetries, other: otherRetries} {
		policy, err := retryPolicy(on)
		if err != nil {
			return nil, err
		}
		route.GetRoute().RetryPolicy = policy
	}
	all := []*routev3.Route{safe, other}
	if o.Peek != nil {
		if err := errors.Join(noPeek(safe), noPeek(other)); err != nil {
			return nil, err
		}
		peeks, err := peekRoutes(o)
		if err != nil {
			return nil, err
		}
		all = append(peeks, all...)
	}
	for _, route := range all {
		route.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{
			// The processor knows hosts by both, as the filter before them tells them.
			Header:       &corev3.HeaderValue{Key: upstreamHeader, Value: "%UPSTREAM_CLUSTER_RAW% %UPSTREAM_REMOTE_ADDRESS%"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}}
	}
	return routes(LoopbackListener, all...), nil
}

// What Envoy repeats by itself: failures before a response begins, and of methods
// that may change something only those before a host has seen the request.
const (
	safeRetries  = "connect-failure,refused-stream,reset"
	otherRetries = "connect-failure,refused-stream,reset-before-request"
)

// retryPolicy tries another host, if there is one, before the processor hears of
// a failure.
func retryPolicy(on string) (*routev3.RetryPolicy, error) {
	other, err := anyOf(&previoushosts.PreviousHostsPredicate{})
	if err != nil {
		return nil, err
	}
	return &routev3.RetryPolicy{
		RetryOn:    on,
		NumRetries: u32(2),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: other},
		}},
		HostSelectionRetryMaxAttempts: 5,
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(10 * time.Millisecond),
			MaxInterval:  durationpb.New(100 * time.Millisecond),
		},
	}, nil
}

// layeredRuntime lifts a limit that has no other setting.
func layeredRuntime() *bootstrapv3.LayeredRuntime {
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name: "static",
		LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: map[string]*structpb.Value{
			"overload.premature_reset_total_stream_count": structpb.NewNumberValue(1<<32 - 1),
		}}},
	}}}
}
