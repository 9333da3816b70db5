package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	// dialTimeout and answerTimeout are how long Redis may take to be connected to, and
	// to answer. Nobody waits for either but who has to be told that it does not.
	dialTimeout   = 2 * time.Second
	answerTimeout = 3 * time.Second

	// bufferSize is of a connection's buffer, for each direction. rueidis's own is half
	// a megabyte.
	bufferSize = 64 << 10
)

// clientOption reads a URL.
func clientOption(raw string) (rueidis.ClientOption, error) {
	// Neither url.Parse nor rueidis can be trusted with an error that says nothing of
	// the password.
	option, err := rueidis.ParseURL(raw)
	u, urlErr := url.Parse(raw)
	if err != nil || urlErr != nil || raw == "" {
		return option, fmt.Errorf("%q is not the address of a Redis: write it as "+
			"redis://user:password@host:6379/0 (rediss:// for TLS)", withoutSecrets(raw))
	}
	query := u.Query()
	if option.TLSConfig != nil {
		if err := trust(option.TLSConfig, query); err != nil {
			return option, err
		}
	} else if query.Has("ca") || query.Has("cert") || query.Has("key") {
		return option, errors.New("ca, cert and key are for TLS: write rediss:// instead of redis://")
	}
	if option.Sentinel.MasterSet != "" {
		option.Sentinel.TLSConfig = option.TLSConfig
		option.Sentinel.Username = query.Get("sentinel_username")
		option.Sentinel.Password = query.Get("sentinel_password")
	}
	if option.Dialer.Timeout == 0 {
		option.Dialer.Timeout = dialTimeout
	}
	if option.ConnWriteTimeout == 0 {
		option.ConnWriteTimeout = answerTimeout
	}
	if option.ClientName == "" {
		option.ClientName = "holdfast"
	}
	option.ReadBufferEachConn, option.WriteBufferEachConn = bufferSize, bufferSize
	option.RingScaleEachConn = 8
	option.PipelineMultiplex = 1 // 2 connections to each node
	option.DisableCache = true   // a log only grows, and a state is read once
	// A unix socket has one Redis, and a cluster no sockets.
	option.ForceSingleClient = u.Scheme == "unix"
	return option, nil
}

// trust reads what TLS needs to know.
func trust(c *tls.Config, query url.Values) error {
	if file := query.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("authorities to trust Redis by: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("authorities to trust Redis by: no certificate in %s", file)
		}
	}
	if query.Has("cert") || query.Has("key") {
		pair, err := tls.LoadX509KeyPair(query.Get("cert"), query.Get("key"))
		if err != nil {
			return fmt.Errorf("certificate to show Redis: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// secret is whatever stands between the scheme and the last @, and the values of a
// query.
var secret = regexp.MustCompile(`//.*@|=[^&]*`)

func withoutSecrets(raw string) string {
	return secret.ReplaceAllStringFunc(raw, func(s string) string {
		if strings.HasPrefix(s, "//") {
			return "//…@"
		}
		return "=…"
	})
}
