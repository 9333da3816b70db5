package envoy

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

// options is the configuration that the tests vary.
func options(t *testing.T, upstreams ...string) Options {
	t.Helper()
	o := Options{
		Listen:     Address{Host: "127.0.0.1", Port: 8080},
		UpstreamCA: "/etc/ssl/certs/test.pem",
		Processor:  Address{Path: "/run/holdfast/extproc.sock"},
		Admin:      Address{Path: "/run/holdfast/envoy.sock"},
	}
	for _, s := range upstreams {
		u, err := ParseUpstream(s)
		if err != nil {
			t.Fatal(err)
		}
		o.Upstreams = append(o.Upstreams, u)
	}
	return o
}

func build(t *testing.T, o Options) *bootstrapv3.Bootstrap {
	t.Helper()
	b, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// variants together use every branch of the builder. The end-to-end tests give
// each golden file to a real Envoy.
func variants(t *testing.T) map[string]Options {
	t.Helper()
	local := options(t, "http://127.0.0.1:3000")
	local.AccessLog = "/tmp/holdfast-access.log"

	sites := options(t, "https://a.example", "https://b.example:8443", "https://10.0.0.1")
	sites.Processor = Address{Host: "holdfast.internal", Port: 9000}
	sites.ProcessorTLS = &ClientTLS{CA: "/etc/ssl/certs/test.pem", Cert: "/etc/ssl/certs/test.pem", Key: "/etc/ssl/certs/test.key"}
	sites.Admin = Address{}
	sites.Listen = Address{Path: "/run/holdfast/public.sock"}

	hold := options(t, "http://10.0.0.1:3000", "http://10.0.0.2:3000")
	hold.Loopback = Address{Path: "/run/holdfast/loopback.sock"}
	hold.Relay = Address{Path: "/run/holdfast/relay.sock"}
	hold.Peek = &Peek{Patience: 75 * time.Second, RequestBytes: 1 << 20}

	// The processor beside Envoy in a pod, or on another machine behind a name.
	holdTCP := options(t, "https://api.example")
	holdTCP.Loopback = Address{Host: "localhost", Port: 10001}
	holdTCP.Relay = Address{Host: "holdfast.internal", Port: 9903}

	immediate := options(t, "http://127.0.0.1:3000")
	immediate.Loopback = Address{Path: "/run/holdfast/loopback.sock"}
	immediate.Immediate, immediate.AccessLog = true, "/tmp/holdfast-access.log"

	return map[string]Options{
		"immediate": immediate,
		"hold":      hold,
		"hold-tcp":  holdTCP,
		"local":     local,
		"localhost": options(t, "http://localhost:3000"),
		"site":      options(t, "https://api.example:8443"),
		"sites":     sites,
		"h2c":       options(t, "h2c://10.0.0.1:50051", "h2c://10.0.0.2:50051"),
	}
}

func TestGolden(t *testing.T) {
	for name, o := range variants(t) {
		t.Run(name, func(t *testing.T) {
			got, err := YAML(build(t, o))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("not as in %s; if that is right, run go test ./envoy -update:\n%s", file, diff)
			}
		})
	}
}

func TestYAMLIsTheSameAsJSON(t *testing.T) {
	for name, o := range variants(t) {
		b := build(t, o)
		asYAML, err := YAML(b)
		if err != nil {
			t.Fatal(err)
		}
		asJSON, err := JSON(b)
		if err != nil {
			t.Fatal(err)
		}
		var fromYAML, fromJSON any
		if err := yaml.Unmarshal(asYAML, &fromYAML); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Through JSON once more, for numbers to have one type.
		normal, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(normal, &fromYAML); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(asJSON, &fromJSON); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
			t.Errorf("%s: JSON and YAML differ:\n%s", name, diff)
		}
	}
}

func TestPrintingIsDeterministic(t *testing.T) {
	for name, o := range variants(t) {
		first, err := YAML(build(t, o))
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if again, err := YAML(build(t, o)); err != nil || string(again) != string(first) {
				t.Fatalf("%s: printed differently the second time (%v)", name, err)
			}
		}
	}
}

// Every note must find its setting: one that does not belongs to a setting that
// was dropped, or misspells its name.
func TestEveryNoteIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, o := range variants(t) {
		at, err := notesOf(build(t, o).ProtoReflect())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range at {
			used[text] = true
		}
	}
	for _, n := range allNotes() {
		if !used[n.text] {
			t.Errorf("no variant has %s (owner %q)", n.field, n.owner)
		}
	}
}

func manager(t *testing.T, b *bootstrapv3.Bootstrap) *hcm.HttpConnectionManager {
	t.Helper()
	m := &hcm.HttpConnectionManager{}
	filter := b.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0]
	if err := filter.GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestHostHeader(t *testing.T) {
	const kept, each = "(the client's)", "(each host's)"
	for _, c := range []struct {
		upstreams []string
		want      string
	}{
		{[]string{"http://127.0.0.1:3000"}, kept},
		{[]string{"http://localhost:3000"}, kept},
		{[]string{"http://10.0.0.1", "http://[::1]"}, kept},
		{[]string{"https://example.com"}, "example.com"},
		{[]string{"https://example.com:8443"}, "example.com:8443"},
		{[]string{"https://a.example", "https://b.example"}, each},
		{[]string{"http://a.example", "http://10.0.0.1"}, each},
	} {
		action := manager(t, build(t, options(t, c.upstreams...))).GetRouteConfig().GetVirtualHosts()[0].GetRoutes()[0].GetRoute()
		got := kept
		switch r := action.GetHostRewriteSpecifier().(type) {
		case *routev3.RouteAction_HostRewriteLiteral:
			got = r.HostRewriteLiteral
		case *routev3.RouteAction_AutoHostRewrite:
			got = each
		}
		if got != c.want {
			t.Errorf("%v: Host is %s, want %s", c.upstreams, got, c.want)
		}
	}
}

func TestTLSNames(t *testing.T) {
	up := build(t, options(t, "https://a.example", "https://a.example:8443", "https://10.0.0.1")).GetStaticResources().GetClusters()[0]
	got := map[string]string{}
	for _, m := range up.GetTransportSocketMatches() {
		tls := &tlsv3.UpstreamTlsContext{}
		if err := m.GetTransportSocket().GetTypedConfig().UnmarshalTo(tls); err != nil {
			t.Fatal(err)
		}
		san := tls.GetCommonTlsContext().GetValidationContext().GetMatchTypedSubjectAltNames()[0]
		got[m.GetName()] = tls.GetSni() + " " + san.GetSanType().String() + " " + san.GetMatcher().GetExact()
	}
	want := map[string]string{"a.example": "a.example DNS a.example", "10.0.0.1": " IP_ADDRESS 10.0.0.1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names in handshakes:\n%s", diff)
	}
}

// localhost may be either address; both are tried.
func TestLocalhostHasTwoAddresses(t *testing.T) {
	host := build(t, options(t, "http://localhost:3000")).GetStaticResources().GetClusters()[0].
		GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint()
	first := host.GetAddress().GetSocketAddress().GetAddress()
	second := host.GetAdditionalAddresses()[0].GetAddress().GetSocketAddress().GetAddress()
	if first != "127.0.0.1" || second != "::1" {
		t.Errorf("addresses %s and %s", first, second)
	}
}

func TestNamesAreResolvedAndAddressesAreNot(t *testing.T) {
	for upstream, want := range map[string]clusterv3.Cluster_DiscoveryType{
		"http://127.0.0.1:3000": clusterv3.Cluster_STATIC,
		"http://localhost:3000": clusterv3.Cluster_STATIC,
		"http://example.com":    clusterv3.Cluster_STRICT_DNS,
	} {
		if got := build(t, options(t, upstream)).GetStaticResources().GetClusters()[0].GetType(); got != want {
			t.Errorf("%s: cluster type %s, want %s", upstream, got, want)
		}
	}
}

func TestBootstrapRefuses(t *testing.T) {
	none := options(t)
	mixed := options(t, "http://127.0.0.1:1", "h2c://127.0.0.1:2")
	name := options(t, "http://127.0.0.1:1")
	name.Listen = Address{Host: "example.com", Port: 80}
	for _, c := range []struct {
		o    Options
		says string
	}{
		{none, "no upstream"},
		{mixed, "http://127.0.0.1:1 and h2c://127.0.0.1:2 differ in scheme"},
		{name, `"example.com" is not an IP address`},
	} {
		if _, err := Bootstrap(c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("error %v, want one that says %q", err, c.says)
		}
	}
}

func TestYAMLStrings(t *testing.T) {
	for _, s := range []string{
		"", "plain", "true", "No", "null", "~", "12", "1e3", "0x1f", "1_000", "-", "- a", "a: b", "a #b", "#a", "*", "&a", "!t", "@type", "%a", "`a`",
		"127.0.0.1", "::1", "[::1]:80", "10s", "0.250s", "1.5", ".5s", "a\nb", "\t", "\"q\"", "'q'", "é", "/run/x.sock", "a:b", "12:30:45", "=", "<<", "a ", " a", "y",
		"%REQ(:METHOD)%", "%DYNAMIC_METADATA(holdfast)%", "<a&b>",
	} {
		var got map[string]any
		text := "k: " + yamlString(s) + "\n"
		if err := yaml.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%q is written as %q: %v", s, text, err)
			continue
		}
		if got["k"] != s {
			t.Errorf("%q is written as %q and read as %#v", s, text, got["k"])
		}
	}
}
