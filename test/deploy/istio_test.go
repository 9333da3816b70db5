//go:build deploy

package deploy

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// newIstio is a cluster with Istio's definitions and the namespaces of its example.
func newIstio(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.crds(t, filepath.Join(module(t, "crds", "istio.io/api"), "kubernetes", "customresourcedefinitions.gen.yaml"))
	for _, namespace := range []string{"streams", "istio-system"} {
		c.kubectl(t, "create", "namespace", namespace)
	}
	return c
}

// TestIstioAdmits: the API server takes what examples/istio tells to paste, and
// not what is nearly that.
func TestIstioAdmits(t *testing.T) {
	c := newIstio(t)
	c.apply(t, "streams", read(t, "istio", "before.yaml"))
	for _, file := range []string{"gateway.yaml", "gateway-loopback.yaml", "peek.yaml", "sidecar.yaml"} {
		c.apply(t, "", read(t, "istio", file))
	}
	c.wantRefused(t, "", strings.Replace(read(t, "istio", "gateway.yaml"), "applyTo: HTTP_FILTER", "applyTo: HTTPFILTER", 1), "spec.configPatches[0].applyTo")
	c.wantRefused(t, "", strings.Replace(read(t, "istio", "gateway.yaml"), "consistentHash", "consistendHash", 1), "consistendHash")

	// Where pods have no rights, those with a Holdfast are admitted too.
	namespace := c.restricted(t, "patched")
	c.apply(t, namespace, appDeployment)
	c.kubectl(t, "patch", "deployment", "app", "-n", namespace, "--patch-file", example("istio", "sidecar-container.yaml"))
	c.wantPods(t, namespace, "app", 1)
}

// istioGateway is an ingress gateway as Istio makes it of before.yaml, at ports that
// stand for places, with two hosts of the service or one.
func istioGateway(t *testing.T, hosts string) *istioModel {
	t.Helper()
	return &istioModel{t: t, context: "GATEWAY", bootstrap: documents(t, `
static_resources:
  listeners:
  - name: 0.0.0.0_80
    address: {socket_address: {address: 0.0.0.0, port_value: 80}}
    traffic_direction: OUTBOUND
    filter_chains:
    - filters:
      - name: `+managers+`
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: outbound_0.0.0.0_80
          use_remote_address: true
          normalize_path: true
          stream_idle_timeout: 0s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: outbound|8080||app.streams.svc.cluster.local
    connect_timeout: 10s
    circuit_breakers: {thresholds: [{max_retries: 4294967295, max_requests: 4294967295, max_connections: 4294967295, max_pending_requests: 4294967295}]}
    load_assignment:
      cluster_name: outbound|8080||app.streams.svc.cluster.local
      endpoints: [{lb_endpoints: [`+hosts+`]}]
  - name: outbound|9901||holdfast.streams.svc.cluster.local
    connect_timeout: 0.25s
    circuit_breakers: {thresholds: [{max_retries: 1000000, max_requests: 1000000, max_connections: 1000000, max_pending_requests: 1000000}]}
    typed_extension_protocol_options: &h2
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: outbound|9901||holdfast.streams.svc.cluster.local
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 9901}}}}]}]
  - name: outbound|9903||holdfast.streams.svc.cluster.local
    connect_timeout: 0.25s
    circuit_breakers: {thresholds: [{max_retries: 1000000, max_requests: 1000000, max_connections: 1000000, max_pending_requests: 1000000}]}
    typed_extension_protocol_options: *h2
    load_assignment:
      cluster_name: outbound|9903||holdfast.streams.svc.cluster.local
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 9903}}}}]}]
`)[0]}
}

const appHost = "{endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 8080}}}}"

// istioPlaces are the ports of the examples.
var istioPlaces = map[int]string{80: "listen", 8080: "origin", 8081: "other", 9901: "processor", 9903: "relay", 10001: "loopback", 15901: "loopback"}

const gatewayProcessor = "outbound|9901||holdfast.streams.svc.cluster.local"

// TestIstioGateway: with the patches in it, a real Envoy holds streams.
func TestIstioGateway(t *testing.T) {
	t.Parallel()
	m := istioGateway(t, appHost)
	m.add(read(t, "istio", "before.yaml"))
	m.add(read(t, "istio", "gateway.yaml"))
	s := serve(t, m.bootstrap, gatewayProcessor, "policies: [{name: all}]\n", istioPlaces)
	s.holds(t)
	s.relays(t)
	s.Stop(t)
}

// TestIstioGatewayLoopback: the same by a way back of its own.
func TestIstioGatewayLoopback(t *testing.T) {
	t.Parallel()
	m := istioGateway(t, appHost)
	for _, file := range []string{"before.yaml", "gateway.yaml", "gateway-loopback.yaml"} {
		m.add(read(t, "istio", file))
	}
	m.runtime(read(t, "istio", "sidecar-container.yaml")) // as its README says of the gateway
	// The routes of the gateway's server, which are served to both listeners.
	var routes any
	m.managers(nil, func(manager object) { routes = manager["route_config"] })
	walk(m.bootstrap, func(o map[string]any) {
		if text(o, "rds", "route_config_name") == "https.443.https.streams.streams" {
			delete(o, "rds")
			o["route_config"] = plain(t, routes.(object))
		}
	})
	s := serveWith(t, m.bootstrap, gatewayProcessor, istioPlaces, func(p places) string {
		return p.config(t, p["loopback"], "policies: [{name: all}]\n")
	})
	s.holds(t)
	if s.EnvoyStat(t, "http.holdfast-loopback.downstream_rq_total") == 0 {
		t.Error("nothing came by the loopback listener")
	}
	s.Stop(t)
}

// TestIstioPeek: of two hosts one begins badly, and nobody sees it.
func TestIstioPeek(t *testing.T) {
	t.Parallel()
	bad := harness.NewOrigin(t)
	m := istioGateway(t, appHost+", {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: "+port(bad.URL)+"}}}}")
	for _, file := range []string{"before.yaml", "gateway.yaml", "peek.yaml"} {
		m.add(read(t, "istio", file))
	}
	// The patches of both files for the service's cluster and route, and no others twice.
	s := serve(t, m.bootstrap, gatewayProcessor, "policies: [{name: all, mode: inline, retry_when: [{event: error}]}]\n", istioPlaces)
	const path, body = "/events/peek", "id: 1\ndata: a\n\n"
	s.origin.Replace(path, func(x *harness.Exchange) { x.Stream(); x.Send(body); x.End() })
	bad.Replace(path, func(x *harness.Exchange) { x.Stream(); x.Send("event: error\ndata: no\n\n"); x.End() })
	for n := 0; len(bad.Requests(path)) == 0; n++ {
		if n == 100 {
			t.Fatal("the bad host was never asked")
		}
		stream := s.Get(t, path, "Host", host)
		stream.WantBody(t, body)
		if marker := stream.Response(t).Header.Get("x-holdfast-retry"); marker != "" {
			t.Errorf("the client got x-holdfast-retry: %s", marker)
		}
	}
	s.Stop(t)
}

// TestIstioSidecar: the same in the pods of the service, with a loopback listener.
func TestIstioSidecar(t *testing.T) {
	t.Parallel()
	m := &istioModel{t: t, context: "SIDECAR_INBOUND", bootstrap: documents(t, `
static_resources:
  listeners:
  - name: virtualInbound
    address: {socket_address: {address: 0.0.0.0, port_value: 8080}}
    traffic_direction: INBOUND
    filter_chains:
    - filters:
      - name: `+managers+`
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inbound_0.0.0.0_8080
          use_remote_address: false
          normalize_path: true
          stream_idle_timeout: 0s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: inbound|8080||
            virtual_hosts:
            - name: inbound|http|8080
              domains: ["*"]
              routes:
              - name: default
                match: {prefix: /}
                route: {cluster: "inbound|8080||", timeout: 0s}
  clusters:
  - name: inbound|8080||
    connect_timeout: 10s
    circuit_breakers: {thresholds: [{max_retries: 4294967295, max_requests: 4294967295, max_connections: 4294967295, max_pending_requests: 4294967295}]}
    load_assignment:
      cluster_name: inbound|8080||
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}}]}]
`)[0]}
	m.add(read(t, "istio", "sidecar.yaml"))
	m.runtime(read(t, "istio", "sidecar-container.yaml"))
	// The pod's port and the service's are the same number here, and two places.
	listener := list(m.resources(), "listeners")[0]
	at(listener, "address", "socket_address").(object)["port_value"] = float64(80)
	s := serveWith(t, m.bootstrap, "holdfast", istioPlaces, func(p places) string {
		return fmt.Sprintf("listen: %s\nadmin: %s\nfetch: {url: \"http://%s\"}\nrelay: {listen: %q}\npolicies: [{name: events, match: {path_prefix: /events}}]\n",
			p["processor"], p["admin"], p["loopback"], p["relay"])
	})
	s.holds(t)
	s.relays(t)
	if s.EnvoyStat(t, "http.holdfast-loopback.downstream_rq_total") == 0 {
		t.Error("nothing came by the loopback listener")
	}
	s.Stop(t)
}

// appDeployment is a service's, as strict as the namespace.
const appDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: app
        securityContext:
          allowPrivilegeEscalation: false
          runAsNonRoot: true
          capabilities: {drop: [ALL]}
          seccompProfile: {type: RuntimeDefault}
`
