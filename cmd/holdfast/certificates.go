package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"holdfast/processor/config"
)

// certificates are the TLS files of the listen address. They can be loaded again
// while connections are served: a new handshake uses the newest.
type certificates struct {
	current atomic.Pointer[tls.Config]
}

func loadCertificates(c config.TLS) (*certificates, error) {
	conf, err := readCertificates(c)
	if err != nil {
		return nil, err
	}
	certs := &certificates{}
	certs.current.Store(conf)
	return certs, nil
}

// readCertificates reads all files. It changes nothing.
func readCertificates(files config.TLS) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		// "Implementations of HTTP/2 MUST use" this name; it is lost when a
		// configuration is handed out per connection, unless it is repeated.
		// https://www.rfc-editor.org/rfc/rfc9113#section-3.2
		NextProtos: []string{"h2"},
	}
	if files.ClientCA != "" {
		pem, err := os.ReadFile(files.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("tls.client_ca: %w", err)
		}
		conf.ClientCAs = x509.NewCertPool()
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.client_ca: no certificate in %s", files.ClientCA)
		}
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return conf, nil
}

// config hands each handshake the files loaded last.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current.Load(), nil
		},
	}
}
