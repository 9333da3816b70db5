package config

import (
	"strings"
	"testing"
)

func TestOTLPEndpoints(t *testing.T) {
	for _, good := range []string{"c:4317", "127.0.0.1:4317", "[::1]:4317", "http://c:4317", "https://c:4317/", "unix:/run/otel.sock", "unix:///run/otel.sock"} {
		if err := checkOTLP(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"c":                      "needs a host and a port",
		":4317":                  "needs a host and a port",
		"https://c":              "needs a host and a port",
		"grpc://c:4317":          "neither http nor https",
		"https://c:4318/v1":      "gRPC no path",
		"unix:":                  "names no socket",
		"http://u:secret@c:4317": "OTEL_EXPORTER_OTLP_HEADERS",
		"http://a b:4317":        "not an address",
		"c:port":                 "not an address",
	} {
		err := checkOTLP(bad)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want one that says %q", bad, err, want)
		}
	}
}
