//go:build deploy

// Package deploy checks the examples of deployments against what they are for: a
// real kube-apiserver with the CRDs admits them and their pods, Helm renders and
// installs the chart, and a real Envoy takes what is for it and carries a stream.
// Only what would need a node is not done: no pod runs. It needs etcd and what
// test/deploy/get-tools builds, so it has a target of its own: make e2e-kubernetes.
package deploy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tool is the path of a program that test/deploy/get-tools has built.
func tool(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(harness.Root(), ".tools", "deploy", "bin", name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%v: run test/deploy/get-tools", err)
	}
	return path
}

func example(path ...string) string {
	return filepath.Join(append([]string{harness.Root(), "examples"}, path...)...)
}

// module is where the Go toolchain keeps the files of a module that a module below
// test/deploy/tools locks.
func module(tb testing.TB, of, path string) string {
	tb.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path)
	cmd.Dir = filepath.Join(harness.Root(), "test", "deploy", "tools", of)
	out, err := cmd.Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		tb.Fatalf("module %s: %v; run test/deploy/get-tools", path, err)
	}
	return dir
}

// cluster is the part of Kubernetes that admits: the API server and etcd.
type cluster struct {
	kubeconfig string
}

// newCluster starts one for a test, which is not to run beside others: an API server
// alone keeps a small machine busy while it starts.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatalf("%v: run test/deploy/get-tools", err)
	}
	clients, peers := "http://"+harness.FreeAddress(t), "http://"+harness.FreeAddress(t)
	harness.Start(t, etcd, "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", clients, "--advertise-client-urls", clients,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)

	key := filepath.Join(dir, "accounts.key")
	writeKey(t, key)
	token := rand.Text()
	tokens := filepath.Join(dir, "tokens.csv")
	write(t, tokens, token+",tester,tester,system:masters\n")
	address := harness.FreeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	server := harness.Start(t, tool(t, "kube-apiserver"), "--etcd-servers", clients,
		"--bind-address", "127.0.0.1", "--secure-port", port, "--cert-dir", filepath.Join(dir, "certificates"),
		"--token-auth-file", tokens, "--authorization-mode", "RBAC", "--endpoint-reconciler-type", "none",
		"--service-cluster-ip-range", "10.96.0.0/16", "--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", key, "--service-account-signing-key-file", key)

	c := &cluster{kubeconfig: filepath.Join(dir, "kubeconfig")}
	write(t, c.kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: tester}}]
users: [{name: tester, user: {token: %s}}]
clusters:
- name: test
  cluster:
    server: https://%s
    certificate-authority: %s
    tls-server-name: kubernetes.default.svc
`, token, address, filepath.Join(dir, "certificates", "apiserver.crt")))
	ready := func() bool {
		if server.Exited() {
			t.Fatalf("kube-apiserver ended:\n%s", server.Output())
		}
		_, _, err := c.try("", tool(t, "kubectl"), "get", "--raw", "/readyz")
		return err == nil
	}
	// Two seconds on an idle machine, and all that a busy one has for many.
	for deadline := time.Now().Add(6 * harness.Patience); !ready(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the API server does not become ready")
		}
	}
	if false {
		return c
	}
	return c
}

func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// try runs a program that finds the cluster by its kubeconfig.
func (c *cluster) try(stdin, name string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// run is try for what has to succeed, and without a warning.
func (c *cluster) run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	out, errs, err := c.try(stdin, name, args...)
	if err != nil || strings.Contains(errs, "Warning") {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, errs)
	}
	return out
}

func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "", tool(t, "kubectl"), args...)
}

// apply creates objects for good; an unknown field is an error.
func (c *cluster) apply(t *testing.T, namespace, objects string) {
	t.Helper()
	c.run(t, objects, tool(t, "kubectl"), "apply", "-n", namespace, "--server-side", "--validate=strict", "-f", "-")
}

// wantRefused is for objects that the API server must not admit, for a reason that
// has the words in it.
func (c *cluster) wantRefused(t *testing.T, namespace, objects, words string) {
	t.Helper()
	out, errs, err := c.try(objects, tool(t, "kubectl"), "apply", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", "-")
	if err == nil {
		t.Fatalf("admitted, although wrong (%s):\n%s%s", words, out, objects)
	}
	if !strings.Contains(errs, words) {
		t.Fatalf("refused, but not because of %q:\n%s", words, errs)
	}
}

// crds installs definitions, and waits until their kinds can be used.
func (c *cluster) crds(t *testing.T, paths ...string) {
	t.Helper()
	args := []string{"create"}
	for _, path := range paths {
		args = append(args, "-f", path)
	}
	c.kubectl(t, args...)
	c.kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
}

// restricted makes a namespace that admits only what has no rights.
func (c *cluster) restricted(t *testing.T, name string) string {
	t.Helper()
	c.apply(t, "", `apiVersion: v1
kind: Namespace
metadata:
  name: `+name+`
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
`)
	c.kubectl(t, "create", "serviceaccount", "default", "-n", name) // a controller would
	return name
}

// wantPods has the API server admit what the deployment's controller would make: pods
// are where the namespace's security standard is enforced.
func (c *cluster) wantPods(t *testing.T, namespace, deployment string, n int) {
	t.Helper()
	var made struct {
		Spec struct {
			Replicas int
			Template struct {
				Metadata map[string]any
				Spec     map[string]any
			}
		}
	}
	c.object(t, namespace, "deployment/"+deployment, &made)
	if made.Spec.Replicas != n {
		t.Errorf("%s has %d pods, want %d", deployment, made.Spec.Replicas, n)
	}
	metadata := made.Spec.Template.Metadata
	metadata["name"] = deployment + "-1"
	pod, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made.Spec.Template.Spec})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, string(pod), tool(t, "kubectl"), "create", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", "-")
}

// object reads one.
func (c *cluster) object(t *testing.T, namespace, name string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.kubectl(t, "get", "-n", namespace, name, "-o", "json")), into); err != nil {
		t.Fatal(err)
	}
}
