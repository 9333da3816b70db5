package main

import (
	"errors"
	"fmt"
	"slices"

	"holdfast/envoy"
	"holdfast/processor/config"
)

// upstreamFlags are shared by the commands that write an Envoy configuration.
type upstreamFlags struct {
	UpstreamCA string `name:"upstream-ca" placeholder:"FILE" help:"PEM file with the authorities that https upstreams are verified against (default: the system's)."`
	AccessLog  string `placeholder:"PATH" help:"Let Envoy write one JSON line per finished request to this file (default: none)."`
}

type bootstrapCmd struct {
	Upstream []string `sep:"none" placeholder:"URL" default:"${default_upstream}" help:"Where requests go: http://, https:// or h2c:// (HTTP/2 without TLS), and host:port. Repeat it for more hosts of the same cluster (default: ${default})."`
	Config   string   `placeholder:"FILE" help:"Configuration file; listen, tls and relay in it say how to reach the processor, fetch.url where it expects Envoy."`
	Format   string   `enum:"yaml,json" default:"yaml" help:"yaml (with comments) or json."`
	Listen   string   `placeholder:"ADDR" default:"${default_listen}" help:"Where Envoy listens for clients (default: ${default})."`

	Processor  string `placeholder:"ADDR" help:"Where Envoy finds the processor, unix:/path or host:port (default: listen of the configuration)."`
	Loopback   string `placeholder:"ADDR" help:"Where Envoy listens for what the processor fetches, 127.0.0.1:port or unix:/path (default: fetch.url of the configuration, else loopback.sock beside the processor's socket)."`
	Relay      string `placeholder:"ADDR" help:"Where Envoy finds the processor's relay listener, unix:/path or host:port (default: relay.listen of the configuration, else relay.sock beside the processor's socket)."`
	EnvoyAdmin string `placeholder:"ADDR" default:"unix:/run/holdfast/envoy-admin.sock" help:"Where Envoy's own admin interface listens (default: ${default})."`

	EnvoyVersion string `placeholder:"VERSION" help:"Version of the Envoy that will read this, like 1.40.0; what holds depends on it (default: the processor learns it when a first stream has ended, and holds no request with a body via immediate before)."`

	ProcessorCA   string `name:"processor-ca" placeholder:"FILE" help:"PEM file with the authorities of the processor's certificate, if the configuration has tls (default: the system's)."`
	ProcessorCert string `placeholder:"FILE" help:"PEM file with Envoy's certificate for the processor, if the configuration has tls.client_ca."`
	ProcessorKey  string `placeholder:"FILE" help:"PEM file with the key of --processor-cert."`
	ProcessorName string `placeholder:"NAME" help:"The name in the processor's certificate (default: the host of --processor)."`

	upstreamFlags
}

// Help is shown by bootstrap --help.
func (*bootstrapCmd) Help() string {
	return `Prints a complete Envoy configuration with every setting that would cut or stall a long stream set on purpose; in YAML a comment above each says why. Use it as it is with "holdfast serve", or take from it what your own Envoy lacks.

Example, in two terminals:

    holdfast serve --listen unix:/tmp/holdfast.sock
    holdfast bootstrap --processor unix:/tmp/holdfast.sock --envoy-admin 127.0.0.1:9901 --upstream http://127.0.0.1:3000 > envoy.yaml && envoy -c envoy.yaml`
}

// Run prints to standard output and touches nothing else.
func (c *bootstrapCmd) Run(p *program) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return usage(err)
	}
	o, err := c.options(cfg)
	if err != nil {
		return usage(err)
	}
	b, err := envoy.Bootstrap(o)
	if err != nil {
		return usage(err)
	}
	render := envoy.YAML
	if c.Format == "json" {
		render = envoy.JSON
	}
	text, err := render(b)
	if err != nil {
		return err
	}
	if _, err = p.stdout.Write(text); err != nil {
		return err
	}
	if cfg.Fetch.URL == "" && o.Loopback != (envoy.Address{}) && mayHold(cfg) {
		fmt.Fprint(p.stderr, c.missing(&o))
	}
	return nil
}

// mayHold says whether a policy holds where that is possible.
func mayHold(cfg *config.Config) bool {
	return slices.ContainsFunc(cfg.Policies, func(p config.PolicyConfig) bool { return p.Mode == "hold" || p.Mode == "auto" })
}

// missing says what the processor's configuration lacks for what was printed.
func (c *bootstrapCmd) missing(o *envoy.Options) string {
	url := o.Loopback.String()
	if !o.Loopback.IsUnix() {
		url = "http://" + url
	}
	text := "holdfast: nothing will be held, for the configuration of \"holdfast serve\" has no fetch.url. What is printed fits this one:\n\n" +
		"    fetch: {url: \"" + url + "\"}\n"
	if o.Relay != (envoy.Address{}) {
		text += "    relay: {listen: \"" + o.Relay.String() + "\"}\n"
	}
	return text
}

func (c *bootstrapCmd) options(cfg *config.Config) (envoy.Options, error) {
	o := envoy.Options{UpstreamCA: c.UpstreamCA, AccessLog: c.AccessLog}
	at := c.Processor
	if at == "" {
		at = string(cfg.Listen)
	}
	var err error
	if o.Processor, err = envoy.ParseAddress(at); err != nil {
		return o, fmt.Errorf("the processor's address: %w", err)
	}
	if o.Processor.Path == "" && o.Processor.Port == 0 {
		return o, errors.New("the processor's port is 0, which only the processor can know; name the real one with --processor")
	}
	if err := c.wayBack(&o, cfg); err != nil {
		return o, err
	}
	if o.Listen, err = envoy.ParseAddress(c.Listen); err != nil {
		return o, fmt.Errorf("--listen: %w", err)
	}
	if o.Admin, err = envoy.ParseAddress(c.EnvoyAdmin); err != nil {
		return o, fmt.Errorf("--envoy-admin: %w", err)
	}
	if c.EnvoyVersion != "" {
		if o.Version, err = envoy.ParseVersion(c.EnvoyVersion); err != nil {
			return o, fmt.Errorf("--envoy-version: %w", err)
		}
		if least := envoy.Recommended(); o.Version.Before(least) {
			return o, fmt.Errorf("--envoy-version: %s refuses what bootstrap prints, and crashes where another host is tried; use %s or later", o.Version, least)
		}
	}
	if o.Upstreams, err = parseUpstreams(c.Upstream); err != nil {
		return o, err
	}
	if o.Clients, err = clientKeys(cfg); err != nil {
		return o, err
	}
	if o.Peek, err = peekFor(cfg, o.Upstreams); err != nil {
		return o, err
	}
	o.Immediate = injects(cfg, o.Relay != envoy.Address{})
	o.ProcessorTLS, err = c.tls(cfg)
	return o, err
}

// clientKeys are the places where any of the policies looks for who a client is:
// what tells sessions apart comes before what only tells principals apart.
func clientKeys(cfg *config.Config) ([]config.KeySource, error) {
	policies, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	var keys, principals []config.KeySource
	for _, p := range policies.All() {
		keys = append(keys, p.Session.Key...)
		principals = append(principals, p.Session.Principal...)
	}
	var all []config.KeySource
	for _, k := range append(keys, principals...) {
		if !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all, nil
}

// injects says whether a policy may answer with an immediate response. relayed says
// that there is the other way, which auto takes.
func injects(cfg *config.Config, relayed bool) bool {
	return slices.ContainsFunc(cfg.Policies, func(p config.PolicyConfig) bool {
		holds := p.Mode == "hold" || p.Mode == "auto"
		return holds && (p.Via == "immediate" || p.Via == "auto" && !relayed)
	})
}

// wayBack finds the two addresses of hold mode: from the flags, else from the
// configuration, else next to the processor's socket, as run has them.
func (c *bootstrapCmd) wayBack(o *envoy.Options, cfg *config.Config) error {
	var err error
	switch {
	case c.Loopback != "":
		if o.Loopback, err = envoy.ParseAddress(c.Loopback); err != nil {
			return fmt.Errorf("--loopback: %w", err)
		}
	case cfg.Fetch.PassKeyFile != "":
		// The way back is the public listener; a pass leads past the filter.
	case cfg.Fetch.URL != "":
		if o.Loopback, err = fetchAddress(cfg.Fetch.URL); err != nil {
			return err
		}
	default:
		o.Loopback = beside(o.Processor, loopbackSocket)
	}
	switch {
	case c.Relay != "":
		if o.Relay, err = envoy.ParseAddress(c.Relay); err != nil {
			return fmt.Errorf("--relay: %w", err)
		}
	case cfg.Relay.Listen != "":
		if o.Relay, err = envoy.ParseAddress(string(cfg.Relay.Listen)); err != nil {
			return fmt.Errorf("relay.listen: %w", err)
		}
		o.Relay = o.Relay.Reachable()
	case cfg.Fetch.URL == "":
		o.Relay = beside(o.Processor, relaySocket)
	}
	if err := knownPort(o.Loopback, "the loopback listener at", "--loopback"); err != nil {
		return err
	}
	return knownPort(o.Relay, "the relay listener at", "--relay")
}

func (c *bootstrapCmd) tls(cfg *config.Config) (*envoy.ClientTLS, error) {
	if cfg.TLS.Cert == "" {
		if c.ProcessorCA != "" || c.ProcessorCert != "" || c.ProcessorKey != "" || c.ProcessorName != "" {
			return nil, errors.New("--processor-ca, -cert, -key and -name need a --config with tls in it: without, the processor speaks plain text")
		}
		return nil, nil //nolint:nilnil // nil is clear text
	}
	if (c.ProcessorCert == "") != (c.ProcessorKey == "") {
		return nil, errors.New("--processor-cert and --processor-key go together")
	}
	if cfg.TLS.ClientCA != "" && c.ProcessorCert == "" {
		return nil, errors.New("the configuration has tls.client_ca, so Envoy needs a certificate: give --processor-cert and --processor-key")
	}
	return &envoy.ClientTLS{CA: c.ProcessorCA, Cert: c.ProcessorCert, Key: c.ProcessorKey, ServerName: c.ProcessorName}, nil
}

func parseUpstreams(urls []string) ([]envoy.Upstream, error) {
	var ups []envoy.Upstream
	for _, s := range urls {
		u, err := envoy.ParseUpstream(s)
		if err != nil {
			return nil, err
		}
		ups = append(ups, u)
	}
	return ups, nil
}
