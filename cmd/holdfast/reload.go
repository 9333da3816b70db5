package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/config"
)

// watchInterval is how often the files are looked at. Looking needs no kernel
// interface that differs between systems, and sees the symbolic links that
// Kubernetes swaps under a mounted ConfigMap.
const watchInterval = time.Second

// reloader puts a new configuration into a running service: on SIGHUP, and when
// a file has changed and then stayed the same for one interval, so that an
// editor in the middle of writing is not taken at its word.
type reloader struct {
	*service

	hup   <-chan os.Signal
	path  string // of the configuration; "": there is none
	load  func() (*config.Config, error)
	certs *certificates // nil: clear text

	applied string // print of the files last loaded, or refused
	seen    string // at the last look
}

// newReloader is for a service that has been made from the files as loaded was their
// print: what has changed since then is seen at the first looks.
func newReloader(r *reloader, loaded string) *reloader {
	r.applied, r.seen = loaded, loaded
	return r
}

// notifyReload catches SIGHUP, for good. It comes before anything else that a
// program does: until then the signal ends it, and a supervisor that has just
// changed a file does not wait for us to be ready.
func notifyReload() <-chan os.Signal {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup
}

// run works until ctx ends.
func (r *reloader) run(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hup:
			r.reload("SIGHUP")
		case <-tick.C:
			r.look()
		}
	}
}

// look reloads if there is something new that is no longer changing.
func (r *reloader) look() {
	now := r.print()
	if now != r.applied && now == r.seen {
		r.reload("changed file")
	}
	r.seen = now
}

// print tells versions of the files apart.
func (r *reloader) print() string { return printOf(r.path) + printBeside(r.cfg) }

// printBeside is for the files that the configuration names.
func printBeside(cfg *config.Config) string {
	return printOf(cfg.TLS.Cert) + printOf(cfg.TLS.Key) + printOf(cfg.TLS.ClientCA) + printOf(cfg.Seal.KeyFile)
}

// printOf is a file's part. One that cannot be read is a version too: it was
// removed, and may come back. Links are followed, so that a directory that a link
// leads to now is another version, as Kubernetes changes what it has mounted.
func printOf(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return path + ": missing;"
	}
	var inode uint64
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%s: %d %d %d;", path, inode, info.Size(), info.ModTime().UnixNano())
}

func (r *reloader) reload(why string) {
	r.applied = r.print()
	if err := r.apply(); err != nil {
		r.log.Error("the configuration was refused; the old one stays", zap.String("because", why), zap.Error(err))
		return
	}
	r.log.Info("configuration reloaded", zap.String("because", why))
}

// apply is all or nothing: what can fail comes before what takes effect.
func (r *reloader) apply() error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	policies, err := cfg.Compile()
	if err != nil {
		return err
	}
	var handshakes *tls.Config
	if r.certs != nil {
		if handshakes, err = readCertificates(r.cfg.TLS); err != nil {
			return err
		}
	}
	keys, err := sealKeys(r.cfg.Seal)
	if err != nil {
		return err
	}
	if err := r.processor.SetPolicies(policies); err != nil {
		return err
	}
	if r.certs != nil {
		r.certs.current.Store(handshakes)
	}
	if keys != nil {
		if err := r.sealer.SetKeys(keys); err != nil {
			return err // of keys that were read, and so are good
		}
	}
	setLevel(r.level, cfg.Log.Level)
	effective, later := config.Reload(r.admin.effective.Load(), cfg)
	if len(later) > 0 {
		r.log.Warn("these changes take effect only when holdfast is started again", zap.Strings("keys", later))
	}
	r.admin.effective.Store(effective)
	return nil
}
