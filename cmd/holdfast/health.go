package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"holdfast/processor/config"
)

// healthTimeout is below the timeouts that container engines give a check.
const healthTimeout = 2 * time.Second

type healthCmd struct {
	Admin string `placeholder:"ADDR" default:"${default_admin}" help:"The admin port of the Holdfast to ask (default: ${default})."`
	URL   string `name:"url" placeholder:"URL" help:"Ask this address instead, such as http://127.0.0.1:9901/ready of an Envoy; 200 is healthy."`
}

// Help is shown by health --help.
func (*healthCmd) Help() string {
	return `Asks a running Holdfast whether it is ready, and says why if it is not: for health checks of containers, whose images have no shell and no curl.

Exit code: 0 ready, 1 not ready or no answer within 2 s, 2 bad arguments.

Examples:

    holdfast health
    holdfast health --admin 127.0.0.1:9912
    holdfast health --url http://127.0.0.1:9901/ready`
}

// Run prints nothing as long as all is well.
func (c *healthCmd) Run(*program) error {
	network, address := config.Address(c.Admin).Split()
	at := c.URL
	if at == "" {
		at = "http://" + address + "/readyz"
		if network == "unix" {
			at = "http://localhost/readyz" // the socket is where the request goes; the name is what the port expects
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil || req.URL.Scheme != "http" || req.URL.Host == "" {
		return usage(fmt.Errorf("%s is no address to ask; give --admin host:port, or --url such as http://127.0.0.1:9901/ready", at))
	}
	var transport http.Transport // no proxy stands between a process and its own health
	if c.URL == "" && network == "unix" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // the status says enough
		return fmt.Errorf("not ready: %s answered %s: %s", at, res.Status, strings.TrimSpace(string(why)))
	}
	return nil
}
