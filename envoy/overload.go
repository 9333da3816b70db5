package envoy

import (
	"time"

	overload "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connections "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heap "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	heapRefresh        = 250 * time.Millisecond
	heapMonitor        = "envoy.resource_monitors.fixed_heap"
	connectionsMonitor = "envoy.resource_monitors.global_downstream_max_connections"
	// maxClients is far above what the heap limit lets in; Envoy wants a number, and
	// warns at every start without one.
	maxClients = 100_000
)

// overloadManager makes a full heap cost the clients that fill it, instead of
// every client when the kernel kills the process.
//
// The action reduce_timeouts is left out on purpose: under pressure it would
// shorten idle timeouts, and quiet event streams would be the first to go.
func overloadManager(heapBytes uint64) (*overload.OverloadManager, error) {
	heapMon, err := monitor(heapMonitor, &heap.FixedHeapConfig{MaxHeapSizeBytes: heapBytes})
	if err != nil {
		return nil, err
	}
	connMon, err := monitor(connectionsMonitor, &connections.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxClients})
	if err != nil {
		return nil, err
	}
	return &overload.OverloadManager{
		RefreshInterval:  durationpb.New(heapRefresh),
		ResourceMonitors: []*overload.ResourceMonitor{heapMon, connMon},
		// Only streams that have 2^18 bytes and more waiting are worth a reset.
		BufferFactoryConfig: &overload.BufferFactoryConfig{MinimumAccountToTrackPowerOfTwo: 18},
		Actions: []*overload.OverloadAction{
			{Name: "envoy.overload_actions.shrink_heap", Triggers: above(0.90)},
			{Name: "envoy.overload_actions.disable_http_keepalive", Triggers: above(0.92)},
			{Name: "envoy.overload_actions.reset_high_memory_stream", Triggers: between(0.94, 0.99)},
			{Name: "envoy.overload_actions.stop_accepting_requests", Triggers: above(0.96)},
			{Name: "envoy.overload_actions.stop_accepting_connections", Triggers: above(0.98)},
		},
	}, nil
}

func monitor(name string, config proto.Message) (*overload.ResourceMonitor, error) {
	a, err := anyOf(config)
	if err != nil {
		return nil, err
	}
	return &overload.ResourceMonitor{
		Name:       name,
		ConfigType: &overload.ResourceMonitor_TypedConfig{TypedConfig: a},
	}, nil
}

func above(share float64) []*overload.Trigger {
	return []*overload.Trigger{{
		Name:         heapMonitor,
		TriggerOneof: &overload.Trigger_Threshold{Threshold: &overload.ThresholdTrigger{Value: share}},
	}}
}

// between grows the action from nothing at low to everything at high.
func between(low, high float64) []*overload.Trigger {
	return []*overload.Trigger{{
		Name: heapMonitor,
		TriggerOneof: &overload.Trigger_Scaled{
			Scaled: &overload.ScaledTrigger{ScalingThreshold: low, SaturationThreshold: high},
		},
	}}
}
