package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"holdfast/test/harness"
)

// TestMutualTLS: Envoy and the processor authenticate each other, as what
// bootstrap and serve make of one configuration file.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	pki := newAuthority(t)
	cert, key := pki.issue(t, "holdfast.example")
	client, clientKey := pki.issue(t, "envoy.example")
	listen, public, admin := harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t)
	config := harness.WriteFile(t, "holdfast.yaml",
		fmt.Sprintf("listen: %s\nadmin: %s\ntls: {cert: %s, key: %s, client_ca: %s}\n", listen, admin, cert, key, pki.ca))
	p := start(t, "serve", "--config", config)
	p.WantLog(t, map[string]string{"msg": "serving ext_proc", "tls": "true"})

	origin := harness.NewOrigin(t)
	code, text, stderr := harness.RunHoldfast(t, "bootstrap", "--config", config, "--upstream", origin.URL, "--listen", public,
		"--envoy-admin", "unix:"+filepath.Join(t.TempDir(), "a.sock"),
		"--processor-ca", pki.ca, "--processor-cert", client, "--processor-key", clientKey, "--processor-name", "holdfast.example")
	if code != 0 {
		t.Fatalf("bootstrap: exit code %d\n%s", code, stderr)
	}
	harness.Start(t, harness.Envoy(t), "-c", harness.WriteFile(t, "envoy.yaml", text), "--use-dynamic-base-id", "--log-level", "warning")
	harness.Eventually(t, "Envoy to listen", func() bool { return !refused(public) })

	path := origin.Body("", events(1, 3))
	harness.Open(t, harness.NewClient(t, harness.H1), harness.Request{}.For(t, "http://"+public+path)).WantBody(t, events(1, 3))
	p.WantLog(t, map[string]string{"outcome": "complete", "events": "3", "path": path})
}

// TestServeReloads: by signal and by looking, and never a bad file.
func TestServeReloads(t *testing.T) {
	t.Parallel()
	config := harness.WriteFile(t, "holdfast.yaml", "policies: [{name: first}]\n")
	admin := harness.FreeAddress(t)
	p := start(t, "serve", "--config", config, "--admin", admin, "--listen", "unix:"+filepath.Join(t.TempDir(), "p.sock"))
	client := harness.NewClient(t, harness.H1)
	p.WantLog(t, map[string]string{"msg": "serving ext_proc"})
	effective := func() string {
		code, body := harness.Fetch(t, client, "http://"+admin+"/api/v1/config")
		if code != http.StatusOK {
			t.Fatalf("/api/v1/config: %d %s", code, body)
		}
		return body
	}
	change := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := effective(); !strings.Contains(got, `"first"`) {
		t.Fatalf("effective configuration: %s", got)
	}

	change("policies: [{name: second}]\n")
	p.Signal(syscall.SIGHUP)
	p.WantLog(t, map[string]string{"msg": "configuration reloaded", "because": "SIGHUP"})
	if got := effective(); !strings.Contains(got, `"second"`) {
		t.Errorf("effective configuration after SIGHUP: %s", got)
	}

	change("policies: [{name: third}]\nlisten: 127.0.0.1:1\nlimits: {sessions: 7}\n")
	p.WantLog(t, map[string]string{"msg": "configuration reloaded", "because": "changed file"})
	if got := effective(); !strings.Contains(got, `"third"`) || strings.Contains(got, `"sessions":7`) {
		t.Errorf("effective configuration after a change: %s", got)
	}
	p.WantLog(t, map[string]string{"level": "warn", "keys": "[limits.sessions]"})

	change("policies: [{name: fourth, mode: wrong}]\n")
	p.Signal(syscall.SIGHUP)
	refusal := p.WantLog(t, map[string]string{"level": "error"})
	if text := fmt.Sprint(refusal["error"]); !strings.Contains(text, "holdfast.yaml:1:") {
		t.Errorf("the refusal does not say where: %v", refusal)
	}
	if got := effective(); !strings.Contains(got, `"third"`) {
		t.Errorf("effective configuration after a bad file: %s", got)
	}
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestServeDrains: health says NOT_SERVING first, running streams end well.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	st := harness.Serve(t, origin.URL, now)
	path := origin.Path("")
	s := st.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
	x := origin.Accept(t, path)
	x.Stream()
	x.Send(events(1, 1))
	s.Want(t, events(1, 1))

	st.Processor.Signal(syscall.SIGTERM)
	harness.Eventually(t, "/readyz to say 503", func() bool {
		code, _ := harness.Fetch(t, harness.NewClient(t, harness.H1), st.Admin+"/readyz")
		return code == http.StatusServiceUnavailable
	})
	harness.Eventually(t, "Envoy to see the processor unhealthy", func() bool {
		return st.EnvoyStat(t, "cluster.holdfast.membership_healthy") == 0
	})
	// The others go straight to the upstream.
	direct := origin.Body("", "id: 1\ndata: not even an event")
	st.Get(t, direct).WantBody(t, "id: 1\ndata: not even an event")

	x.Send(events(2, 2))
	s.Want(t, events(2, 2))
	x.Finish(s)
	s.WantEnd(t)
	if code := st.Processor.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestServeSocket: a socket left behind is replaced, one in use is not.
func TestServeSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "p.sock")
	serve := func() *harness.Program {
		return start(t, "serve", "--listen", "unix:"+path, "--admin", "127.0.0.1:0")
	}
	first := serve()
	first.WantLog(t, map[string]string{"msg": "serving ext_proc"})
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, service := range []string{"", "envoy.service.ext_proc.v3.ExternalProcessor"} {
		got, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, got, err)
		}
	}

	second := serve()
	if code := second.Wait(t); code != 1 || !strings.Contains(second.Stderr(), "another process serves there") {
		t.Errorf("exit code %d: %s", code, second.Stderr())
	}
	first.Kill()
	first.Wait(t)
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the killed process left no socket: %v", err)
	}
	third := serve()
	third.WantLog(t, map[string]string{"msg": "serving ext_proc"})
	third.Signal(syscall.SIGTERM)
	if code := third.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}

	// Something that is no socket is somebody's file.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	fourth := serve()
	if code := fourth.Wait(t); code != 1 || !strings.Contains(fourth.Stderr(), "that is no socket") {
		t.Errorf("exit code %d: %s", code, fourth.Stderr())
	}
	if text, err := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("the file was touched: %q, %v", text, err)
	}
}
