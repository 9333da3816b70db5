// Command metrics writes docs/metrics.md from the metrics that a processor
// really registers: their names, kinds, labels and help texts.
//
//go:generate go run . ../../../docs/metrics.md
package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/processor"
	"holdfast/processor/config"
	"holdfast/processor/tracing"
	"holdfast/sessionstore/memory"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: metrics FILE")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	families, err := gather()
	if err != nil {
		return err
	}
	var page strings.Builder
	render(&page, families)
	return os.WriteFile(path, []byte(page.String()), 0o644)
}

// family is one metric as the page shows it.
type family struct {
	name, kind, help string
	labels           map[string][]string // values by name, sorted
}

// everyMode makes every series exist whose labels are known before any request.
const everyMode = `policies:
- {name: a, mode: observe}
- {name: b, mode: inline}
`

// gather asks a registry rather than the code, so that what is written is what
// an operator will see.
func gather() ([]family, error) {
	cfg, err := config.Parse("metrics", []byte(everyMode))
	if err != nil {
		return nil, err
	}
	policies, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	registry := &recorder{Registry: prometheus.NewRegistry()}
	store := memory.New(memory.Options{})
	if _, err := processor.NewServer(processor.Options{Policies: policies, Store: store, Registerer: registry}); err != nil {
		return nil, err
	}
	if _, err := tracing.NewCounts(registry); err != nil {
		return nil, err
	}
	gathered, err := registry.Gather()
	if err != nil {
		return nil, err
	}
	var families []family
	for _, g := range gathered {
		f := family{name: g.GetName(), kind: strings.ToLower(g.GetType().String()), help: g.GetHelp(), labels: map[string][]string{}}
		for _, m := range g.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(f.labels[l.GetName()], l.GetValue()) {
					f.labels[l.GetName()] = append(f.labels[l.GetName()], l.GetValue())
				}
			}
		}
		families = append(families, f)
	}
	families, err = registry.complete(families)
	slices.SortFunc(families, func(a, b family) int { return strings.Compare(a.name, b.name) })
	return families, err
}

// recorder also remembers the collectors, for a metric that has no value before
// there is something to tell is not gathered.
type recorder struct {
	*prometheus.Registry

	collectors []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (r *recorder) Register(c prometheus.Collector) error {
	r.collectors = append(r.collectors, c)
	return r.Registry.Register(c)
}

// MustRegister implements prometheus.Registerer.
func (r *recorder) MustRegister(cs ...prometheus.Collector) {
	r.collectors = append(r.collectors, cs...)
	r.Registry.MustRegister(cs...)
}

// described is how a Desc shows itself; it has no other way.
var described = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), .*variableLabels: \{([^}]*)\}\}$`)

// complete adds what is registered and has no value yet.
func (r *recorder) complete(families []family) ([]family, error) {
	known := map[string]bool{}
	for _, f := range families {
		known[f.name] = true
	}
	for _, c := range r.collectors {
		descs := make(chan *prometheus.Desc, 16)
		go func() { c.Describe(descs); close(descs) }()
		for d := range descs {
			f, err := familyOf(d)
			if err != nil {
				return nil, err
			}
			if !known[f.name] {
				known[f.name] = true
				families = append(families, f)
			}
		}
	}
	return families, nil
}

func familyOf(d *prometheus.Desc) (family, error) {
	m := described.FindStringSubmatch(d.String())
	if m == nil {
		return family{}, fmt.Errorf("a Desc no longer looks as it did: %s", d)
	}
	name, err := strconv.Unquote(m[1])
	if err != nil {
		return family{}, err
	}
	help, err := strconv.Unquote(m[2])
	if err != nil {
		return family{}, err
	}
	f := family{name: name, help: help, kind: "gauge", labels: map[string][]string{}}
	if strings.HasSuffix(name, "_total") {
		f.kind = "counter"
	}
	for label := range strings.SplitSeq(m[3], ",") {
		if label != "" {
			f.labels[label] = nil
		}
	}
	return f, nil
}

const head = `<!-- Made by ` + "`make generate`" + ` from the metrics the processor registers. Change the code, not this page. -->

# Metrics

` + "`GET /metrics`" + ` on the admin port, in Prometheus's text format. Beside these there are the usual ` + "`go_*`" + ` and
` + "`process_*`" + `. Every label is a closed set, but for ` + "`policy`" + ` and ` + "`target`" + `, which are as many as you have. Alert rules and a
dashboard that use them are in [examples/monitoring](../examples/monitoring/).

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
`

const labelsHead = `
## Labels

| label | values |
| --- | --- |
`

const tail = `
## Questions to ask

| question | expression |
| --- | --- |
| how many streams end badly | ` + "`sum by (policy) (rate(holdfast_streams_total{outcome=\"cut\"}[5m]))`" + ` |
| is anything left alone that should not be | ` + "`sum by (reason) (rate(holdfast_bypassed_total[5m]))`" + ` |
| do origins replay | ` + "`rate(holdfast_duplicates_dropped_total[5m])`" + ` |
| what does the processor add to an event | ` + "`histogram_quantile(0.99, rate(holdfast_event_seconds_bucket[5m]))`" + ` |
| does one stream fault in the core | ` + "`increase(holdfast_bypassed_total{reason=\"fault\"}[1h]) > 0`" + ` |
`

func render(w io.Writer, families []family) {
	fmt.Fprint(w, head)
	values := map[string]map[string]bool{}
	for _, f := range families {
		names := slices.Sorted(maps.Keys(f.labels))
		for _, name := range names {
			if values[name] == nil {
				values[name] = map[string]bool{}
			}
			for _, v := range f.labels[name] {
				values[name][v] = true
			}
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", f.name, f.kind, code(names), f.help)
	}
	fmt.Fprint(w, labelsHead)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		what := code(slices.Sorted(maps.Keys(values[name])))
		switch name {
		case "policy":
			what = "names of policies in the configuration"
		case "target":
			what = "addresses of upstream hosts that streams came from lately, as Envoy names them"
		}
		fmt.Fprintf(w, "| `%s` | %s |\n", name, what)
	}
	fmt.Fprint(w, tail)
}

func code(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, "`, `") + "`"
}
