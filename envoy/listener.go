package envoy

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
)

const (
	// connectionBuffer bounds what one connection to an upstream or the processor
	// may have waiting.
	connectionBuffer = 512 << 10
	// clientBuffer and clientPatience also say which slow clients are closed: those
	// that need longer than the patience to read half of the buffer, below 440 B/s.
	// A larger buffer or a shorter patience would cut downloads over bad links.
	clientBuffer   = 256 << 10
	clientPatience = 300
	// injectedBuffer and injectedPatience take their place where responses are
	// injected: whatever is injected meanwhile is taken in. At limits' defaults, 1 MiB
	// at once and 1 MiB a second, such a client costs 7 MiB. The buffer is smaller
	// too, so that a download needs no more than 6.5 KiB/s to be left alone.
	injectedBuffer   = 64 << 10
	injectedPatience = 5
	// maxHeaderKiB and maxHeaders are several times what browsers and agents send:
	// a request that reaches the upstream without Envoy must reach it with Envoy.
	maxHeaderKiB = 256
	maxHeaders   = 1000
)

// publicListener is where clients come.
func publicListener(o *Options) (*listenerv3.Listener, error) {
	at, err := o.Listen.bindable()
	if err != nil {
		return nil, err
	}
	manager, err := publicManager(o)
	if err != nil {
		return nil, err
	}
	chain, err := filterChain(manager)
	if err != nil {
		return nil, err
	}
	buffer, patience := uint32(clientBuffer), int64(clientPatience)
	if o.Immediate {
		buffer, patience = injectedBuffer, injectedPatience
	}
	l := &listenerv3.Listener{
		Name:                                    PublicListener,
		Address:                                 at.proto(),
		FilterChains:                            []*listenerv3.FilterChain{chain},
		PerConnectionBufferLimitBytes:           u32(buffer),
		PerConnectionBufferHighWatermarkTimeout: seconds(patience),
		TrafficDirection:                        corev3.TrafficDirection_INBOUND,
	}
	if !at.IsUnix() {
		l.EnableReusePort = no()
		l.ConnectionBalanceConfig = evenly()
		l.TcpKeepalive = tcpKeepalive()
	}
	return l, nil
}

// evenly spreads connections over the workers.
func evenly() *listenerv3.Listener_ConnectionBalanceConfig {
	return &listenerv3.Listener_ConnectionBalanceConfig{
		BalanceType: &listenerv3.Listener_ConnectionBalanceConfig_ExactBalance_{
			ExactBalance: &listenerv3.Listener_ConnectionBalanceConfig_ExactBalance{},
		},
	}
}

func filterChain(m *hcm.HttpConnectionManager) (*listenerv3.FilterChain, error) {
	a, err := anyOf(m)
	if err != nil {
		return nil, err
	}
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: a},
	}}}, nil
}

// publicManager handles HTTP from clients.
func publicManager(o *Options) (*hcm.HttpConnectionManager, error) {
	place := map[string]string{reportedKey: "1"}
	if o.Version != (Version{}) {
		place[versionKey] = o.Version.String()
	}
	if o.Peek != nil {
		place[peeksKey] = "1"
	}
	var filters []*hcm.HttpFilter
	if o.Relay != (Address{}) {
		place[endsKey] = "1"
		end, err := endFilter()
		if err != nil {
			return nil, err
		}
		filters = append(filters, end)
	}
	extProc, err := extProcFilter(o, place)
	if err != nil {
		return nil, err
	}
	last, err := routerFilter()
	if err != nil {
		return nil, err
	}
	logs, err := accessLogs(o)
	if err != nil {
		return nil, err
	}
	routes, err := publicRoutes(o)
	if err != nil {
		return nil, err
	}
	filters = slices.Concat([]*hcm.HttpFilter{extProc}, filters, []*hcm.HttpFilter{last})
	m := connectionManager(PublicListener, routes, filters...)
	m.StreamFlushTimeout = seconds(300)
	// The edge decides who the client is: what a client claims in
	// X-Forwarded-For is appended to, never believed.
	m.UseRemoteAddress = yes()
	m.PreserveExternalRequestId = true
	m.MaxRequestHeadersKb = u32(maxHeaderKiB)
	m.CommonHttpProtocolOptions.MaxHeadersCount = u32(maxHeaders)
	m.UpgradeConfigs = []*hcm.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
	m.AccessLog = logs
	if o.Immediate {
		m.AccessLogOptions = &hcm.HttpConnectionManager_HcmAccessLogOptions{AccessLogFlushInterval: seconds(receiptInterval)}
	}
	return m, nil
}

// connectionManager is what all listeners have in common: whatever is not about streams is
// set so that the upstream sees what the client sent and the client sees what the
// upstream sent. A request that passes two of them must come out as it went in, so
// paths in particular are treated here and nowhere else.
func connectionManager(name string, to *routev3.RouteConfiguration, filters ...*hcm.HttpFilter) *hcm.HttpConnectionManager {
	return &hcm.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{RouteConfig: to},
		HttpFilters:    filters,

		StreamIdleTimeout:     seconds(0),
		InternalAddressConfig: &hcm.HttpConnectionManager_InternalAddressConfig{},
		GenerateRequestId:     yes(),

		ServerHeaderTransformation:   hcm.HttpConnectionManager_PASS_THROUGH,
		NormalizePath:                no(),
		MergeSlashes:                 false,
		PathWithEscapedSlashesAction: hcm.HttpConnectionManager_KEEP_UNCHANGED,

		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{},
		HttpProtocolOptions:       &corev3.Http1ProtocolOptions{EnableTrailers: true, AcceptHttp_10: true},
	}
}

// routerFilter is the last filter of every listener.
func routerFilter() (*hcm.HttpFilter, error) {
	return httpFilter("envoy.filters.http.router", &router.Router{SuppressEnvoyHeaders: true})
}

func publicRoutes(o *Options) (*routev3.RouteConfiguration, error) {
	var all []*routev3.Route
	if o.Relay != (Address{}) {
		ticket, err := ticketRoute(o)
		if err != nil {
			return nil, err
		}
		all = append(all, ticket)
	}
	last := mainRoute(o)
	if o.Peek != nil {
		peeks, err := peekRoutes(o)
		if err != nil {
			return nil, err
		}
		all = append(all, peeks...)
		if err := noPeek(last); err != nil {
			return nil, err
		}
	}
	return routes(PublicListener, append(all, last)...), nil
}

// mainRoute leads to the upstreams.
func mainRoute(o *Options) *routev3.Route {
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: UpstreamCluster},
		Timeout:          seconds(0),
		IdleTimeout:      seconds(0),
	}
	rewriteHost(action, o.Upstreams)
	return &routev3.Route{
		Name:                   MainRoute,
		Match:                  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action:                 &routev3.Route_Route{Route: action},
		RequestHeadersToRemove: private(),
	}
}

func routes(name string, all ...*routev3.Route) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*routev3.VirtualHost{{Name: "everything", Domains: []string{"*"}, Routes: all}},
	}
}

// rewriteHost gives upstreams that were named by DNS their own name as Host:
// sites behind a shared address answer to nothing else. An upstream given as an
// address is somebody's own server, and gets the name the client used.
func rewriteHost(a *routev3.RouteAction, ups []Upstream) {
	name, local, several := ups[0].authority(), true, false
	for _, u := range ups {
		local = local && u.isLocal()
		several = several || u.authority() != name
	}
	switch {
	case local:
		return
	case several:
		a.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: yes()}
	default:
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: name}
	}
	a.AppendXForwardedHost = true
}

func httpFilter(name string, config proto.Message) (*hcm.HttpFilter, error) {
	a, err := anyOf(config)
	if err != nil {
		return nil, err
	}
	return &hcm.HttpFilter{Name: name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: a}}, nil
}

func tcpKeepalive() *corev3.TcpKeepalive {
	return &corev3.TcpKeepalive{KeepaliveTime: u32(30), KeepaliveInterval: u32(10), KeepaliveProbes: u32(6)}
}
