//go:build deploy

package deploy

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestEnvoyGatewayAdmits: the API server takes what examples/envoy-gateway tells to
// paste, and not what is nearly that.
func TestEnvoyGatewayAdmits(t *testing.T) {
	c := newCluster(t)
	chart := filepath.Join(module(t, "crds", "github.com/envoyproxy/gateway"), "charts", "gateway-crds-helm")
	definitions := filepath.Join(t.TempDir(), "crds.yaml")
	write(t, definitions, c.run(t, "", tool(t, "helm"), "template", "crds", chart, "--set", "crds.gatewayAPI.enabled=true,crds.envoyGateway.enabled=true"))
	c.crds(t, definitions)
	for _, file := range []string{"before.yaml", "hold.yaml", "patch.yaml"} {
		c.apply(t, "default", read(t, "envoy-gateway", file))
	}
	hold := read(t, "envoy-gateway", "hold.yaml")
	c.wantRefused(t, "default", strings.Replace(hold, "allowModeOverride", "allowModeOveride", 1), "allowModeOveride")
	c.wantRefused(t, "default", strings.Replace(hold, "type: GRPC", "type: gRPC", 1), "spec.extProc[0].backendSettings.healthCheck.active.type")
	c.wantRefused(t, "default", strings.Replace(hold, "response:\n", "response:\n        body: FullDuplexStreamed\n", 1),
		"If FullDuplexStreamed body processing mode is used, FailOpen must be false")
}

// gatewayPlaces are the ports of the example.
var gatewayPlaces = map[int]string{10080: "listen", 80: "origin", 9901: "processor", 9903: "relay"}

// TestEnvoyGateway: a real Envoy with what Envoy Gateway makes of the example holds
// streams and watches others, with the patch and without.
func TestEnvoyGateway(t *testing.T) {
	t.Parallel()
	check := func(files []string, lintArgs ...string) func(*testing.T) {
		return func(t *testing.T) {
			s := serve(t, gatewayEnvoy(t, files...), extprocCluster, "policies: [{name: all}]\n", gatewayPlaces, lintArgs...)
			s.holds(t)
			s.relays(t)
			s.Stop(t)
		}
	}
	// What lint warns of is what the patch is for.
	t.Run("unpatched", check([]string{"before.yaml", "hold.yaml"},
		"--ignore", "watermark-timeout", "--ignore", "max-message-timeout", "--ignore", "mutation-rules"))
	t.Run("patched", check([]string{"before.yaml", "hold.yaml", "patch.yaml"}))
}
