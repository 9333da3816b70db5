package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"holdfast/processor/config"
)

// adminFlags name the Holdfast that is asked.
type adminFlags struct {
	Admin string `placeholder:"ADDR" default:"${default_admin}" help:"The admin port of the Holdfast to ask, host:port or unix:/path (default: ${default})."`
}

// askTimeout is how long an answer may take; the API has 5 s for its store.
const askTimeout = 10 * time.Second

// largestAnswer bounds what is taken in of one, in bytes.
const largestAnswer = 64 << 20

// adminClient asks the admin API of a running Holdfast.
type adminClient struct {
	http http.Client
	at   string // as the user named it
	base string
}

func (f *adminFlags) client() (*adminClient, error) {
	network, address := config.Address(f.Admin).Split()
	c := &adminClient{at: f.Admin, base: "http://" + address}
	transport := new(http.Transport) // no proxy: this is a port of a process, not a site
	if network == "unix" {
		// The socket is where the request goes; the name is what the port expects.
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	} else if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return nil, usage(fmt.Errorf("--admin: %q is not an address; write host:port, such as 127.0.0.1:9902, or unix:/path", f.Admin))
	}
	c.http.Transport = transport
	return c, nil
}

// apiError is an answer that is not the one that was asked for.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return e.text }

// ask sends one request and returns the body of its answer.
func (c *adminClient) ask(method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	res, err := c.send(ctx, method, path)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, largestAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer of %s broke off: %w", c.at, err)
	}
	return body, nil
}

// send sends one request and returns its answer, if that is a good one.
func (c *adminClient) send(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, http.NoBody)
	if err != nil {
		return nil, usage(fmt.Errorf("--admin: %q is not an address", c.at))
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no Holdfast answers at %s (%w); is it running, and is its admin port another one? then name that with --admin", c.at, cause(err))
	}
	if res.StatusCode < http.StatusMultipleChoices {
		return res, nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16)) // the status says enough
	var said struct{ Error string }
	if json.Unmarshal(body, &said) != nil || said.Error == "" {
		return nil, fmt.Errorf("%s answered %s, which is no answer of a Holdfast's admin port; name that with --admin", c.at, res.Status)
	}
	return nil, &apiError{res.StatusCode, printable(said.Error)}
}

// cause is what went wrong, without the URL around it.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// printable makes a text safe for a terminal: what comes over the network may
// hold sequences that move the cursor, or worse.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
