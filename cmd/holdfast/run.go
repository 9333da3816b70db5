package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"holdfast/envoy"
	"holdfast/processor/config"
)

const (
	defaultListen   = "127.0.0.1:8080"
	defaultAdmin    = "127.0.0.1:9902"
	defaultUpstream = "http://127.0.0.1:3000"

	// startTimeout is for Envoy to begin serving: tens of milliseconds by itself,
	// seconds where it waits for DNS.
	startTimeout = 60 * time.Second
	// stopGrace is for Envoy to exit once its streams are gone.
	stopGrace = 4 * time.Second
)

type runCmd struct {
	Upstream []string `required:"" sep:"none" placeholder:"URL" help:"Where requests go: http://, https:// or h2c:// (HTTP/2 without TLS), and host:port. Repeat it for more hosts of the same cluster."`
	Listen   string   `placeholder:"ADDR" default:"${default_listen}" help:"Where clients come; port 0 picks a free one (default: ${default})."`
	Admin    string   `placeholder:"ADDR" help:"Health, metrics and admin API; port 0 picks a free one (default: admin of the configuration, ${default_admin})."`
	Config   string   `placeholder:"FILE" help:"Configuration file; listen, tls, fetch and relay in it do not apply here."`
	Envoy    string   `placeholder:"PATH" help:"The Envoy binary (default: $$HOLDFAST_ENVOY, else envoy on the PATH, else .tools/envoy in a checkout of this project)."`

	upstreamFlags
}

// Help is shown by run --help.
func (*runCmd) Help() string {
	return `Starts Envoy and Holdfast as one program. When requests would be served it prints one line to standard output:

    ready http://127.0.0.1:8080

Everything else goes to standard error. Sockets between the two are in a private directory, so any number of these can run side by side with --listen 127.0.0.1:0 --admin 127.0.0.1:0.

A GET that asks for an event stream is held: Holdfast fetches the stream itself, through Envoy, and it goes on whatever happens to the upstream, as far as its events have ids. Other event streams run inline. A policy of the configuration decides otherwise with mode.

SIGINT and SIGTERM drain: new requests are refused, event streams end between two events, other requests have until drain.deadline of the configuration. A second signal ends at once. Envoy never outlives holdfast, whatever happens to it.

Exit code: 0 after a signal, 1 if Envoy cannot start or dies, 2 for bad arguments or a bad configuration.

GOMEMLIMIT is set to 90 % of the container's memory, unless you set it. GOGC=300 buys up to a tenth of the CPU with memory. Holdfast uses half of the CPUs, and leaves the others to Envoy, unless you set GOMAXPROCS.

Examples:

    holdfast run --upstream http://127.0.0.1:3000
    holdfast run --upstream https://api.example.com --listen 127.0.0.1:0 --config holdfast.yaml
    holdfast run --upstream http://10.0.0.1:3000 --upstream http://10.0.0.2:3000`
}

// Run returns when Envoy is gone and nothing of us is left.
func (c *runCmd) Run(p *program) error {
	stop := notifyStop(syscall.SIGHUP) // a closed terminal
	defer stop.forget()

	cfg, log, level, err := setup(p, c.Config, c.Admin, "")
	if err != nil {
		return err
	}
	o, err := c.options(string(cfg.Admin))
	if err != nil {
		return usage(err)
	}
	bin, err := envoy.Find(c.Envoy, p.place)
	if err != nil {
		return err
	}
	version, err := checkVersion(bin, log)
	if err != nil {
		return err
	}
	o.Version = version
	if o.Peek, err = peekIfAble(cfg, o.Upstreams, version, log); err != nil {
		return usage(err)
	}
	dir, err := newPrivateDir(log)
	if err != nil {
		return err
	}
	defer func() {
		if err := dir.remove(); err != nil {
			log.Warn("cannot remove the private directory", zap.Error(err))
		}
	}()
	o.Loopback, o.Relay = privateWayBack(cfg, dir)
	o.Immediate = injects(cfg, true)
	shareCPUs(p.place.Getenv)
	svc, err := newService(cfg, log, level, nil)
	if err != nil {
		return err
	}
	defer svc.stop()

	g := &gateway{service: svc, dir: dir, binary: bin, options: o}
	if err := g.start(stop.ctx); err != nil {
		return err
	}
	at, err := g.ready(stop.ctx)
	if err != nil {
		g.envoy.Kill()
		if stop.ctx.Err() != nil {
			return nil // told to stop before it began
		}
		return explain(err, c.Listen)
	}
	g.warnUpstreams(stop.ctx)
	fmt.Fprintln(p.stdout, "ready "+readyURL(at))
	return g.supervise(stop)
}

// options are those of the Envoy configuration that do not depend on the private
// directory.
func (c *runCmd) options(admin string) (envoy.Options, error) {
	o := envoy.Options{UpstreamCA: c.UpstreamCA, AccessLog: c.AccessLog}
	var err error
	if o.Listen, err = envoy.ParseAddress(c.Listen); err != nil {
		return o, fmt.Errorf("--listen: %w", err)
	}
	if o.Upstreams, err = parseUpstreams(c.Upstream); err != nil {
		return o, err
	}
	if c.UpstreamCA != "" {
		if _, err := os.Stat(c.UpstreamCA); err != nil {
			return o, fmt.Errorf("--upstream-ca: %w", err)
		}
	}
	for _, u := range o.Upstreams {
		if u.HostPort() == o.Listen.Reachable().Dial() {
			return o, fmt.Errorf("upstream %s is where --listen is: requests would go round in circles; change one of them", u)
		}
		if u.HostPort() == admin {
			return o, fmt.Errorf("upstream %s is where --admin is; change one of them", u)
		}
	}
	return o, nil
}

// privateWayBack puts both sockets of hold mode into the private directory,
// whatever is configured for a processor that runs alone.
func privateWayBack(cfg *config.Config, dir *privateDir) (loopback, relay envoy.Address) {
	loopback = envoy.Address{Path: dir.file(loopbackSocket)}
	relay = envoy.Address{Path: dir.file(relaySocket)}
	cfg.Fetch = config.Fetch{URL: loopback.String()}
	cfg.Relay.Listen = config.Address(relay.String())
	return loopback, relay
}

func checkVersion(bin envoy.Binary, log *zap.Logger) (envoy.Version, error) {
	v, err := envoy.Probe(context.Background(), bin.Path)
	if err != nil {
		return v, fmt.Errorf("the Envoy found by %s does not work: %w", bin.From, err)
	}
	log.Info("using Envoy", zap.Stringer("version", v), zap.String("path", bin.Path), zap.String("from", bin.From))
	if least := envoy.Recommended(); v.Before(least) {
		log.Warn("this Envoy is old: it may refuse its configuration, and some features will be missing",
			zap.Stringer("version", v), zap.Stringer("wanted", least))
	}
	return v, nil
}

// gateway is Envoy and the processor as one program.
type gateway struct {
	*service

	dir     *privateDir
	binary  envoy.Binary
	options envoy.Options

	envoy *envoy.Process
	ask   *envoy.Admin
}

// start opens our sockets, then starts Envoy, which therefore finds a processor
// from its first moment.
func (g *gateway) start(ctx context.Context) error {
	o := &g.options
	if err := probeListen(ctx, o.Listen); err != nil {
		return err
	}
	network, address := g.cfg.Admin.Split()
	if err := g.admin.start(ctx, network, address); err != nil {
		return err
	}
	o.Processor = envoy.Address{Path: g.dir.file("extproc.sock")}
	lis, err := listen(ctx, o.Processor.Network(), o.Processor.Dial(), "ext_proc")
	if err != nil {
		return err
	}
	if err := g.startRelay(ctx); err != nil {
		lis.Close()
		return err
	}
	g.serve(lis)

	o.Admin = envoy.Address{Path: g.dir.file("envoy.sock")}
	b, err := envoy.Bootstrap(*o)
	if err != nil {
		return usage(err)
	}
	text, err := envoy.YAML(b)
	if err != nil {
		return err
	}
	path := g.dir.file("envoy.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("cannot write Envoy's configuration: %w", err)
	}
	g.ask = envoy.NewAdmin(o.Admin)
	said := g.log.Named("envoy")
	g.envoy, err = envoy.Start(envoy.StartOptions{
		Binary: g.binary.Path,
		Config: path,
		Line:   func(line string) { said.Debug(line) },
	})
	return err
}

// probeListen finds out about a taken port before Envoy does, whose message
// nobody could read.
func probeListen(ctx context.Context, a envoy.Address) error {
	if a.Port == 0 && !a.IsUnix() {
		return nil
	}
	if a.Host == "localhost" {
		a.Host = "127.0.0.1" // as Envoy will
	}
	lis, err := listen(ctx, a.Network(), a.Dial(), "--listen")
	if err != nil {
		return err
	}
	return lis.Close()
}

// ready waits until Envoy serves.
func (g *gateway) ready(ctx context.Context) (envoy.Address, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("waited %v", startTimeout))
	defer cancel()
	return g.envoy.WaitReady(ctx, g.ask, envoy.PublicListener)
}

// readyURL is the contract's form; a unix socket has no URL that clients agree on.
func readyURL(a envoy.Address) string {
	if a.IsUnix() {
		return a.String()
	}
	return "http://" + a.Dial()
}

// explain turns Envoy's words for a port that was taken in the moment between
// our look and its own into ours.
func explain(err error, at string) error {
	var exit *envoy.ExitError
	if errors.As(err, &exit) && strings.Contains(strings.Join(exit.Lines, "\n"), "Address already in use") {
		return fmt.Errorf("cannot listen at %s (--listen): the address is in use; stop what uses it, or choose another (port 0 picks a free one)", at)
	}
	return err
}

// supervise runs until a signal or until one half of the gateway dies.
func (g *gateway) supervise(stop *stopSignals) error {
	var failure error
	select {
	case <-g.envoy.Done():
		return g.envoy.Err()
	case failure = <-g.failed:
		g.log.Error("shutting down", zap.Error(failure))
	case <-stop.ctx.Done():
		g.log.Info("stopping", zap.Stringer("signal", stop.first()))
	}
	g.drainAll(stop.second)
	select {
	case <-stop.second.Done():
		g.envoy.Kill()
		return errors.New("stopped at once by a second signal; requests in progress were cut")
	default:
	}
	g.envoy.Stop(context.Background(), g.ask, stopGrace)
	return failure
}

// drainAll lets no new request in, ends the streams, and gives what else is in
// progress the rest of the time. It ends early when ctx does or Envoy dies.
func (g *gateway) drainAll(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-g.envoy.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	begin := time.Now()
	if err := g.ask.Drain(ctx); err != nil {
		g.log.Warn("Envoy did not take the drain", zap.Error(err))
	}
	g.drain(ctx)
	g.waitIdle(ctx, max(g.cfg.Drain.Deadline.Std()-time.Since(begin), passage))
}

// passage is for what has ended at the deadline to get through Envoy.
const passage = 500 * time.Millisecond

// waitIdle is for requests that are no event streams, such as downloads: nobody
// but Envoy knows of them.
func (g *gateway) waitIdle(ctx context.Context, atMost time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		n, err := g.ask.ActiveRequests(ctx, envoy.PublicListener)
		if err != nil || n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			g.log.Warn("requests in progress are cut", zap.Int("requests", n))
			return
		case <-poll.C:
		}
	}
}
