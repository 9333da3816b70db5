package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Admin talks to Envoy's admin interface.
// https://www.envoyproxy.io/docs/envoy/latest/operations/admin
type Admin struct{ client *http.Client }

// NewAdmin returns a client of the interface at a. It connects when asked
// something.
func NewAdmin(a Address) *Admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, a.Network(), a.Dial())
	}
	return &Admin{client: &http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
		// Every answer is a snapshot from memory; the main thread is busy or it is not.
		Timeout: 5 * time.Second,
	}}
}

func (a *Admin) ask(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("envoy admin %s: %s", path, resp.Status)
	}
	return string(body), nil
}

// Live says whether Envoy is through its start: clusters warm, listeners open.
func (a *Admin) Live(ctx context.Context) bool {
	body, err := a.ask(ctx, http.MethodGet, "/ready")
	return err == nil && strings.TrimSpace(body) == "LIVE"
}

// ListenerAddress is where a listener really listens, which a port 0 does not
// tell.
func (a *Admin) ListenerAddress(ctx context.Context, name string) (Address, error) {
	body, err := a.ask(ctx, http.MethodGet, "/listeners?format=json")
	if err != nil {
		return Address{}, err
	}
	var got struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Pipe struct {
					Path string `json:"path"`
				} `json:"pipe"`
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		return Address{}, fmt.Errorf("envoy admin /listeners: %w", err)
	}
	for _, s := range got.Statuses {
		if s.Name == name {
			return Address{Path: s.Local.Pipe.Path, Host: s.Local.Socket.Address, Port: s.Local.Socket.Port}, nil
		}
	}
	return Address{}, fmt.Errorf("envoy has no listener %q", name)
}

// ActiveRequests is the number of requests in progress at a connection manager,
// whether they are streams or not.
func (a *Admin) ActiveRequests(ctx context.Context, statPrefix string) (int, error) {
	name := "http." + statPrefix + ".downstream_rq_active"
	body, err := a.ask(ctx, http.MethodGet, "/stats?filter=^"+strings.ReplaceAll(name, ".", `%5C.`)+"$")
	if err != nil {
		return 0, err
	}
	_, value, ok := strings.Cut(body, ": ")
	if !ok {
		return 0, errors.New("envoy admin /stats: no " + name)
	}
	return strconv.Atoi(strings.TrimSpace(value))
}

// Drain turns new clients away: their listeners stop accepting, and connections
// that are kept alive are told to close after the answer in progress. Requests in
// progress go on, and so does the loopback listener, which they may need.
func (a *Admin) Drain(ctx context.Context) error {
	// Failing health checks is what makes every answer carry Connection: close, and
	// every HTTP/2 connection a GOAWAY, at once instead of gradually.
	_, errFail := a.ask(ctx, http.MethodPost, "/healthcheck/fail")
	_, errDrain := a.ask(ctx, http.MethodPost, "/drain_listeners?inboundonly")
	return errors.Join(errFail, errDrain)
}

// Quit asks Envoy to exit, whatever is in progress.
func (a *Admin) Quit(ctx context.Context) error {
	_, err := a.ask(ctx, http.MethodPost, "/quitquitquit")
	return err
}
