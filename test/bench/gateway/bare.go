package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/envoy"
)

// A bare gateway is this program, started anew, with an Envoy of its own.

// bareCommand is what makes this program one, and bareReady what it then says
// before its URL.
const (
	bareCommand = "serve-bare"
	bareReady   = "ready "
)

// shape is how a gateway comes by the response.
type shape string

const (
	plain     shape = "plain"     // Envoy alone
	echo      shape = "echo"      // ext_proc sees every chunk and sends it back
	relay     shape = "relay"     // Envoy routes to a proxy of ours, which fetches through Envoy
	immediate shape = "immediate" // ext_proc fetches through Envoy, and answers with that
)

func isBare(args []string) (s shape, upstream, envoyPath string, ok bool) {
	if len(args) != 5 || args[1] != bareCommand {
		return "", "", "", false
	}
	return shape(args[2]), args[3], args[4], true
}

// serveBare serves until its input ends, so that neither it nor its Envoy outlives
// the program that started it.
func serveBare(s shape, upstream, envoyPath string, in io.Reader, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "bare-")
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(dir)) }()

	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	back := &loopback{known: make(chan struct{})}
	stop := serveProcessor(s, lis, back)
	defer stop()

	admin := envoy.Address{Path: filepath.Join(dir, "admin.sock")}
	file := filepath.Join(dir, "envoy.yaml")
	text := bareBootstrap(s, upstream, lis.Addr().String(), admin.Path)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	p, err := envoy.Start(envoy.StartOptions{
		Binary: envoyPath, Config: file, Args: []string{"--concurrency", "2", "--log-level", "error"},
	})
	if err != nil {
		return err
	}
	defer p.Kill()
	ask := envoy.NewAdmin(admin)
	at, err := p.WaitReady(ctx, ask, "edge")
	if err != nil {
		return err
	}
	if s == relay || s == immediate {
		loop, err := ask.ListenerAddress(ctx, "loop")
		if err != nil {
			return err
		}
		back.address = loop.Dial()
	}
	close(back.known)
	fmt.Fprintln(out, bareReady+"http://"+at.Dial())
	_, err = io.Copy(io.Discard, in)
	return err
}

// bareBootstrap is as little configuration as streams can live with: no timeout
// that ends them, and no breaker that refuses them.
func bareBootstrap(s shape, upstream, processor, admin string) string {
	filter, target := "", "upstream"
	switch s {
	case echo, immediate:
		filter = extProcFilter
	case relay:
		target = "processor"
	case plain:
	}
	listeners := bareListener("edge", target, filter)
	if s == relay || s == immediate {
		listeners += bareListener("loop", "upstream", "")
	}
	clusters := bareCluster("upstream", upstream, "")
	if s != plain {
		clusters += bareCluster("processor", processor, http2Protocol)
	}
	return "admin: {address: {pipe: {path: " + admin + "}}}\n" +
		"static_resources:\n  listeners:\n" + listeners + "  clusters:\n" + clusters
}

const extProcFilter = `
          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: processor}}
              allow_mode_override: true
              message_timeout: 10s
              processing_mode: {request_header_mode: SEND, response_header_mode: SEND, request_body_mode: NONE, response_body_mode: NONE, request_trailer_mode: SKIP, response_trailer_mode: SKIP}`

func bareListener(name, cluster, filter string) string {
	return fmt.Sprintf(`  - name: %[1]s
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %[1]s
          stream_idle_timeout: 0s
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: %[2]s, timeout: 0s}}]}]}
          http_filters:%[3]s
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`, name, cluster, filter)
}

// http2Protocol has a window that bounds what a client that does not read costs.
const http2Protocol = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {initial_stream_window_size: 65536}}`

func bareCluster(name, address, protocol string) string {
	host, port, _ := strings.Cut(address, ":")
	return fmt.Sprintf(`  - name: %[1]s
    circuit_breakers: {thresholds: [{max_connections: 1000000, max_pending_requests: 1000000, max_requests: 1000000}]}%[2]s
    load_assignment:
      cluster_name: %[1]s
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %[3]s, port_value: %[4]s}}}}]}]
`, name, protocol, host, port)
}
