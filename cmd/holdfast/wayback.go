package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"

	"holdfast/envoy"
	"holdfast/processor/config"
	"holdfast/processor/keyfile"
	"holdfast/processor/pass"
	"holdfast/processor/upstream"
)

// wayBack is what hold mode needs besides ext_proc: the way back through Envoy to
// the upstreams, and what signs what goes that way.
type wayBack struct {
	fetch  *upstream.Dialer // nil: nothing is held
	passes *pass.Signer     // nil: the way back does not meet the filter
}

// newWayBack makes no connection yet.
func newWayBack(c config.Fetch) (wayBack, error) {
	var w wayBack
	if c.URL == "" {
		return w, nil
	}
	if c.PassKeyFile != "" {
		keys, err := keyfile.Read(c.PassKeyFile)
		if err != nil {
			return w, usage(fmt.Errorf("fetch.pass_key_file: %w", err))
		}
		if w.passes, err = pass.New(keys, pass.Options{}); err != nil {
			return w, usage(fmt.Errorf("fetch.pass_key_file: %w", err))
		}
	}
	var err error
	if w.fetch, err = upstream.New(upstream.Options{URL: c.URL, Pass: w.passes}); err != nil {
		return w, usage(err)
	}
	return w, nil
}

func (w wayBack) close() {
	if w.fetch != nil {
		w.fetch.Close()
	}
}

// startRelay opens relay.listen, if it is configured, and serves there until stop.
func (s *service) startRelay(ctx context.Context) error {
	network, address := s.cfg.Relay.Listen.Split()
	if address == "" {
		return nil
	}
	lis, err := listen(ctx, network, address, "relay.listen")
	if err != nil {
		return err
	}
	s.relay = s.processor.RelayServer()
	go func() {
		if err := s.relay.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("the relay server stopped: %w", err)
		}
	}()
	return nil
}

// stopRelay ends connections in order for as long as ctx lasts. Streams that are
// still there then are cut.
func (s *service) stopRelay(ctx context.Context) {
	if s.relay == nil {
		return
	}
	if s.relay.Shutdown(ctx) != nil {
		_ = s.relay.Close() // of listeners, which are closed already
	}
}

// fetchAddress is where fetch.url leads.
func fetchAddress(url string) (envoy.Address, error) {
	at := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")
	a, err := envoy.ParseAddress(at)
	if err != nil {
		return a, fmt.Errorf("fetch.url: %w", err)
	}
	return a, nil
}

// beside is a socket in the directory of another; unset where that one is none.
func beside(socket envoy.Address, name string) envoy.Address {
	if !socket.IsUnix() {
		return envoy.Address{}
	}
	return envoy.Address{Path: path.Join(path.Dir(socket.Path), name)}
}

// Names of the sockets that hold mode needs.
const (
	loopbackSocket = "loopback.sock"
	relaySocket    = "relay.sock"
)

// knownPort refuses a port that is known only once something listens.
func knownPort(a envoy.Address, what, flag string) error {
	if a != (envoy.Address{}) && !a.IsUnix() && a.Port == 0 {
		return fmt.Errorf("%s %s has port 0, which only its listener can know; name the real one with %s",
			what, net.JoinHostPort(a.Host, "0"), flag)
	}
	return nil
}
