package main

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const monitoring = "../../../examples/monitoring/"

// expressions are those of the alert rules and of the dashboard, by where they are.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	text, err := os.ReadFile(monitoring + "alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			found["alert "+r.Alert] = r.Expr
		}
	}
	var board struct {
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if text, err = os.ReadFile(monitoring + "dashboard.json"); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	for _, v := range board.Templating.List {
		found["variable "+v.Name] = v.Definition
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			found["panel "+p.Title+": "+target.Expr] = target.Expr
		}
	}
	return found
}

var (
	used    = regexp.MustCompile(`(holdfast_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouped = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
)

// TestMonitoringUsesWhatExists: a rule on a metric, a label or a value that there
// is not is silent for ever.
func TestMonitoringUsesWhatExists(t *testing.T) {
	families, err := gather()
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]family{}
	for _, f := range families {
		metrics[f.name] = f
		if f.kind == "histogram" {
			f.labels = maps.Clone(f.labels)
			f.labels["le"] = nil
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				metrics[f.name+part] = f
			}
		}
	}
	scraped := []string{"instance", "job"} // Prometheus adds these
	seen := map[string]bool{}
	for where, expr := range expressions(t) {
		for _, m := range used.FindAllStringSubmatch(expr, -1) {
			f, ok := metrics[m[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", where, m[1])
				continue
			}
			seen[f.name] = true
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				values, ok := f.labels[l[1]]
				if !ok && !slices.Contains(scraped, l[1]) {
					t.Errorf("%s: %s has no label %s", where, m[1], l[1])
				}
				if values == nil || l[1] == "policy" || strings.HasPrefix(l[2], "$") {
					continue
				}
				for v := range strings.SplitSeq(l[2], "|") {
					if !slices.Contains(values, v) {
						t.Errorf("%s: %s of %s is never %q, but one of %q", where, l[1], m[1], v, values)
					}
				}
			}
			for _, by := range grouped.FindAllStringSubmatch(expr, -1) {
				for label := range strings.SplitSeq(by[1], ",") {
					label = strings.TrimSpace(label)
					if _, ok := f.labels[label]; !ok && !slices.Contains(scraped, label) {
						t.Errorf("%s: %s has no label %s to group by", where, m[1], label)
					}
				}
			}
		}
	}
	if len(seen) == 0 {
		t.Error("no metric of ours is used; has the notation changed?")
	}
	// What is worth counting is worth being seen.
	for _, f := range families {
		if !seen[f.name] {
			t.Errorf("%s is on no panel and in no rule", f.name)
		}
	}
}

// TestEveryMetricHasHelp: the page is as good as these texts.
func TestEveryMetricHasHelp(t *testing.T) {
	families, err := gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasSuffix(f.help, ".") || !strings.HasPrefix(f.name, "holdfast_") {
			t.Errorf("%s: help %q", f.name, f.help)
		}
	}
}

// TestMetricsWithoutValuesAreFound: the gauge of ejected hosts has none before
// there are hosts.
func TestMetricsWithoutValuesAreFound(t *testing.T) {
	families, err := gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(families, func(f family) bool { return f.name == "holdfast_upstream_ejected" })
	if i < 0 || families[i].kind != "gauge" || len(families[i].labels) != 1 || families[i].help == "" {
		t.Errorf("%+v", families)
	}
}
