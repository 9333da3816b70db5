//go:build deploy

package deploy

import (
	"encoding/json"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// walk visits every object within a value, outer ones first.
func walk(value any, visit func(map[string]any)) {
	switch v := value.(type) {
	case map[string]any:
		visit(v)
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}

// serve starts a processor and an Envoy with a bootstrap in which ports stand for
// places.
func serve(t *testing.T, bootstrap map[string]any, cluster, policies string, ports map[int]string, lintArgs ...string) *mesh {
	t.Helper()
	return serveWith(t, bootstrap, cluster, ports, func(p places) string { return p.config(t, p["listen"], policies) }, lintArgs...)
}

// serveWith is serve with a configuration of the processor that knows the places.
func serveWith(t *testing.T, bootstrap map[string]any, cluster string, ports map[int]string, configure func(places) string, lintArgs ...string) *mesh {
	t.Helper()
	origin := harness.NewOrigin(t)
	where := newPlaces(t, "listen", "processor", "relay", "admin", "envoy", "loopback")
	where["origin"] = strings.TrimPrefix(origin.URL, "http://")
	walk(bootstrap, func(o map[string]any) {
		for _, key := range []string{"portValue", "port_value"} { // control planes write the one, people the other
			number, ok := o[key].(float64)
			if place := where[ports[int(number)]]; ok && place != "" {
				o["address"], o[key] = "127.0.0.1", json.Number(port(place))
			}
		}
	})
	bootstrap["admin"] = map[string]any{"address": map[string]any{
		"socketAddress": map[string]any{"address": "127.0.0.1", "portValue": json.Number(port(where["envoy"]))},
	}}
	text, err := json.MarshalIndent(bootstrap, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	config := configure(where)
	lintArgs = append(lintArgs, "--config", harness.WriteFile(t, "holdfast.yaml", config))
	wantEnvoyTakes(t, string(text), lintArgs...)
	m := &mesh{origin: origin, Standalone: harness.ServeFiles(t, harness.Files{
		Config: config, Bootstrap: string(text), Listen: where["listen"], Admin: where["admin"], EnvoyAdmin: where["envoy"], Cluster: cluster,
	})}
	m.wantNoFindings(t, lintArgs)
	return m
}
