package envoy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	codec "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	upstreamhttp "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

const (
	// positionKey and positionUpstream tell the processor that a filter stands
	// before a host, so that each try of a request is an exchange of its own.
	positionKey      = "holdfast-position"
	positionUpstream = "upstream"
	// retryHeader marks what the processor wants another host to be asked for.
	retryHeader = "x-holdfast-retry"
)

// addPeek puts the filter into a cluster, just before the request goes to a host.
func addPeek(o *Options, c *clusterv3.Cluster) error {
	filter, err := extProcFilter(o, positionKey, positionUpstream)
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
	opts.HttpFilters = append(opts.HttpFilters, filter, last)
	c.TypedExtensionProtocolOptions[httpProtocolOptions], err = anyOf(&opts)
	return err
}
