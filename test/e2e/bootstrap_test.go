package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/test/harness"
)

// TestEnvoyAcceptsBootstrap gives what bootstrap prints to Envoy's own check,
// which knows more than the rules in the protobufs.
func TestEnvoyAcceptsBootstrap(t *testing.T) {
	t.Parallel()
	pki := newAuthority(t)
	cert, key := pki.issue(t, "holdfast.example")
	plain := harness.WriteFile(t, "plain.yaml", "listen: holdfast.example:9000\n")
	secure := harness.WriteFile(t, "secure.yaml",
		fmt.Sprintf("listen: 127.0.0.1:9000\ntls: {cert: %s, key: %s, client_ca: %s}\n", cert, key, pki.ca))
	held := harness.WriteFile(t, "held.yaml", `{fetch: {url: "unix:/run/holdfast/loopback.sock"}, relay: {listen: "unix:/run/holdfast/relay.sock"}}`)
	for name, args := range map[string][]string{
		"default":      {},
		"address":      {"--upstream", "http://127.0.0.1:3000"},
		"ipv6":         {"--upstream", "http://[::1]:3000", "--listen", "[::1]:8080"},
		"localhost":    {"--upstream", "http://localhost:3000"},
		"name":         {"--upstream", "http://example.com:8080"},
		"several":      {"--upstream", "h2c://10.0.0.1:1", "--upstream", "h2c://10.0.0.2:1"},
		"mixed hosts":  {"--upstream", "http://10.0.0.1", "--upstream", "http://example.com", "--upstream", "http://localhost"},
		"tls":          {"--upstream", "https://example.com"},
		"tls names":    {"--upstream", "https://a.example.com", "--upstream", "https://b.example.com:8443", "--upstream", "https://10.0.0.1", "--upstream-ca", pki.ca},
		"unix listen":  {"--listen", "unix:/tmp/holdfast-public.sock"},
		"access log":   {"--access-log", filepath.Join(t.TempDir(), "access.log")},
		"remote":       {"--config", plain},
		"remote mTLS":  {"--config", secure, "--processor-ca", pki.ca, "--processor-cert", cert, "--processor-key", key, "--processor-name", "holdfast.example"},
		"tcp admin":    {"--envoy-admin", "127.0.0.1:9901"},
		"json":         {"--format", "json"},
		"port 0 local": {"--listen", "localhost:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			says := "" // but for what is lacking for hold mode
			switch {
			case name == "default":
				says = "fetch: {url: "
			case !slices.Contains(args, "--config"):
				args = append([]string{"--config", held}, args...)
			}
			code, text, stderr := harness.RunHoldfast(t, append([]string{"bootstrap"}, args...)...)
			if code != 0 || (stderr != "") != (says != "") || !strings.Contains(stderr, says) {
				t.Fatalf("exit code %d\n%s", code, stderr)
			}
			file := harness.WriteFile(t, "envoy.yaml", text)
			out, err := exec.Command(harness.Envoy(t), "--mode", "validate", "-c", file).CombinedOutput()
			if err != nil {
				t.Fatalf("envoy --mode validate: %v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "[warning]") || strings.Contains(line, "eprecated") {
					t.Errorf("Envoy warns: %s", line)
				}
			}
		})
	}
}

// TestHTTPSUpstream: verified against the authority that was named, by the name
// in the URL, and the upstream sees that name.
func TestHTTPSUpstream(t *testing.T) {
	t.Parallel()
	pki := newAuthority(t)
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			cert, key := pki.issue(t, "localhost")
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("content-type", "text/event-stream")
				fmt.Fprint(w, event("1", r.Proto+" "+r.TLS.ServerName))
			}))
			origin.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{protocol}}
			origin.EnableHTTP2 = protocol == "h2"
			origin.StartTLS()
			t.Cleanup(origin.Close)
			_, port, err := net.SplitHostPort(origin.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			proto := map[string]string{"h2": "HTTP/2.0", "http/1.1": "HTTP/1.1"}[protocol]

			gw := harness.Run(t, "https://localhost:"+port, now, "--upstream-ca", pki.ca)
			gw.Get(t, "/").WantBody(t, event("1", proto+" localhost"))

			// Nobody vouches for this one.
			stranger := harness.Run(t, "https://localhost:"+port, now)
			if code := stranger.Get(t, "/").Response(t).StatusCode; code != http.StatusServiceUnavailable {
				t.Errorf("an unverified upstream was asked: status %d", code)
			}
			// The certificate is for a name, not for the address.
			other := harness.Run(t, "https://127.0.0.1:"+port, now, "--upstream-ca", pki.ca)
			if code := other.Get(t, "/").Response(t).StatusCode; code != http.StatusServiceUnavailable {
				t.Errorf("an upstream with another name was asked: status %d", code)
			}
		})
	}
}

// TestLocalhostIsEitherFamily: runtimes disagree about which address "localhost"
// is, and the upstream's choice is not the user's business.
func TestLocalhostIsEitherFamily(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			lis, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.Host)
			}))
			origin.Listener.Close()
			origin.Listener = lis
			origin.Start()
			t.Cleanup(origin.Close)
			_, port, err := net.SplitHostPort(lis.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			gw := harness.Run(t, "http://localhost:"+port, now)
			gw.Get(t, "/").WantBody(t, strings.TrimPrefix(gw.URL, "http://"))
		})
	}
}

// authority issues certificates for one test.
type authority struct {
	ca   string // PEM file
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, last: 1}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.ca = a.write(t, "ca.pem", "CERTIFICATE", a.sign(t, a.cert, key))
	return a
}

// issue returns PEM files of a certificate, for servers and clients, and its key.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.last++
	der := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, priv)
	text, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, "cert.pem", "CERTIFICATE", der), a.write(t, "key.pem", "PRIVATE KEY", text)
}

func (a *authority) sign(t *testing.T, c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
