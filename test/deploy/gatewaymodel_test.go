//go:build deploy

package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// gatewayModel makes of objects what Envoy Gateway 1.9 makes of them, as far as the
// example uses it: internal/gatewayapi and internal/xds/translator of its sources.
// A field of the example that it does not know is an error.
type gatewayModel struct {
	t         *testing.T
	bootstrap object
	manager   object
	objects   []object
}

const (
	extprocCluster = "envoyextensionpolicy/default/holdfast/extproc/0"
	extprocFilter  = "envoy.filters.http.ext_proc/" + extprocCluster
)

// gatewayEnvoy is the Envoy of the gateway, at ports that stand for places.
func gatewayEnvoy(t *testing.T, files ...string) object {
	t.Helper()
	m := &gatewayModel{t: t, bootstrap: documents(t, `
static_resources:
  listeners:
  - name: default/eg/http
    address: {socket_address: {address: 0.0.0.0, port_value: 10080}}
    per_connection_buffer_limit_bytes: 32768
    max_connections_to_accept_per_socket_event: 1
    default_filter_chain:
      filters:
      - name: `+managers+`
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http-10080
          use_remote_address: true
          merge_slashes: true
          normalize_path: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
          server_header_transformation: PASS_THROUGH
          common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}
          http2_protocol_options: {initial_connection_window_size: 1048576, initial_stream_window_size: 65536, max_concurrent_streams: 100}
          access_log:
          - name: envoy.access_loggers.file
            typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}
  clusters: []
`)[0]}
	listener := list(m.bootstrap, "static_resources", "listeners")[0].(object)
	walk(listener, func(o map[string]any) {
		if o["name"] == managers {
			m.manager = o["typed_config"].(object)
		}
	})
	for _, file := range files {
		for _, o := range documents(t, read(t, "envoy-gateway", file)) {
			m.objects = slices.DeleteFunc(m.objects, func(old object) bool { // as it is applied again
				return old["kind"] == o["kind"] && text(old, "metadata", "name") == text(o, "metadata", "name")
			})
			m.objects = append(m.objects, o)
		}
	}
	m.routes()
	for _, o := range m.objects {
		switch o["kind"] {
		case "EnvoyExtensionPolicy":
			m.filter(list(o, "spec", "extProc")[0].(object))
		case "ClientTrafficPolicy":
			m.manager["stream_idle_timeout"] = at(o, "spec", "timeout", "http", "streamIdleTimeout")
			listener["per_connection_buffer_limit_bytes"] = quantity(t, text(o, "spec", "connection", "bufferLimit"))
		}
	}
	for _, o := range m.objects {
		if o["kind"] == "EnvoyPatchPolicy" {
			for _, patch := range list(o, "spec", "jsonPatches") {
				m.patch(listener, patch.(object))
			}
		}
	}
	return m.bootstrap
}

// quantity reads a quantity of the example.
func quantity(t *testing.T, q string) float64 {
	t.Helper()
	var n float64
	var unit string
	if _, err := fmt.Sscanf(q, "%f%s", &n, &unit); err != nil || unit != "Ki" && unit != "Mi" {
		t.Fatalf("quantity %q", q)
	}
	if unit == "Ki" {
		return n * 1024
	}
	return n * 1024 * 1024
}

// addressed says whether a policy is for an object.
func addressed(policy object, name string) bool {
	for _, target := range list(policy, "spec", "targetRefs") {
		if text(target, "name") == name {
			return true
		}
	}
	return false
}

// routes are those of all HTTPRoutes: the longest path first, then those with headers.
func (m *gatewayModel) routes() {
	type sorted struct {
		path, headers int
		route         object
	}
	var all []sorted
	for _, o := range m.objects {
		if o["kind"] != "HTTPRoute" {
			continue
		}
		name := text(o, "metadata", "name")
		rule := list(o, "spec", "rules")[0].(object)
		backend, matching := list(rule, "backendRefs")[0].(object), list(rule, "matches")[0].(object)
		cluster := "httproute/default/" + name + "/rule/0"
		action := object{"cluster": cluster}
		if text(rule, "timeouts", "request") == "0s" {
			action["timeout"], action["idle_timeout"] = "0s", "0s"
		}
		prefix := text(matching, "path", "value")
		match := object{"path_separated_prefix": prefix}
		for _, header := range list(matching, "headers") {
			if text(header, "type") != "RegularExpression" {
				m.t.Fatalf("header match %v", header)
			}
			match["headers"] = []any{object{"name": text(header, "name"), "string_match": object{"safe_regex": object{"regex": text(header, "value")}}}}
		}
		settings := object{}
		for _, policy := range m.objects {
			if policy["kind"] == "BackendTrafficPolicy" && addressed(policy, name) {
				settings = policy["spec"].(object)
				action["timeout"], action["idle_timeout"] = at(settings, "timeout", "http", "requestTimeout"), at(settings, "timeout", "http", "streamIdleTimeout")
				for _, header := range list(settings, "loadBalancer", "consistentHash", "headers") {
					hash := list(action, "hash_policy")
					action["hash_policy"] = append(hash, object{"header": object{"header_name": text(header, "name")}, "terminal": true})
				}
			}
		}
		route := object{"name": cluster + "/match/0/streams_example_com", "match": match, "route": action}
		for _, filter := range list(rule, "filters") {
			route["request_headers_to_remove"] = at(filter, "requestHeaderModifier", "remove")
		}
		for _, policy := range m.objects {
			if policy["kind"] == "EnvoyExtensionPolicy" && addressed(policy, name) {
				route["typed_per_filter_config"] = object{extprocFilter: object{
					"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": object{},
				}}
			}
		}
		m.cluster(cluster, at(backend, "port").(float64), at(backend, "name") == "holdfast", settings)
		all = append(all, sorted{len(prefix), len(list(matching, "headers")), route})
	}
	slices.SortStableFunc(all, func(a, b sorted) int { return cmp.Or(cmp.Compare(b.path, a.path), cmp.Compare(b.headers, a.headers)) })
	var routes []any
	for _, s := range all {
		routes = append(routes, s.route)
	}
	m.manager["route_config"] = object{"name": "default/eg/http", "ignore_port_in_host_matching": true, "virtual_hosts": []any{object{
		"name": "default/eg/http/streams_example_com", "domains": []any{host}, "routes": routes,
	}}}
}

// cluster adds one with the settings of a policy.
func (m *gatewayModel) cluster(name string, port float64, http2 bool, settings object) {
	thresholds := object{}
	for key, of := range map[string]string{"maxConnections": "max_connections", "maxPendingRequests": "max_pending_requests", "maxParallelRequests": "max_requests", "maxParallelRetries": "max_retries"} {
		if limit := at(settings, "circuitBreaker", key); limit != nil {
			thresholds[of] = limit
		}
	}
	cluster := object{
		"name": name, "type": "STATIC", "connect_timeout": cmp.Or(text(settings, "timeout", "tcp", "connectTimeout"), "10s"),
		"per_connection_buffer_limit_bytes": 32768, "circuit_breakers": object{"thresholds": []any{thresholds}},
		"load_assignment": object{"cluster_name": name, "endpoints": []any{object{"lb_endpoints": []any{object{
			"endpoint": object{"address": object{"socket_address": object{"address": "10.0.0.1", "port_value": port}}},
		}}}}},
	}
	if connect := text(settings, "timeout", "tcp", "connectTimeout"); connect != "" {
		cluster["connect_timeout"] = seconds(connect)
	}
	if http2 {
		options := object{
			"max_concurrent_streams":         at(settings, "http2", "maxConcurrentStreams"),
			"initial_stream_window_size":     quantity(m.t, text(settings, "http2", "initialStreamWindowSize")),
			"initial_connection_window_size": quantity(m.t, text(settings, "http2", "initialConnectionWindowSize")),
			"connection_keepalive":           at(settings, "http2", "connectionKeepalive"),
		}
		cluster["typed_extension_protocol_options"] = object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
			"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"explicit_http_config": object{"http2_protocol_options": options},
		}}
	}
	if text(settings, "loadBalancer", "type") == "ConsistentHash" {
		cluster["lb_policy"] = "MAGLEV"
	}
	if active, ok := at(settings, "healthCheck", "active").(object); ok {
		cluster["common_lb_config"] = object{"healthy_panic_threshold": object{"value": at(settings, "healthCheck", "panicThreshold")}}
		cluster["health_checks"] = []any{object{
			"timeout": active["timeout"], "interval": active["interval"],
			"unhealthy_threshold": active["unhealthyThreshold"], "healthy_threshold": active["healthyThreshold"],
			"grpc_health_check": object{"service_name": at(active, "grpc", "service")},
		}}
	}
	static := m.bootstrap["static_resources"].(object)
	static["clusters"] = append(list(static, "clusters"), cluster)
}

// seconds writes a duration of the Gateway API as Envoy has it.
func seconds(duration string) string {
	if ms, ok := strings.CutSuffix(duration, "ms"); ok {
		return fmt.Sprintf("0.%03ss", ms)
	}
	return duration
}

// filter adds that of an ExtProc, switched off but for the routes that have a policy.
func (m *gatewayModel) filter(ext object) {
	m.t.Helper()
	for key := range ext {
		if !slices.Contains([]string{"backendRefs", "failOpen", "messageTimeout", "processingMode", "metadata", "backendSettings"}, key) {
			m.t.Fatalf("extProc has %s, which the model does not know", key)
		}
	}
	settings := ext["backendSettings"].(object)
	m.cluster(extprocCluster, at(list(ext, "backendRefs")[0], "port").(float64), true, settings)
	backoff := at(settings, "retry", "perRetry", "backOff")
	var triggers []string
	for _, trigger := range list(settings, "retry", "retryOn", "triggers") {
		triggers = append(triggers, fmt.Sprint(trigger))
	}
	m.manager["http_filters"] = append([]any{object{
		"name": extprocFilter, "disabled": true,
		"typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
			"grpc_service": object{
				"envoy_grpc": object{"cluster_name": extprocCluster, "authority": "holdfast.default:9901"}, "timeout": "10s",
				"retry_policy": object{
					"num_retries": at(settings, "retry", "numRetries"), "retry_on": strings.Join(triggers, ","),
					"retry_back_off": object{"base_interval": seconds(text(backoff, "baseInterval")), "max_interval": seconds(text(backoff, "maxInterval"))},
				},
			},
			"failure_mode_allow": ext["failOpen"], "message_timeout": ext["messageTimeout"],
			"allow_mode_override": at(ext, "processingMode", "allowModeOverride"),
			"processing_mode": object{
				"request_header_mode": "SEND", "response_header_mode": "SEND",
				"request_trailer_mode": "SKIP", "response_trailer_mode": "SKIP",
			},
			"request_attributes":  at(ext, "processingMode", "request", "attributes"),
			"response_attributes": at(ext, "processingMode", "response", "attributes"),
			"metadata_options":    object{"receiving_namespaces": object{"untyped": at(ext, "metadata", "writableNamespaces")}},
		},
	}}, list(m.manager, "http_filters")...)
}

// patch applies an operation to the listener: the JSONPaths of the example are a name
// anywhere in the document, a filter by name, and keys.
func (m *gatewayModel) patch(listener, patch object) {
	m.t.Helper()
	if text(patch, "name") != listener["name"] || text(patch, "operation", "op") != "add" {
		m.t.Fatalf("the model does not know the patch %v", patch)
	}
	path := strings.TrimPrefix(text(patch, "operation", "path"), "/")
	if text(patch, "operation", "jsonPath") == "" {
		listener[path] = at(patch, "operation", "value")
		return
	}
	array, rest, _ := strings.Cut(strings.TrimPrefix(text(patch, "operation", "jsonPath"), ".."), "[?(@.name=='")
	name, keys, ok := strings.Cut(rest, "')].")
	found := 0
	walk(listener, func(o map[string]any) {
		for _, member := range list(o, array) {
			if text(member, "name") != name {
				continue
			}
			target := at(member, strings.Split(keys, ".")...)
			switch target := target.(type) {
			case object:
				target[path] = at(patch, "operation", "value")
				found++
			case []any:
				parent := at(member, strings.Split(keys, ".")[:strings.Count(keys, ".")]...).(object)
				parent[keys[strings.LastIndex(keys, ".")+1:]] = append([]any{at(patch, "operation", "value")}, target...)
				found++
			}
		}
	})
	if !ok || found != 1 {
		m.t.Errorf("%s leads to %d places", text(patch, "operation", "jsonPath"), found)
	}
}
