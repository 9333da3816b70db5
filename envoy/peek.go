package envoy

import (
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutation "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headermutation "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	codec "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamhttp "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Peek is how Envoy tries hosts one after the other until the processor, which
// sees how each one's response begins, lets one pass.
type Peek struct {
	// Patience is how long a host may take to answer before another is asked. The
	// processor's own patience, health.connect_timeout, should be the shorter one.
	Patience time.Duration
	// RequestBytes is how much of a request's body is kept, so that it can be sent
	// again; a request with a larger one is sent once. Zero: what a connection
	// buffers anyway.
	RequestBytes uint64
}

const (
	// PeekFilter is the filter in the upstream cluster. Its name is not that of
	// the one in the listener, so that routes can switch off one of them.
	PeekFilter = "holdfast.peek"

	// positionKey and positionUpstream tell the processor that a filter stands
	// before a host, so that each try of a request is an exchange of its own;
	// triesKey, how many of those there are at most.
	positionKey      = "holdfast-position"
	positionUpstream = "upstream"
	triesKey         = "holdfast-tries"
	// peeksKey tells the processor, of a filter in a listener, that peekHeader
	// leads to such tries.
	peeksKey = "holdfast-peek"

	// peekHeader marks a request that the processor wants to see the tries of. Its
	// value is the policy's name.
	peekHeader = "x-holdfast-peek"
	// retryHeader marks what the processor wants another host to be asked for.
	retryHeader = "x-holdfast-retry"
)

// Requests are tried on each host once, as far as that is not too many: a client
// waits meanwhile, and for a service of hundreds of hosts its fault is not the
// host's.
const (
	leastTries = 3
	mostTries  = 10
	// otherHost is how often Envoy draws again to find a host that was not tried
	// yet. Of two hosts one that fails at once has always the fewest requests, so
	// that it is drawn three times of four: in fifty draws the other one turns up.
	otherHost = 50
)

func tries(o *Options) uint32 {
	return uint32(min(max(len(o.Upstreams), leastTries), mostTries))
}

// addPeek puts the filter into a cluster, just before the request goes to a host.
func addPeek(o *Options, c *clusterv3.Cluster) error {
	filter, err := extProcFilter(o, map[string]string{
		positionKey: positionUpstream, triesKey: strconv.Itoa(int(tries(o))),
	})
	if err != nil {
		return err
	}
	filter.Name = PeekFilter
	// Also when the processor is away, the origin sees nothing of it.
	clean, err := httpFilter("envoy.filters.http.header_mutation", &headermutation.HeaderMutation{
		Mutations: &headermutation.Mutations{RequestMutations: []*mutation.HeaderMutation{{
			Action: &mutation.HeaderMutation_Remove{Remove: peekHeader},
		}}},
	})
	if err != nil {
		return err
	}
	// A cluster that has filters of its own has to end them with this one.
	last, err := httpFilter("envoy.filters.http.upstream_codec", &codec.UpstreamCodec{})
	if err != nil {
		return err
	}
	var opts upstreamhttp.HttpProtocolOptions
	if err := c.GetTypedExtensionProtocolOptions()[httpProtocolOptions].UnmarshalTo(&opts); err != nil {
		return err
	}
	opts.HttpFilters = []*hcm.HttpFilter{filter, clean, last}
	c.TypedExtensionProtocolOptions[httpProtocolOptions], err = anyOf(&opts)
	return err
}

// peekRoutes are two for the requests of which the processor wants to see the
// tries: reading methods, and others, which the processor sends here only if a
// policy allows it.
func peekRoutes(o *Options) ([]*routev3.Route, error) {
	reading := mainRoute(o)
	reading.Name = PeekSafeRoute
	reading.Match.Headers = []*routev3.HeaderMatcher{present(peekHeader), readingMethods()}
	other := mainRoute(o)
	other.Name = PeekRoute
	other.Match.Headers = []*routev3.HeaderMatcher{present(peekHeader)}
	for _, route := range []*routev3.Route{reading, other} {
		on := safeRetries
		if route == other {
			on = otherRetries
		}
		policy, err := retryPolicy(on + ",retriable-headers")
		if err != nil {
			return nil, err
		}
		policy.NumRetries = u32(tries(o) - 1)
		policy.HostSelectionRetryMaxAttempts = otherHost
		policy.RetriableHeaders = []*routev3.HeaderMatcher{present(retryHeader)}
		if route == reading {
			// Others may be at work where they are silent, and must not be made twice
			// at a time. From the first byte of the response on this is without effect.
			policy.PerTryTimeout = durationpb.New(o.Peek.Patience)
		}
		route.GetRoute().RetryPolicy = policy
		route.RequestHeadersToRemove = without(route.GetRequestHeadersToRemove(), peekHeader)
		route.ResponseHeadersToRemove = []string{retryHeader}
	}
	if n := o.Peek.RequestBytes; n > 0 {
		other.RequestBodyBufferLimit = wrapperspb.UInt64(n)
	}
	return []*routev3.Route{reading, other}, nil
}

// noPeek switches the cluster's filter off for a route.
func noPeek(r *routev3.Route) error {
	off, err := anyOf(&extprocfilterv3.ExtProcPerRoute{Override: &extprocfilterv3.ExtProcPerRoute_Disabled{Disabled: true}})
	if err != nil {
		return err
	}
	r.TypedPerFilterConfig = map[string]*anypb.Any{PeekFilter: off}
	return nil
}

func present(header string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: header, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
}

// readingMethods are those that may be repeated at any time:
//
//	"A request method is considered 'safe' if [its] defined semantics are
//	essentially read-only": https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1
func readingMethods() *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name: ":method",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcher.StringMatcher{
			MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: "GET|HEAD|OPTIONS"}},
		}},
	}
}

func without(names []string, name string) []string {
	var left []string
	for _, n := range names {
		if n != name {
			left = append(left, n)
		}
	}
	return left
}

// initialMetadata is what a filter tells the processor about its place, in a
// fixed order.
func initialMetadata(place map[string]string) []*corev3.HeaderValue {
	var all []*corev3.HeaderValue
	for _, key := range []string{reportedKey, versionKey, endsKey, peeksKey, positionKey, triesKey} {
		if v, ok := place[key]; ok {
			all = append(all, &corev3.HeaderValue{Key: key, Value: v})
		}
	}
	return all
}
