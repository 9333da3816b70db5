//go:build deploy

package deploy

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"holdfast/test/harness"
)

// TestManifests does what examples/kubernetes/README.md says, in a namespace that
// admits only pods without rights.
func TestManifests(t *testing.T) {
	c := newCluster(t)
	namespace := c.restricted(t, "manifests")
	c.kubectl(t, "create", "secret", "generic", "holdfast-key", "-n", namespace, "--from-literal=pass=0123456789abcdef0123456789abcdef")
	c.kubectl(t, "apply", "-n", namespace, "--server-side", "--validate=strict", "-k", example("kubernetes"))
	c.wantPods(t, namespace, "holdfast", 2)
	c.wantPods(t, namespace, "envoy", 2)
	c.wantConfigured(t, namespace, "holdfast")

	var bootstrap map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "kubernetes", "envoy.yaml")), &bootstrap); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(bootstrap)
	if err == nil {
		err = json.Unmarshal(text, &bootstrap) // numbers as everywhere here
	}
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, bootstrap, "holdfast", "policies: [{name: default}]\n", map[int]string{8080: "listen", 9000: "origin", 9901: "processor", 9903: "relay"})
	s.holds(t)
	s.relays(t)

	// The strictness is not for nothing.
	c.wantRefused(t, namespace, strings.Replace(read(t, "kubernetes", "holdfast.yaml"), "readinessProbe:", "readynessProbe:", 1), "readynessProbe")
	_, errs, err := c.try("", tool(t, "kubectl"), "run", "rights", "-n", namespace, "--image=rights", "--dry-run=server")
	if err == nil || !strings.Contains(errs, "violates PodSecurity") {
		t.Fatalf("a pod with rights was let into the namespace: %v\n%s", err, errs)
	}
}

// wantConfigured checks the configuration in a ConfigMap as the processor would.
func (c *cluster) wantConfigured(t *testing.T, namespace, name string) string {
	t.Helper()
	var configured struct{ Data map[string]string }
	c.object(t, namespace, "configmap/"+name, &configured)
	text := configured.Data["holdfast.yaml"]
	if code, out, errs := harness.RunHoldfast(t, "check", "--config", harness.WriteFile(t, "holdfast.yaml", text)); code != 0 {
		t.Fatalf("holdfast check: exit code %d\n%s%s\n%s", code, out, errs, text)
	}
	return text
}

// wantEnvoyTakes has a real Envoy and holdfast lint look at a configuration.
func wantEnvoyTakes(t *testing.T, bootstrap string, lintArgs ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	write(t, file, bootstrap)
	envoy := harness.Start(t, harness.Envoy(t), "--mode", "validate", "-c", file, "--log-level", "error")
	if code := envoy.Wait(t); code != 0 {
		t.Fatalf("Envoy does not take it:\n%s", envoy.Output())
	}
	lintTakes(t, file, lintArgs...)
}
