// Command lint writes docs/lint.md from the rules of `holdfast lint` and from
// their examples.
//
//go:generate go run . ../../../docs/lint.md ../../../envoy/lint/testdata
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"holdfast/envoy/lint"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: lint FILE EXAMPLES")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(1)
	}
}

func write(path, examples string) error {
	var page strings.Builder
	page.WriteString(head)
	for _, r := range lint.Rules() {
		fmt.Fprintf(&page, "| [`%s`](#%s) | %s | %s |\n", r.ID, r.ID, r.Severity, r.Set)
	}
	page.WriteString("\n## Why\n")
	for _, r := range lint.Rules() {
		said, err := findings(filepath.Join(examples, r.ID+".txtar"))
		if err != nil {
			return err
		}
		fmt.Fprintf(&page, "\n### %s\n\n%s\n\nWhat to set: %s.\n\n```text\n%s```\n", r.ID, r.Breaks, r.Set, said)
	}
	return os.WriteFile(path, []byte(page.String()), 0o644)
}

// findings is what the rule says of its bad example.
func findings(path string) (string, error) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return "", err
	}
	for _, f := range archive.Files {
		if f.Name == "want" {
			return strings.ReplaceAll(string(f.Data), "bad.yaml:", "envoy.yaml:"), nil
		}
	}
	return "", fmt.Errorf("%s has no findings in it", path)
}

const head = `<!-- Made by ` + "`make generate`" + ` from the rules in envoy/lint and their examples. Change those, not this page. -->

# Rules of ` + "`holdfast lint`" + `

    holdfast lint envoy.yaml                                   # a bootstrap, or a part of one
    curl -s localhost:9901/config_dump | holdfast lint -       # what Envoy really has
    holdfast lint --config holdfast.yaml envoy.yaml            # with addresses and heartbeats of your own
    holdfast lint --format github deploy/*.yaml                # annotations in a workflow

It prints ` + "`FILE:LINE: severity rule: what breaks and what to set`" + `, and exits with 1 if there is an error, with 2 if a file cannot
be read or has no Envoy configuration in it.

- An **error** breaks streams, or keeps Holdfast from doing anything for them.
- A **warning** breaks streams under the circumstances that it names: a route's timeout matters if the route carries streams.
- An **info** is worth knowing. ` + "`--least warning`" + ` leaves these out.

Which ext_proc filter is Holdfast's is guessed: the one with ` + "`holdfast`" + ` in the name or an address of its cluster, or in its
metadata. ` + "`--processor NAME`" + ` and ` + "`--config FILE`" + ` say it. Where nothing does, findings begin with an "if" and are never errors.
A comment ` + "`# holdfast-lint: ignore RULE`" + ` on a line or the line above silences a rule there, ` + "`--ignore RULE`" + ` everywhere.

What it reads: YAML with anchors and merge keys, JSON, several documents, up to 64 MiB; a bootstrap, listeners, connection
managers, routes, clusters, ` + "`config_dump`" + `, discovery responses, and Kubernetes objects that have any of these in them
(EnvoyFilter, EnvoyPatchPolicy, a ConfigMap with a file as text). Extensions that it does not know do not matter. What a merge
patch leaves out is not held against it. It does not replace ` + "`envoy --mode validate`" + `.

| rule | at worst | what to set |
| --- | --- | --- |
`
