package redistest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Command has the server do something, and returns the first line of its answer.
func (s *Server) Command(tb testing.TB, words ...string) string {
	tb.Helper()
	conn, err := net.DialTimeout("unix", s.Socket, time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(Patience))
	if _, err := conn.Write([]byte(strings.Join(words, " ") + "\r\n")); err != nil {
		tb.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	if strings.HasPrefix(line, "-") {
		tb.Fatalf("%s: %s", strings.Join(words, " "), line)
	}
	return strings.TrimSpace(line)
}

// Secured is a server that speaks TLS at an address of its own, only to who shows a
// certificate.
type Secured struct {
	*Server
	SecureAddress string
	CA, Cert, Key string // files: who to trust, and what to show
}

// StartSecured starts one.
func StartSecured(tb testing.TB, args ...string) *Secured {
	tb.Helper()
	dir := tb.TempDir()
	s := &Secured{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	if err := s.certify(); err != nil {
		tb.Fatal(err)
	}
	port, err := quietPort()
	if err != nil {
		tb.Fatal(err)
	}
	s.SecureAddress = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.Server = Start(tb, append([]string{
		"--tls-port", strconv.Itoa(port), "--tls-cert-file", s.Cert, "--tls-key-file", s.Key, "--tls-ca-cert-file", s.CA,
	}, args...)...)
	return s
}

// certify makes a certificate for both ends, and whoever trusts it the authority.
func (s *Secured) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redistest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for file, block := range map[string]*pem.Block{
		s.CA: {Type: "CERTIFICATE", Bytes: cert}, s.Cert: {Type: "CERTIFICATE", Bytes: cert}, s.Key: {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Guarded is a master with a replica, and a sentinel that watches over them and
// promotes the replica soon after the master is gone.
type Guarded struct {
	Sentinel, Master, Replica *Server
}

// MasterSet is the master's name to the sentinel.
const MasterSet = "sessions"

// StartGuarded starts all three.
func StartGuarded(tb testing.TB) *Guarded {
	tb.Helper()
	g := &Guarded{Master: Start(tb)}
	g.Replica = Start(tb, "--replicaof", "127.0.0.1", strconv.Itoa(g.Master.Port), "--repl-diskless-sync-delay", "0")
	sentinel, err := start(func(s *Server) []string {
		// What it learns it writes into its file.
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\nunixsocket %s\ndir %s\n", s.Port, s.Socket, s.Dir) +
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1\n", MasterSet, g.Master.Port) +
			fmt.Sprintf("sentinel down-after-milliseconds %s 300\n", MasterSet) +
			fmt.Sprintf("sentinel failover-timeout %s 3000\n", MasterSet)
		file := filepath.Join(s.Dir, "sentinel.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		return []string{file, "--sentinel"}
	})
	if err != nil {
		tb.Fatal(err)
	}
	g.Sentinel = sentinel
	tb.Cleanup(g.Sentinel.Close)
	Eventually(tb, "the replica is up to date, and known to the sentinel", func() bool {
		return g.Master.Command(tb, "WAIT", "1", "1000") == ":1" && g.Sentinel.knowsReplica(tb)
	})
	return g
}

func (s *Server) knowsReplica(tb testing.TB) bool {
	tb.Helper()
	return s.Command(tb, "SENTINEL", "REPLICAS", MasterSet) == "*1"
}

// StartCluster starts three servers that share the keys between them.
func StartCluster(tb testing.TB) []*Server {
	tb.Helper()
	const nodes, slots = 3, 16384
	var all []*Server
	var buses []string
	for i := range nodes {
		// Without one it would be 10,000 above the other, where any connection may be.
		bus, err := quietPort()
		if err != nil {
			tb.Fatal(err)
		}
		buses = append(buses, strconv.Itoa(bus))
		s := Start(tb, "--cluster-enabled", "yes", "--cluster-port", buses[i], "--cluster-node-timeout", "2000")
		all = append(all, s)
		s.Command(tb, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/nodes), strconv.Itoa((i+1)*slots/nodes-1))
		if i > 0 {
			s.Command(tb, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
			s.Command(tb, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(all[0].Port), buses[0])
		}
	}
	Eventually(tb, "the cluster knows of itself", func() bool {
		for _, s := range all {
			if !s.whole(tb) {
				return false
			}
		}
		return true
	})
	return all
}

// whole says whether a node of a cluster knows who has which key.
func (s *Server) whole(tb testing.TB) bool {
	tb.Helper()
	conn, err := net.DialTimeout("unix", s.Socket, time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(Patience))
	if _, err := conn.Write([]byte("CLUSTER INFO\r\n")); err != nil {
		tb.Fatal(err)
	}
	answer := make([]byte, 1<<10)
	n, err := conn.Read(answer)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Contains(string(answer[:n]), "cluster_state:ok") && strings.Contains(string(answer[:n]), "cluster_known_nodes:3")
}
