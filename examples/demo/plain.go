package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed plain.yaml
var plainConfig string

// plainEnvoy is Envoy without Holdfast before the same origin.
type plainEnvoy struct {
	*process

	url string
}

// startPlain starts it with files in dir and waits until it serves.
func startPlain(ctx context.Context, binary, dir, origin string) (*plainEnvoy, error) {
	at, err := url.Parse(origin)
	if err != nil {
		return nil, err
	}
	config, socket := filepath.Join(dir, "plain.yaml"), filepath.Join(dir, "admin.sock")
	file, err := os.Create(config)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	err = template.Must(template.New("").Parse(plainConfig)).Execute(file,
		map[string]string{"Admin": socket, "Host": at.Hostname(), "Port": at.Port()})
	if err != nil {
		return nil, err
	}
	// Hot restart needs a number that no other Envoy on this machine uses.
	p, err := startProcess("the plain Envoy", binary,
		"--config-path", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	if err != nil {
		return nil, err
	}
	e := &plainEnvoy{process: p}
	if e.url, err = e.await(ctx, socket); err != nil {
		p.stop()
		return nil, err
	}
	return e, nil
}

// await asks the admin interface until it tells which port the listener got.
func (e *plainEnvoy) await(ctx context.Context, socket string) (string, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	admin := &http.Client{Transport: transport}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready, err := fetch(ctx, admin, "http://admin/ready"); err == nil && strings.Contains(ready, "LIVE") {
			return listenerOf(ctx, admin)
		}
		select {
		case <-tick.C:
		case <-e.exited:
			return "", e.died()
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not start: %w%s", e.name, context.Cause(ctx), e.said.quote())
		}
	}
}

// listenerOf is the URL of the only listener:
// https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin#get--listeners
func listenerOf(ctx context.Context, admin *http.Client) (string, error) {
	text, err := fetch(ctx, admin, "http://admin/listeners?format=json")
	if err != nil {
		return "", err
	}
	var list struct {
		Listeners []struct {
			LocalAddress struct {
				SocketAddress struct {
					Address   string `json:"address"`
					PortValue uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return "", fmt.Errorf("list of listeners: %w", err)
	}
	if len(list.Listeners) != 1 {
		return "", errors.New("want one listener: " + text)
	}
	a := list.Listeners[0].LocalAddress.SocketAddress
	return "http://" + net.JoinHostPort(a.Address, fmt.Sprint(a.PortValue)), nil
}

// fetch GETs a page of a program that the demo started.
func fetch(ctx context.Context, client *http.Client, at string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody) //nolint:gosec // G704: the URL is of a program the demo started
	if err != nil {
		return "", err
	}
	r.Close = true            // no idle connection to leave behind
	resp, err := client.Do(r) //nolint:gosec // G704: as above
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", at, err)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %s: %s", at, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
