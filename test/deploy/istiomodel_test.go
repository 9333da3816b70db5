//go:build deploy

package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// object is a value of YAML or JSON, as encoding/json has it.
type object = map[string]any

// documents parses the objects of a file.
func documents(t *testing.T, text string) []object {
	t.Helper()
	var out []object
	for part := range strings.SplitSeq(text, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		if o != nil {
			out = append(out, plain(t, o))
		}
	}
	return out
}

// plain is a deep copy, with numbers as encoding/json has them.
func plain(t *testing.T, o object) object {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var out object
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// at follows a path of keys; nil if it leads nowhere.
func at(o any, path ...string) any {
	for _, key := range path {
		m, ok := o.(object)
		if !ok {
			return nil
		}
		o = m[key]
	}
	return o
}

func text(o any, path ...string) string { s, _ := at(o, path...).(string); return s }

func list(o any, path ...string) []any { l, _ := at(o, path...).([]any); return l }

const managers = "envoy.filters.network.http_connection_manager"

// istioModel does to a bootstrap what Istio's documentation says of its objects
// (https://istio.io/latest/docs/reference/config/networking/envoy-filter/), as far as
// the examples use them. What it finds no place for is an error: Istio would be silent.
type istioModel struct {
	t         *testing.T
	context   string // GATEWAY or SIDECAR_INBOUND
	bootstrap object
}

func (m *istioModel) resources() object { return m.bootstrap["static_resources"].(object) }

// add applies the objects of a file: the routes of a VirtualService, and the patches of
// an EnvoyFilter. Others are not Envoy's.
func (m *istioModel) add(file string) {
	m.t.Helper()
	for _, o := range documents(m.t, file) {
		switch o["kind"] {
		case "VirtualService":
			m.virtualService(o)
		case "EnvoyFilter":
			for _, patch := range list(o, "spec", "configPatches") {
				m.patch(patch.(object))
			}
		}
	}
}

// runtime applies the annotation of a pod's template.
func (m *istioModel) runtime(file string) {
	m.t.Helper()
	annotation := text(documents(m.t, file)[0], "spec", "template", "metadata", "annotations", "proxy.istio.io/config")
	m.bootstrap["layered_runtime"] = object{"layers": []any{
		object{"name": "static", "static_layer": at(documents(m.t, annotation)[0], "runtimeValues")},
	}}
}

// clusterName is what Istio calls the cluster of a service's port.
func clusterName(service string, port any) string {
	return fmt.Sprintf("outbound|%v||%s", port, service)
}

func (m *istioModel) virtualService(o object) {
	var routes []any
	for _, rule := range list(o, "spec", "http") {
		destination := list(rule, "route")[0].(object)
		route := object{"cluster": clusterName(text(destination, "destination", "host"), at(destination, "destination", "port", "number")), "timeout": "0s"}
		if retries, ok := at(rule, "retries").(object); ok && retries["attempts"] != float64(0) {
			route["retry_policy"] = object{
				"num_retries": retries["attempts"], "retry_on": retries["retryOn"], "per_try_timeout": retries["perTryTimeout"],
				"host_selection_retry_max_attempts": "5",
				"retry_host_predicate": []any{object{
					"name":         "envoy.retry_host_predicates.previous_hosts",
					"typed_config": object{"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
				}},
			}
		}
		match := object{"prefix": "/"}
		for _, condition := range list(rule, "match") {
			if prefix := text(condition, "uri", "prefix"); prefix != "" {
				match["prefix"] = prefix
			}
			headers, _ := at(condition, "headers").(object)
			for name := range headers {
				match["headers"] = []any{object{"name": name, "present_match": true}}
			}
		}
		out := object{"name": text(rule, "name"), "match": match, "route": route}
		for key, of := range map[string]string{"request_headers_to_remove": "request", "response_headers_to_remove": "response"} {
			if remove := list(destination, "headers", of, "remove"); remove != nil {
				out[key] = remove
			}
		}
		routes = append(routes, out)
	}
	m.managers(nil, func(manager object) {
		manager["route_config"] = object{"name": "http.80", "virtual_hosts": []any{object{
			"name": "streams.example.com:80", "domains": []any{"*"}, "routes": routes,
		}}}
	})
}

// patch applies one, and fails if there is nothing to apply it to.
func (m *istioModel) patch(patch object) {
	m.t.Helper()
	if context := text(patch, "match", "context"); context != m.context {
		m.t.Fatalf("a patch for %s, want %s", context, m.context)
	}
	value, operation := at(patch, "patch", "value").(object), text(patch, "patch", "operation")
	applied := 0
	switch kind := text(patch, "applyTo") + " " + operation; kind {
	case "LISTENER ADD", "CLUSTER ADD":
		key := map[string]string{"LISTENER ADD": "listeners", "CLUSTER ADD": "clusters"}[kind]
		m.resources()[key] = append(list(m.resources(), key), plain(m.t, value))
		applied++
	case "LISTENER MERGE":
		for _, listener := range list(m.resources(), "listeners") {
			if name := text(patch, "match", "listener", "name"); name != "" && name != text(listener, "name") {
				continue
			}
			merge(listener.(object), plain(m.t, value))
			applied++
		}
	case "CLUSTER MERGE":
		name := clusterName(text(patch, "match", "cluster", "service"), at(patch, "match", "cluster", "portNumber"))
		for _, cluster := range list(m.resources(), "clusters") {
			if cluster.(object)["name"] == name {
				merge(cluster.(object), plain(m.t, value))
				applied++
			}
		}
	case "HTTP_FILTER INSERT_BEFORE":
		before := text(patch, "match", "listener", "filterChain", "filter", "subFilter", "name")
		m.managers(at(patch, "match", "listener", "portNumber"), func(manager object) {
			var filters []any
			for _, filter := range list(manager, "http_filters") {
				if filter.(object)["name"] == before {
					filters = append(filters, plain(m.t, value))
					applied++
				}
				filters = append(filters, filter)
			}
			manager["http_filters"] = filters
		})
	case "NETWORK_FILTER MERGE":
		m.managers(at(patch, "match", "listener", "portNumber"), func(manager object) {
			merge(manager, plain(m.t, value["typed_config"].(object)))
			applied++
		})
	case "HTTP_ROUTE INSERT_FIRST", "HTTP_ROUTE MERGE":
		m.managers(at(patch, "match", "routeConfiguration", "portNumber"), func(manager object) {
			for _, host := range list(manager, "route_config", "virtual_hosts") {
				where := at(patch, "match", "routeConfiguration", "vhost")
				if name := text(where, "name"); name != "" && name != text(host, "name") {
					continue
				}
				if operation == "INSERT_FIRST" {
					host.(object)["routes"] = append([]any{plain(m.t, value)}, list(host, "routes")...)
					applied++
					continue
				}
				for _, route := range list(host, "routes") {
					if text(route, "name") == text(where, "route", "name") {
						merge(route.(object), plain(m.t, value))
						applied++
					}
				}
			}
		})
	default:
		m.t.Fatalf("%s is nothing that the examples use", kind)
	}
	if applied == 0 {
		m.t.Errorf("a patch has no effect: %v", patch["match"])
	}
}

// managers visits the connection managers of what Istio made, of the listener at a port
// or of all of them; those that a patch has added are its author's.
func (m *istioModel) managers(port any, visit func(object)) {
	for _, listener := range list(m.resources(), "listeners") {
		if text(listener, "name") == "holdfast-loopback" ||
			port != nil && port != at(listener, "address", "socket_address", "port_value") {
			continue
		}
		walk(listener, func(o map[string]any) {
			if o["name"] == managers {
				visit(o["typed_config"].(object))
			}
		})
	}
}

// merge is that of protocol buffers, as Istio does it: messages are merged, lists are
// joined, and the values of maps take each other's place. A duration is a value.
func merge(dst, src object) {
	for key, value := range src {
		switch value := value.(type) {
		case object:
			if old, ok := dst[key].(object); ok && key != "typed_extension_protocol_options" {
				merge(old, value)
				continue
			}
			if old, ok := dst[key].(object); ok {
				maps.Copy(old, value)
				continue
			}
			dst[key] = value
		case []any:
			old, _ := dst[key].([]any)
			dst[key] = append(old, value...)
		default:
			dst[key] = value
		}
	}
}
