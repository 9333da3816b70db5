package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"holdfast/envoy/lint"
	"holdfast/processor/config"
)

type lintCmd struct {
	Files []string `arg:"" optional:"" name:"file" help:"Envoy configurations, YAML or JSON; - is standard input. What one refers to may be in another."`

	Format    string   `enum:"text,json,github" default:"text" help:"text, json, or github (annotations in a workflow)."`
	Processor string   `placeholder:"NAME" help:"Name of the cluster that is Holdfast (default: what has holdfast in its name, address or metadata; if nothing has, every ext_proc filter may be)."`
	Config    string   `placeholder:"FILE" help:"Holdfast's own configuration: its listen and fetch.url say which cluster and listener are meant, its heartbeat which timeouts are too short."`
	Least     string   `enum:"info,warning,error" default:"info" help:"The lowest severity to report: info, warning or error."`
	Ignore    []string `placeholder:"RULE" help:"Rules to leave out."`
	Explain   string   `placeholder:"RULE" help:"Say what a rule is about, instead of looking at files; \"all\" lists them."`
}

// Help is shown by lint --help.
func (*lintCmd) Help() string {
	return `Finds what in an Envoy configuration of your own cuts, stalls or balloons event streams, one line each: FILE:LINE: severity rule: what breaks and what to set. It takes a bootstrap, or a part of one: a listener, an HttpConnectionManager, clusters, routes; a config_dump; a Kubernetes object with any of them in it. What is wrong for every stream that Holdfast sees is an error; what depends on your traffic is a warning, and says on what.

A comment "# holdfast-lint: ignore RULE" on a line, or on the line above, silences a rule there.

Exit code: 0 no error found, 1 errors found, 2 a file cannot be read or has no Envoy configuration in it.

Examples:

    holdfast lint envoy.yaml
    curl -s localhost:9901/config_dump | holdfast lint --processor sse_processor -
    holdfast lint --explain route-timeout`
}

// Run reports what it found on standard output, and what it could not look at on
// standard error.
func (c *lintCmd) Run(p *program) error {
	if c.Explain != "" {
		return explainRule(p.stdout, c.Explain)
	}
	if len(c.Files) == 0 {
		return usage(errors.New("name the files to look at, or - for standard input"))
	}
	o, err := c.options()
	if err != nil {
		return usage(err)
	}
	var sources []lint.Source
	var unreadable []*lint.InputError
	for _, name := range c.Files {
		src, err := lint.ReadFile(name, os.Stdin)
		if bad, ok := errors.AsType[*lint.InputError](err); ok {
			unreadable = append(unreadable, bad)
			continue
		}
		sources = append(sources, src)
	}
	r := lint.Run(sources, o)
	r.Unreadable = append(unreadable, r.Unreadable...)
	if err := c.print(p, &r); err != nil {
		return err
	}
	switch {
	case len(r.Unreadable) > 0:
		return &codedError{nil, exitUsage}
	case r.Count(lint.Error) > 0:
		return &codedError{nil, exitFailure}
	}
	return nil
}

func (c *lintCmd) options() (lint.Options, error) {
	o := lint.Options{Processor: c.Processor, Ignore: c.Ignore}
	for s := lint.Info; s <= lint.Error; s++ {
		if s.String() == c.Least {
			o.Least = s
		}
	}
	known := lint.Rules()
	for _, id := range c.Ignore {
		if !slices.ContainsFunc(known, func(r lint.Rule) bool { return r.ID == id }) {
			return o, fmt.Errorf("--ignore: there is no rule %q; holdfast lint --explain all lists them", id)
		}
	}
	if c.Config == "" {
		return o, nil
	}
	cfg, err := config.Load(c.Config)
	if err != nil {
		return o, err
	}
	o.ProcessorAddress = string(cfg.Listen)
	if cfg.Fetch.URL != "" {
		at, err := fetchAddress(cfg.Fetch.URL)
		if err != nil {
			return o, err
		}
		o.LoopbackAddress = at.String()
	}
	for i := range cfg.Policies {
		o.Heartbeat = max(o.Heartbeat, cfg.Policies[i].Heartbeat.Std())
	}
	return o, nil
}

func (c *lintCmd) print(p *program, r *lint.Report) error {
	if c.Format == "json" {
		return printJSON(p.stdout, r)
	}
	for i := range r.Findings {
		if c.Format == "github" {
			fmt.Fprintln(p.stdout, annotation(&r.Findings[i]))
		} else {
			fmt.Fprintln(p.stdout, &r.Findings[i])
		}
	}
	for _, bad := range r.Unreadable {
		fmt.Fprintf(p.stderr, "holdfast: %v\n", bad)
	}
	if r.Missed {
		fmt.Fprintf(p.stderr, "holdfast: no ext_proc filter asks cluster %q, so nothing was taken for Holdfast\n", c.Processor)
	}
	if r.Seen.Files > 0 {
		fmt.Fprintf(p.stderr, "%s, %s, %s in %s: %s, %s, %s, %s.\n",
			count(r.Count(lint.Error), "error", "errors"), count(r.Count(lint.Warning), "warning", "warnings"), count(r.Count(lint.Info), "info", "infos"),
			count(r.Seen.Files, "file", "files"), count(r.Seen.Listeners, "listener", "listeners"), count(r.Seen.Routes, "route", "routes"),
			count(r.Seen.Clusters, "cluster", "clusters"), count(r.Seen.Filters, "ext_proc filter", "ext_proc filters"))
	}
	return nil
}

// printJSON prints one object, for programs.
func printJSON(w io.Writer, r *lint.Report) error {
	type unreadable struct {
		File   string `json:"file"`
		Line   int    `json:"line,omitempty"`
		Reason string `json:"reason"`
	}
	report := struct {
		Findings   []lint.Finding `json:"findings"`
		Unreadable []unreadable   `json:"unreadable"`
		Seen       lint.Seen      `json:"seen"`
	}{append([]lint.Finding{}, r.Findings...), []unreadable{}, r.Seen}
	for _, bad := range r.Unreadable {
		report.Unreadable = append(report.Unreadable, unreadable{bad.File, bad.Line, bad.Reason})
	}
	return printIndented(w, report)
}

// annotation is a finding in the form in which a GitHub workflow puts it beside
// the line:
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
func annotation(f *lint.Finding) string {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	kind := map[lint.Severity]string{lint.Info: "notice", lint.Warning: "warning", lint.Error: "error"}[f.Severity]
	return fmt.Sprintf("::%s file=%s,line=%d,title=%s::%s", kind, property.Replace(f.File), f.Line, property.Replace(f.Rule), data.Replace(f.Message))
}

// explainRule prints what docs/lint.md says of a rule, or the names of all.
func explainRule(w io.Writer, id string) error {
	plain := strings.NewReplacer("`", "")
	for _, r := range lint.Rules() {
		switch id {
		case "all":
			fmt.Fprintf(w, "%-22s %s\n", r.ID, r.Severity)
		case r.ID:
			fmt.Fprintf(w, "%s (at worst: %s)\n\nWhat breaks: %s\n\nWhat to set: %s.\n", r.ID, r.Severity, plain.Replace(r.Breaks), plain.Replace(r.Set))
			return nil
		}
	}
	if id == "all" {
		return nil
	}
	return usage(fmt.Errorf("there is no rule %q; holdfast lint --explain all lists them", id))
}
