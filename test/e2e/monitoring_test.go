//go:build monitoring

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"holdfast/test/harness"
)

const monitored = `
store: {kind: bolt, path: %q}
tracing: {otlp_endpoint: %q}
policies:
- {name: chat, match: {path_prefix: /chat/}, mode: hold, ids: sealed, detach: 1m, heartbeat: 0s}
- {name: watched, match: {path_prefix: /watched/}, mode: observe}
- {name: default, heartbeat: 1s}
`

// prometheus is a real one.
type prometheus struct {
	url    string
	client *http.Client
}

// startPrometheus starts one with examples/monitoring/prometheus.yaml, but that it
// scrapes another address, and often.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	bin, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("Prometheus is needed: install it (Debian, Ubuntu: apt-get install prometheus): %v", err)
	}
	dir := filepath.Join(harness.Root(), "examples", "monitoring")
	text, err := os.ReadFile(filepath.Join(dir, "prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer(
		"scrape_interval: 15s", "scrape_interval: 1s, evaluation_interval: 1s",
		"alerts.yaml", filepath.Join(dir, "alerts.yaml"),
		"127.0.0.1:9902", target,
	).Replace(string(text))
	address := harness.FreeAddress(t)
	harness.Start(t, bin, "--config.file", harness.WriteFile(t, "prometheus.yaml", config),
		"--storage.tsdb.path", t.TempDir(), "--web.listen-address", address, "--log.level", "error")
	p := &prometheus{url: "http://" + address, client: harness.NewClient(t, harness.H1)}
	harness.Eventually(t, "Prometheus to be ready", func() bool {
		r, err := p.client.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return p
}

// get asks Prometheus's API and decodes the data of its answer.
func (p *prometheus) get(t *testing.T, path string, query url.Values, data any) error {
	t.Helper()
	_, body := harness.Fetch(t, p.client, p.url+path+"?"+query.Encode())
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s", answer.Error)
	}
	return nil
}

// numbers are the values of an expression's series, but for those that are none: the
// quantile of what has not happened.
func (p *prometheus) numbers(t *testing.T, expr string) (all []float64, err error) {
	t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	err = p.get(t, "/api/v1/query", url.Values{"query": {expr}}, &data)
	for _, series := range data.Result {
		text, _ := series.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) {
			all = append(all, v)
		}
	}
	return all, err
}

// wait asks until there are numbers, and something goes on meanwhile. An expression that
// Prometheus refuses fails at once.
func (p *prometheus) wait(t *testing.T, what, expr string, busy func()) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%s to show something: %s", what, expr), func() bool {
		busy()
		all, err := p.numbers(t, expr)
		if err != nil {
			t.Fatalf("%s: %s: %v", what, expr, err)
		}
		return len(all) > 0
	})
}

// board is a Grafana dashboard, as far as it asks Prometheus.
type board struct {
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// bound matches what makes an alert's expression a condition.
var bound = regexp.MustCompile(`(?s)^(.*?)\s*(?:==|>|<)\s*[0-9.]+\s*$`)

// TestMonitoring: each expression of examples/monitoring, asked of a real Prometheus
// that scrapes a processor with all kinds of streams, gives numbers.
func TestMonitoring(t *testing.T) {
	origin, spans := harness.NewOrigin(t), collect(t)
	gw := harness.Run(t, origin.URL, fmt.Sprintf(monitored, filepath.Join(t.TempDir(), "h.db"), spans.address))
	p := startPrometheus(t, strings.TrimPrefix(gw.Admin, "http://"))

	// One that is quiet, for its comments.
	quiet := origin.Path("")
	idle := gw.Get(t, quiet)
	x := origin.Accept(t, quiet)
	x.Stream()
	x.Send(events(1, 1))
	idle.Want(t, events(1, 1))

	held := origin.Handle("", func(x *harness.Exchange) {
		switch x.Request.Header.Get("last-event-id") {
		case "":
			x.Stream()
			x.Send(events(1, 2))
			x.Abort()
		case "2":
			x.Stream()
			x.Send(events(2, 4)) // the first of which was there before
			x.End()
		default:
			x.Answer(http.StatusNoContent)
		}
	})
	watched := origin.Body("/watched", events(1, 3))
	answer := origin.Handle("", func(x *harness.Exchange) { x.Answer(http.StatusOK, "content-type", "application/json") })
	busy := func() {
		gw.Get(t, held).WantBody(t, events(1, 4))
		gw.Get(t, watched).WantBody(t, events(1, 3))
		gw.Get(t, answer).WantBody(t, "")
		// One whose client comes back, and is sent what it has missed.
		path := origin.Path("/chat")
		s := gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}"})
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(bare(1, 2))
		ids := takeSealed(t, s, "event 2", bare(1, 2))
		s.Close()
		s = gw.Open(t, path, harness.Request{Method: http.MethodPost, Body: "{}", Header: []string{"last-event-id", ids[0]}})
		takeSealed(t, s, "event 2", bare(2, 2))
		x.Abort()
		s.WantAbort(t)
	}

	t.Run("dashboard", func(t *testing.T) {
		var b board
		text, err := os.ReadFile(filepath.Join(harness.Root(), "examples", "monitoring", "dashboard.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		asked := 0
		variables := []string{"$__rate_interval", "10s"}
		for _, v := range b.Templating.List {
			if v.Type != "query" {
				continue
			}
			metric, label, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ")"), ", ")
			if !ok {
				t.Fatalf("variable %s is defined by %s", v.Name, v.Definition)
			}
			p.wait(t, "variable "+v.Name, metric, busy)
			var values []string
			if err := p.get(t, "/api/v1/label/"+label+"/values", url.Values{"match[]": {metric}}, &values); err != nil || len(values) == 0 {
				t.Errorf("variable %s: %v, %v", v.Name, values, err)
			}
			variables = append(variables, "$"+v.Name, ".*")
		}
		for _, panel := range b.Panels {
			for _, target := range panel.Targets {
				expr := strings.NewReplacer(variables...).Replace(target.Expr)
				if strings.Contains(expr, "$") {
					t.Errorf("panel %s: a variable that there is not: %s", panel.Title, expr)
				}
				p.wait(t, "panel "+panel.Title, expr, busy)
				asked++
			}
		}
		if asked < 20 {
			t.Errorf("only %d expressions were asked; has the dashboard's form changed?", asked)
		}
	})

	t.Run("alerts", func(t *testing.T) {
		var file struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
		text, err := os.ReadFile(filepath.Join(harness.Root(), "examples", "monitoring", "alerts.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		for _, g := range file.Groups {
			for _, r := range g.Rules {
				m := bound.FindStringSubmatch(r.Expr)
				if m == nil {
					t.Fatalf("alert %s: no condition in %s", r.Alert, r.Expr)
				}
				p.wait(t, "alert "+r.Alert, m[1], busy)
			}
		}
		var loaded struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError, State string }
			}
		}
		states := func() map[string]string {
			if err := p.get(t, "/api/v1/rules", nil, &loaded); err != nil {
				t.Fatal(err)
			}
			all := map[string]string{}
			for _, g := range loaded.Groups {
				for _, r := range g.Rules {
					if r.LastError != "" {
						t.Errorf("alert %s: %s", r.Name, r.LastError)
					}
					all[r.Name] = r.State
				}
			}
			return all
		}
		if got, want := len(states()), len(file.Groups[0].Rules); got != want {
			t.Errorf("Prometheus has %d rules, want %d", got, want)
		}
		if got := states()["HoldfastDown"]; got != "inactive" {
			t.Errorf("HoldfastDown is %s while it runs", got)
		}
		x.Finish(idle)
		gw.Kill()
		gw.Wait(t)
		harness.Eventually(t, "HoldfastDown to be pending", func() bool { return states()["HoldfastDown"] == "pending" })
	})
}
