package lint

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden findings anew")

// run looks at one text and returns its findings, a line each.
func run(t *testing.T, name, text string, o Options) string {
	t.Helper()
	r := Run([]Source{{Name: name, Data: []byte(text)}}, o)
	var b strings.Builder
	for i := range r.Findings {
		fmt.Fprintln(&b, &r.Findings[i])
	}
	for _, e := range r.Unreadable {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

// only keeps the findings of one rule.
func only(findings, rule string) string {
	var b strings.Builder
	for line := range strings.Lines(findings) {
		if strings.Contains(line, " "+rule+": ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestRules shows each rule something bad and something good: testdata/ID.txtar
// holds bad.yaml, good.yaml, and want, which is what the rule says of the bad one.
func TestRules(t *testing.T) {
	for _, rule := range Rules() {
		t.Run(rule.ID, func(t *testing.T) {
			path := filepath.Join("testdata", rule.ID+".txtar")
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatalf("every rule has an example: %v", err)
			}
			part := map[string]string{}
			for _, f := range archive.Files {
				part[f.Name] = string(f.Data)
			}
			bad := run(t, "bad.yaml", part["bad.yaml"], Options{})
			got := only(bad, rule.ID)
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
				archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				part["want"] = got
			}
			if diff := cmp.Diff(part["want"], got); diff != "" {
				t.Errorf("not as in %s; if that is right, run go test ./envoy/lint -update:\n%s\nall findings:\n%s", path, diff, bad)
			}
			worst := Info
			for line := range strings.Lines(got) {
				for s := Info; s <= Error; s++ {
					if strings.Contains(line, ": "+s.String()+" "+rule.ID) {
						worst = max(worst, s)
					}
				}
			}
			if got == "" || worst != rule.Severity {
				t.Errorf("the bad example shows at worst %q, the rule says %q:\n%s", worst, rule.Severity, bad)
			}
			good := run(t, "good.yaml", part["good.yaml"], Options{})
			if said := only(good, rule.ID); said != "" || part["good.yaml"] == "" {
				t.Errorf("the good example is found bad, or missing: %s", said)
			}
			if strings.Contains(good, "good.yaml: ") {
				t.Errorf("the good example cannot be read: %s", good)
			}
		})
	}
}

// TestExamplesBelongToRules: an example that nobody runs is no example.
func TestExamplesBelongToRules(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		id := strings.TrimSuffix(filepath.Base(f), ".txtar")
		if !slices.ContainsFunc(Rules(), func(r Rule) bool { return r.ID == id }) {
			t.Errorf("%s is for no rule", f)
		}
	}
}

// TestOurOwnIsClean: what holdfast bootstrap prints is what the rules ask for, in
// every variant, and so are the examples.
func TestOurOwnIsClean(t *testing.T) {
	files := map[string]Severity{}
	for glob, least := range map[string]Severity{
		"../testdata/*.yaml":                    Info,
		"../../examples/*/envoy.yaml":           Info,
		"../../examples/own-envoy/observe.yaml": Warning, // which has what its readers need, and no more
		"../../examples/own-envoy/hold.yaml":    Warning,
	} {
		found, err := filepath.Glob(glob)
		if err != nil || len(found) == 0 {
			t.Fatal("no configurations of ours in", glob, err)
		}
		for _, f := range found {
			files[f] = least
		}
	}
	for f, least := range files {
		src, err := ReadFile(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := Run([]Source{src}, Options{Least: least})
		for i := range r.Findings {
			t.Error(&r.Findings[i])
		}
		if len(r.Unreadable) > 0 || r.Seen.Filters == 0 {
			t.Errorf("%s: %v, %+v", f, r.Unreadable, r.Seen)
		}
	}
}
