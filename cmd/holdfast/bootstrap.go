package main

import (
	"errors"
	"fmt"

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
	Config   string   `placeholder:"FILE" help:"Configuration file; listen and tls in it say how to reach the processor."`
	Format   string   `enum:"yaml,json" default:"yaml" help:"yaml (with comments) or json."`
	Listen   string   `placeholder:"ADDR" default:"${default_listen}" help:"Where Envoy listens for clients (default: ${default})."`

	Processor  string `placeholder:"ADDR" help:"Where Envoy finds the processor, unix:/path or host:port (default: listen of the configuration)."`
	EnvoyAdmin string `placeholder:"ADDR" default:"unix:/run/holdfast/envoy-admin.sock" help:"Where Envoy's own admin interface listens (default: ${default})."`

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
	_, err = p.stdout.Write(text)
	return err
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
	if o.Listen, err = envoy.ParseAddress(c.Listen); err != nil {
		return o, fmt.Errorf("--listen: %w", err)
	}
	if o.Admin, err = envoy.ParseAddress(c.EnvoyAdmin); err != nil {
		return o, fmt.Errorf("--envoy-admin: %w", err)
	}
	if o.Upstreams, err = parseUpstreams(c.Upstream); err != nil {
		return o, err
	}
	o.ProcessorTLS, err = c.tls(cfg)
	return o, err
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
