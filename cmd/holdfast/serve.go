package main

import (
	"crypto/tls"
	"errors"

	"go.uber.org/zap"

	"holdfast/processor/config"
)

type serveCmd struct {
	Config string `placeholder:"FILE" help:"Configuration file (default: the built-in configuration)."`
	Listen string `placeholder:"ADDR" help:"Where Envoy finds the processor, unix:/path or host:port (default: listen of the configuration, unix:/run/holdfast/extproc.sock)."`
	Admin  string `placeholder:"ADDR" help:"Health, metrics and admin API (default: admin of the configuration, ${default_admin})."`
}

// Help is shown by serve --help.
func (*serveCmd) Help() string {
	return `Serves ext_proc and grpc.health.v1 on one port for an Envoy that runs elsewhere; "holdfast bootstrap" prints what that Envoy needs.

SIGHUP, or a change of the file, reloads the policies, the log level and the TLS files. Streams that are running keep what they began with. A bad file is refused, logged, and the old configuration stays.

Hold mode needs the way back through Envoy, and a socket for what it holds; "holdfast bootstrap --config" with the same file gives Envoy both:

    fetch: {url: "unix:/run/holdfast/loopback.sock"}
    relay: {listen: "unix:/run/holdfast/relay.sock"}

SIGINT and SIGTERM drain: health turns to NOT_SERVING, streams end between two events over drain.spread and at the latest at drain.deadline. A second signal ends at once.

GOMEMLIMIT is set to 90 % of the container's memory, unless you set it. GOGC=300 buys up to a tenth of the CPU with memory.

Examples:

    holdfast serve --config holdfast.yaml
    holdfast serve --listen unix:/tmp/holdfast.sock --admin 127.0.0.1:0`
}

// Run returns after a signal, or when a server fails.
func (c *serveCmd) Run(p *program) error {
	stop := notifyStop()
	defer stop.forget()
	hup := notifyReload()

	loaded := printOf(c.Config) // before it is read, or a change in between would be missed
	cfg, log, level, err := setup(p, c.Config, c.Admin, c.Listen)
	if err != nil {
		return err
	}
	loaded += printBeside(cfg)
	if cfg.Listen == "" {
		return usage(errors.New("listen is empty: there is nothing to serve"))
	}
	var creds *tls.Config
	var certs *certificates
	if cfg.TLS.Cert != "" {
		if certs, err = loadCertificates(cfg.TLS); err != nil {
			return usage(err)
		}
		creds = certs.config()
	}
	svc, err := newService(cfg, log, level, creds)
	if err != nil {
		return err
	}
	defer svc.stop()

	network, address := cfg.Listen.Split()
	lis, err := listen(stop.ctx, network, address, "listen")
	if err != nil {
		return err
	}
	adminNetwork, adminAddress := cfg.Admin.Split()
	if err := svc.admin.start(stop.ctx, adminNetwork, adminAddress); err != nil {
		lis.Close()
		return err
	}
	if err := svc.startRelay(stop.ctx); err != nil {
		lis.Close()
		return err
	}
	svc.serve(lis)
	log.Info("serving ext_proc", zap.String("address", lis.Addr().String()), zap.Bool("tls", creds != nil),
		zap.String("fetch", cfg.Redacted().Fetch.URL), zap.String("relay", string(cfg.Relay.Listen)))

	if cfg.Fetch.URL == "" && mayHold(cfg) {
		log.Warn("nothing is held, for fetch.url is not set: event streams run inline, where a reset of the upstream reaches the client; " +
			"set fetch.url and relay.listen as \"holdfast serve --help\" shows, or mode: inline if that is what you want")
	}

	r := newReloader(&reloader{
		service: svc,
		certs:   certs,
		hup:     hup,
		path:    c.Config,
		load:    func() (*config.Config, error) { return loadWith(c.Config, c.Admin, c.Listen) },
	}, loaded)
	go r.run(stop.ctx)

	select {
	case err := <-svc.failed:
		return err
	case <-stop.ctx.Done():
		log.Info("stopping", zap.Stringer("signal", stop.first()))
	}
	svc.drain(stop.second)
	if stop.second.Err() != nil {
		svc.grpc.Stop()
		return errors.New("stopped at once by a second signal; streams in progress were left to Envoy")
	}
	return nil
}
