package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"go.uber.org/zap"

	"holdfast/envoy"
)

// tryFor bounds one look at an upstream, which delays the ready line.
const tryFor = time.Second

// warnUpstreams tells a newcomer why the first request will get a 503, which
// Envoy itself says nowhere. It is no reason to stop: an upstream may come later.
func (g *gateway) warnUpstreams(ctx context.Context) {
	for _, u := range g.options.Upstreams {
		if err := tryUpstream(ctx, u, g.options.UpstreamCA); err != nil {
			g.log.Warn("the upstream cannot be used; until it can, requests get 503",
				zap.Stringer("upstream", u), zap.String("error", err.Error()))
		}
	}
}

// tryUpstream connects as Envoy will. ca is the PEM file that an https upstream
// is checked against; "": the system's.
func tryUpstream(ctx context.Context, u envoy.Upstream, ca string) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.HostPort())
	if err != nil {
		return errors.New(reason(err))
	}
	defer conn.Close()
	if u.Scheme != envoy.HTTPS {
		return nil
	}
	trust := &tls.Config{ServerName: u.Host, MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no PEM certificate; give --upstream-ca the file of the authority that signed the upstream's", ca)
		}
	}
	err = tls.Client(conn, trust).HandshakeContext(ctx)
	if bad := new(tls.CertificateVerificationError); errors.As(err, &bad) {
		return fmt.Errorf("its certificate is not trusted: %w; name the authority that signed it with --upstream-ca", bad.Err)
	}
	return err
}
