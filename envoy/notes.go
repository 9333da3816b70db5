package envoy

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// note says why a setting has the value it has: what breaks without it.
type note struct {
	field protoreflect.FullName // the field's full protobuf name
	owner string                // listener, cluster or ticket route it is set in; "": the first place
	text  string                // one sentence, or two
}

// allNotes is in the order of the printed configuration.
func allNotes() []note {
	const (
		listener  = "envoy.config.listener.v3.Listener."
		manager   = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager."
		routing   = "envoy.config.route.v3.RouteAction."
		route     = "envoy.config.route.v3.Route."
		processor = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor."
		clusters  = "envoy.config.cluster.v3.Cluster."
		http2     = "envoy.config.core.v3.Http2ProtocolOptions."
		retrying  = "envoy.config.route.v3.RetryPolicy."
		overload  = "envoy.config.overload.v3.OverloadManager."
	)
	return []note{
		{
			listener + "per_connection_buffer_limit_bytes", PublicListener,
			"What a client has not read yet waits here; beyond this the upstream is slowed down instead.",
		},
		{
			listener + "connection_balance_config", PublicListener,
			"Connections live for hours, so an unlucky spread over the workers would never even out.",
		},
		{
			listener + "enable_reuse_port", PublicListener,
			"With port sharing a second Envoy could take the same port without an error, and each would get half of the clients.",
		},
		{
			listener + "tcp_keepalive", PublicListener,
			"A client that vanished without a word (laptop lid, dead NAT entry) is noticed after 90 s, and its stream ends.",
		},
		{
			listener + "per_connection_buffer_high_watermark_timeout", PublicListener,
			"A client that stops reading without closing would hold its buffers for ever; after this long it is closed.",
		},

		{
			manager + "access_log_options", PublicListener,
			"Injected responses know no back pressure. Streams that ask for it have the processor told what their clients were sent.",
		},
		{
			manager + "http_filters", PublicListener,
			"Exactly one filter here may use full-duplex bodies, for two of them truncate streams. A compressor belongs before it in this list.",
		},
		{
			manager + "common_http_protocol_options", PublicListener,
			"There is no max_stream_duration here: it would cut every stream that reaches it. " +
				"The counts and sizes of headers are generous so that no request fails here that the upstream would take.",
		},
		{
			manager + "stream_idle_timeout", PublicListener,
			"The default of 5 minutes cuts a stream that is merely quiet; silence is judged by the processor, which knows what is normal.",
		},
		{
			manager + "stream_flush_timeout", PublicListener,
			"Without stream_idle_timeout, this is what ends a finished stream whose client never reads the rest.",
		},
		{
			manager + "server_header_transformation", PublicListener,
			"The upstream's own Server header reaches the client; the default writes \"envoy\" over it.",
		},
		{
			manager + "use_remote_address", PublicListener,
			"Clients cannot choose their own address: X-Forwarded-For is appended to, and x-envoy-* headers from outside are dropped. " +
				"Behind another proxy that you trust, set xff_num_trusted_hops as well.",
		},
		{
			manager + "normalize_path", PublicListener,
			"Paths reach the upstream byte for byte as the client sent them; every listener of this file must treat them the same way.",
		},
		{
			manager + "preserve_external_request_id", PublicListener,
			"A request id that the client brought is kept, so that its logs and ours name the request alike.",
		},

		{
			manager + "access_log", PublicListener,
			"The logger http_grpc tells the processor how its streams ended: to the filter, a client that left and an upstream that broke off " +
				"look the same. Unbuffered, for the stream's outcome waits for it; only streams of the processor are logged to it.",
		},

		{
			route + "match", TicketRoute,
			"What the processor holds: its answer to the request's headers has set this header and made Envoy choose the route again. " +
				"It has to come before every other route, without a retry policy and without rewriting, for a ticket is good for one request as it is.",
		},
		{
			route + "typed_per_filter_config", TicketRoute,
			"At the end of such a response, and only then, the filter holdfast.ends learns from the processor's trailer how the stream went, " +
				"for the access log, and takes the trailer off.",
		},
		{
			route + "request_headers_to_remove", PublicListener,
			"Between Envoy and the processor only; origins have no use for them.",
		},
		{
			routing + "timeout", PublicListener,
			"The default of 15 s counts the whole response and would cut every event stream that lives longer.",
		},
		{
			routing + "idle_timeout", PublicListener,
			"A route's idle timeout would overrule stream_idle_timeout; if you set one, make it at least three heartbeats.",
		},

		{
			routing + "retry_policy", PublicListener,
			"Only requests that the processor has marked with x-holdfast-peek come to these two routes. It sees each try from the filter before the host, " +
				"and marks an answer that another host should be asked for instead of. 5xx is not in the list: whether a status is a failure, the processor decides by policy.",
		},
		{
			retrying + "host_selection_retry_max_attempts", PublicListener,
			"A host that fails at once always has the fewest requests and is drawn most often; this many draws find one that was not tried.",
		},
		{
			retrying + "per_try_timeout", PublicListener,
			"A host that does not answer is given up for another. It ends where the response begins, so it cuts no stream. " +
				"Do not add a hedge_policy: with a filter in the cluster that holds responses, Envoy 1.40 crashes when two tries answer at once.",
		},
		{
			route + "request_body_buffer_limit", PublicListener,
			"So much of a request's body is kept to be sent again; a request with a larger one is made once.",
		},
		{
			route + "typed_per_filter_config", PublicListener,
			"All other requests do without the filter before the host, and so without asking the processor a second time.",
		},

		{
			processor + "grpc_service", "",
			"The metadata promises the access log http_grpc; without that, leave it out.",
		},
		{
			processor + "failure_mode_allow", "",
			"If the processor is away, new requests go to the upstream as if this filter were not there; otherwise they would get a 500.",
		},
		{
			processor + "processing_mode", "",
			"Body modes stay at their default NONE: the processor asks for a body by mode_override, stream by stream, " +
				"so that other responses cost nothing. A static FULL_DUPLEX_STREAMED would make Envoy ignore those overrides.",
		},
		{
			processor + "allow_mode_override", "",
			"Without this every mode_override is ignored, and the processor never sees a single event.",
		},
		{
			processor + "message_timeout", "",
			"A processor that does not answer delays a request by this much, and is then left out.",
		},
		{
			processor + "max_message_timeout", "",
			"The default of 0 forbids the processor to ask for more time, which it needs while it waits for a slow upstream's first byte.",
		},
		{
			processor + "mutation_rules", "",
			"The processor asks upstreams for uncompressed streams and sets x-envoy-* headers for retries; the latter are refused by default.",
		},
		{
			processor + "request_attributes", "",
			"Which route and cluster Envoy chose; the processor has no other way to know.",
		},
		{
			processor + "metadata_options", "",
			"Outcomes and counts from the processor are accepted under this name and can be logged with %DYNAMIC_METADATA(holdfast)%; by default they are dropped.",
		},

		{
			listener + "traffic_direction", PublicListener,
			"When Envoy drains by /drain_listeners?inboundonly, this listener closes and the loopback listener, if there is one, stays.",
		},
		{
			listener + "per_connection_buffer_limit_bytes", LoopbackListener,
			"What waits here for a client that does not read, waits in front of the client as well; so this is the smaller share.",
		},
		{
			listener + "drain_type", LoopbackListener,
			"While Envoy drains, streams that are held may still have to be fetched again; the default would close the processor's connections.",
		},
		{
			listener + "connection_balance_config", LoopbackListener,
			"The processor makes few connections, each with many streams: each worker gets its share.",
		},
		{
			manager + "http_filters", LoopbackListener,
			"The way back to the upstreams, for the processor only: with its own filter here, a request would come back to it again and again.",
		},
		{
			manager + "http2_protocol_options", LoopbackListener,
			"Streams of many clients share a connection: one bad message must not end it for all, nor one slow upload starve the others.",
		},
		{
			manager + "use_remote_address", LoopbackListener,
			"The public listener has settled who the client is, and X-Forwarded-For says so already.",
		},
		{
			manager + "stream_idle_timeout", LoopbackListener,
			"As on the public listener: silence is for the processor to judge.",
		},
		{
			manager + "max_request_headers_kb", LoopbackListener,
			"More than on the public listener, where headers were added: a request that got in must not fail here.",
		},
		{
			route + "response_headers_to_add", LoopbackListener,
			"Which host answered, for the processor's health of hosts; it removes the header.",
		},
		{
			routing + "retry_policy", LoopbackListener,
			"What fails before a response begins is tried on another host. Methods that may change something are repeated only if no host has seen " +
				"the request; hence two routes. After the response has begun, the processor goes on from the client's last event.",
		},

		{
			clusters + "circuit_breakers", UpstreamCluster,
			"An open stream counts as a request, and the default of 1024 refuses every client after that with 503.",
		},
		{
			clusters + "outlier_detection", UpstreamCluster,
			"A host that cannot be reached rests for a while; statuses such as 500 are the upstream's own business and do not count.",
		},
		{
			clusters + "upstream_connection_options", UpstreamCluster,
			"A quiet stream sends nothing for minutes; keepalive stops firewalls and NATs on the way from forgetting it.",
		},
		{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.http_filters", UpstreamCluster,
			"The filter before each host, for the routes named peek. It needs Envoy 1.38: earlier ones crash when a response that is held back here is given up.",
		},
		{
			http2 + "connection_keepalive", UpstreamCluster,
			"A dead connection is noticed although its streams are quiet.",
		},
		{
			http2 + "initial_stream_window_size", UpstreamCluster,
			"The default of 16 MiB is buffered for each client that stops reading.",
		},
		{
			http2 + "initial_connection_window_size", UpstreamCluster,
			"Streams per connection times the stream's window: clients that stop reading can never starve the others on the connection.",
		},

		{
			clusters + "health_checks", ProcessorCluster,
			"A processor that is draining or stuck gets no new streams after a few seconds; streams it already has are not touched.",
		},
		{
			clusters + "circuit_breakers", ProcessorCluster,
			"Every event stream is one request here; with the default of 1024 the next ones bypass the processor or fail with 500.",
		},
		{
			clusters + "common_lb_config", ProcessorCluster,
			"No panic mode: with no healthy processor, requests go straight to the upstream instead of waiting for one.",
		},
		{
			http2 + "initial_stream_window_size", ProcessorCluster,
			"The default of 16 MiB is what Envoy would buffer for each client that stops reading.",
		},
		{
			http2 + "initial_connection_window_size", ProcessorCluster,
			"Streams per connection times the stream's window: clients that stop reading can never starve the others on the connection.",
		},
		{
			http2 + "connection_keepalive", ProcessorCluster,
			"A processor that died without closing is noticed although its streams are quiet. It has to permit pings this frequent; holdfast does.",
		},

		{
			clusters + "circuit_breakers", RelayCluster,
			"Every stream that is held is one request here.",
		},
		{
			http2 + "initial_stream_window_size", RelayCluster,
			"A client that stops reading stops the processor after this much, and so its upstream; the default is 16 MiB.",
		},
		{
			clusters + "health_checks", RelayCluster,
			"Several processors behind one name: one that drains or is gone gets no more streams. Any of them honours the others' tickets if fetch.pass_key_file is the same.",
		},
		{
			"envoy.config.core.v3.GrpcService.retry_policy", "",
			"A processor that cannot be reached is made up for by another. Without this its requests go to the upstream unattended until its health check fails.",
		},
		{
			"envoy.config.route.v3.RouteAction.hash_policy", TicketRoute,
			"One client, one processor, as long as it lives: what it remembers of the client is at hand.",
		},

		{
			"envoy.config.bootstrap.v3.Bootstrap.layered_runtime", "",
			"Clients that leave early are resets on the connections they share, here and on the way back. After 500 requests of which half were reset " +
				"before their response, Envoy would close such a connection with every stream on it. HTTP/2's own limit on the rate of resets stays.",
		},

		{
			"envoy.config.core.v3.Pipe.mode", "",
			"Octal 0600: the interface can stop Envoy, so only this user may use it.",
		},

		{
			overload + "actions", "",
			"Near the heap limit the largest buffers go first and new requests are refused; without this the kernel ends all streams at once. " +
				"reduce_timeouts must not be added: it would end the quiet streams.",
		},
	}
}

// notesOf finds where in a message the notes belong: path to text, a path being
// "/" and a field's name or an index, again and again.
func notesOf(m protoreflect.Message) (map[string]string, error) {
	w := noteWalk{left: allNotes(), at: map[string]string{}}
	err := w.message(m, "", "")
	return w.at, err
}

type noteWalk struct {
	left []note
	at   map[string]string
}

func (w *noteWalk) message(m protoreflect.Message, path, owner string) error {
	switch m.Descriptor().FullName() {
	case "google.protobuf.Any":
		// Printed in place of the Any, with its fields at the same path.
		box, ok := m.Interface().(*anypb.Any)
		if !ok {
			return fmt.Errorf("%s: an Any of type %T", path, m.Interface())
		}
		inner, err := box.UnmarshalNew()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return w.message(inner.ProtoReflect(), path, owner)
	case "envoy.config.listener.v3.Listener", "envoy.config.cluster.v3.Cluster":
		owner = m.Get(m.Descriptor().Fields().ByName("name")).String()
	case "envoy.config.route.v3.Route":
		if name := m.Get(m.Descriptor().Fields().ByName("name")).String(); name == TicketRoute {
			owner = name
		}
	}
	var failed error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := path + "/" + string(f.Name())
		w.mark(f.FullName(), at, owner)
		failed = w.field(f, v, at, owner)
		return failed == nil
	})
	return failed
}

func (w *noteWalk) field(f protoreflect.FieldDescriptor, v protoreflect.Value, at, owner string) error {
	switch {
	case f.IsMap():
		if f.MapValue().Message() == nil {
			return nil
		}
		var failed error
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			failed = w.message(v.Message(), at+"/"+k.String(), owner)
			return failed == nil
		})
		return failed
	case f.Message() == nil:
		return nil
	case f.IsList():
		for i := range v.List().Len() {
			if err := w.message(v.List().Get(i).Message(), at+"/"+strconv.Itoa(i), owner); err != nil {
				return err
			}
		}
		return nil
	default:
		return w.message(v.Message(), at, owner)
	}
}

// mark uses a note up, so that a repeated setting is explained once.
func (w *noteWalk) mark(field protoreflect.FullName, at, owner string) {
	for i, n := range w.left {
		if n.field == field && (n.owner == "" || n.owner == owner) {
			w.at[at] = n.text
			w.left = append(w.left[:i], w.left[i+1:]...)
			return
		}
	}
}
