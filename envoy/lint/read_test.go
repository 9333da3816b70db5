package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// each calls f for every field below n.
func (n *node) each(f func(name string, v *node)) {
	for _, item := range n.items {
		item.each(f)
	}
	for _, fd := range n.fields {
		f(fd.name, fd.value)
		fd.value.each(f)
	}
}

// TestLinesAreExact: the line of a value is the one that has its key.
func TestLinesAreExact(t *testing.T) {
	texts := map[string]string{
		"comments":  "# one\n\n# three\na: # four\n  # five\n  b: 1 # six\n\n  c: # eight\n\n  - d: 2\n    # eleven\n    e: |\n      text\n\n      more\n    f: >-\n      folded\n      text\n\n    g: 'quoted\n      over\n\n      lines'\n    h: \"the\n      same\"\n    i: [\n      1,\n      {j: 1,\n       k: 2}]\nl: end\n",
		"crlf":      "a:\r\n  b: 1\r\n  c: |\r\n    x\r\n\r\n    y\r\n  d: 2\r\n",
		"unicode":   "\xef\xbb\xbfä: 1\n日本: {ß: 2,\n  'ü': 3}\n",
		"explicit":  "? a\n: b\n? [x]\n: c\nd: e\n",
		"documents": "--- # first\na: 1\n...\n---\nb: 2\n---\n\nc:\n  d: 3\n",
		"json":      "{\n \"a\": [1,\n {\"b\": null}],\n\n \"c\": {\"d\"\n : \"x\\ny\"}}\n{\"e\":\n2}\n",
	}
	files, err := filepath.Glob("../testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[f] = string(text)
	}
	for name, text := range texts {
		f, err := parse(Source{name, []byte(text)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		lines, keys := strings.Split(text, "\n"), 0
		for _, doc := range f.docs {
			doc.each(func(key string, v *node) {
				keys++
				if v.line < 1 || v.line > len(lines) || key != "" && !strings.Contains(lines[v.line-1], key) {
					t.Errorf("%s: %q is not in line %d", name, key, v.line)
				}
			})
		}
		if keys == 0 {
			t.Errorf("%s: no keys", name)
		}
	}
}

// TestAnchors: what is said by an alias is found where it is said, and what is
// merged where it is written.
func TestAnchors(t *testing.T) {
	const text = `defaults: &defaults
  cluster: app
  timeout: 30s
limit: &limit 60s
virtual_hosts:
- domains: ["*"]
  routes:
  - match: {prefix: /a}
    route: *defaults
  - match: {prefix: /b}
    route:
      <<: *defaults
      timeout: 0s
  - match: {prefix: /c}
    route:
      cluster: app
      timeout: *limit
  - match: {prefix: /d}
    route:
      <<: [{timeout: 0s}, *defaults]
`
	want := `a.yaml:3: warning route-timeout: the route of "/a" cuts event streams, if it carries any: its timeout of 30s counts the whole response; set timeout: 0s
a.yaml:17: warning route-timeout: the route of "/c" cuts event streams, if it carries any: its timeout of 1m0s counts the whole response; set timeout: 0s
`
	if diff := cmp.Diff(want, run(t, "a.yaml", text, Options{})); diff != "" {
		t.Error(diff)
	}
}

// TestForms: the same finding, in whatever the configuration is wrapped.
func TestForms(t *testing.T) {
	const route = `"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "5s"}`
	for name, c := range map[string]struct {
		text string
		line int
	}{
		"virtual host": {"domains: ['*']\nroutes:\n- {" + route + "}", 3},
		"one route":    {"{" + route + "}", 1},
		"routes":       {"[\n{" + route + "}]", 2},
		"camelCase":    {"{\"virtualHosts\": [{\"domains\": [\"*\"],\n\"routes\": [{" + route + "}]}]}", 2},
		"answer": {`{"version_info": "1", "resources": [
			{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "r",
			"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
			{` + route + `}]}]}]}`, 4},
		"config_dump": {`{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
			"dynamic_route_configs": [{"version_info": "7", "route_config": {
			"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
			"virtual_hosts": [{"routes": [
			{` + route + `}]}]}}]}]}`, 5},
		"ConfigMap":          {"apiVersion: v1\nkind: ConfigMap\ndata:\n  envoy.yaml: |\n    # a comment\n    static_resources: {}\n    virtual_hosts:\n    - routes:\n      - {" + route + "}\n", 9},
		"quoted ConfigMap":   {"kind: ConfigMap\ndata:\n  envoy.yaml: \"static_resources: {}\\nvirtual_hosts:\\n- routes:\\n  - match: {prefix: /}\\n    route: {cluster: app, timeout: 5s}\\n\"\n", 3},
		"JSON with comments": {"# for people\n{ \"virtual_hosts\": [ {\"routes\": [ # these\n {" + route + "}, ] } ] }", 3},
		"second document":    {"a: 1\n---\nvirtual_hosts:\n- routes:\n  - {" + route + "}\n", 5},
	} {
		got := run(t, "f", c.text, Options{})
		if !strings.HasPrefix(got, fmt.Sprintf("f:%d: warning route-timeout: ", c.line)) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: want route-timeout in line %d, got %q", name, c.line, got)
		}
	}
}

// TestYAMLAndJSONAgree: the format makes no difference to what is found.
func TestYAMLAndJSONAgree(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		archive, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(archive), "-- bad.yaml --\n")
		text, _, _ = strings.Cut(text, "-- good.yaml --\n")
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		asJSON, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		unplaced := func(findings string) map[string]int {
			said := map[string]int{}
			for line := range strings.Lines(findings) {
				_, what, _ := strings.Cut(line, ": ")
				said[what]++
			}
			return said
		}
		if diff := cmp.Diff(unplaced(run(t, "f", text, Options{})), unplaced(run(t, "f", string(asJSON), Options{}))); diff != "" {
			t.Errorf("%s: as YAML and as JSON: %s", f, diff)
		}
	}
}

func TestUnreadable(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":            {"", "the file is empty"},
		"blank":            {" \n\t\r\n", "the file is empty"},
		"binary":           {"\x7fELF\x00\x01", "this is binary, not text"},
		"latin1":           {"a: \xe4\n", "this is binary, not text"},
		"gzip":             {"\x1f\x8b\x08", "unpack it first"},
		"UTF-16":           {"\xff\xfea\x00", "convert it to UTF-8"},
		"a text":           {"It was a dark and stormy night.\n", "no Envoy configuration found: "},
		"a list":           {"- 1\n- 2\n", "no Envoy configuration found: "},
		"a number":         {"42", "no Envoy configuration found: "},
		"only comments":    {"# nothing\n", "no Envoy configuration found: "},
		"somebody else's":  {"apiVersion: v1\nkind: Service\nspec: {ports: [{port: 80}]}\n", "no Envoy configuration found: "},
		"routes of others": {"routes:\n- path: /\n  handler: x\nclusters: [{server: y}]\n", "no Envoy configuration found: "},
		"bad YAML":         {"a: 1\nb: [\nc: }\n", "f:2: not YAML: "},
		"tabs":             {"a:\n\tb: 1\n", "f:2: not YAML: "},
		"bad JSON":         {"{\n\"a\": [}\n", "not YAML: "},
		"half JSON":        {"{\"a\": [1, 2", "not YAML: "},
		"template":         {"a: {{ .Values.x }}\nb: }\n", "it looks like a template"},
		"unknown anchor":   {"a: *b\n", "not YAML: unknown anchor 'b' referenced"},
		"self":             {"a: &a [*a]\n", "*a is inside of what it stands for"},
		"deep":             {strings.Repeat("[", 100_000), "nested more than 500 levels deep"},
		"deep JSON":        {strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000), "nested more than 500 levels deep"},
		"deep YAML":        {strings.Repeat("- ", 2000) + "1", "nested more than 500 levels deep"},
	} {
		r := Run([]Source{{"f", []byte(c.text)}}, Options{})
		if len(r.Unreadable) != 1 || len(r.Findings) != 0 || r.Seen.Files != 0 {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		if got := r.Unreadable[0].Error(); !strings.Contains(got, c.says) || !strings.HasPrefix(got, "f:") {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}

// TestJSONErrorsHaveLines: a file that calls itself JSON gets JSON's errors.
func TestJSONErrorsHaveLines(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"a\": [}\n":             "x.json:2: not JSON: ",
		"{\"a\":\n\n[1, 2":           "x.json:3: not JSON: the file ends in the middle of a value",
		"{\"a\": 1,\n\"b\": {{ c }}": "x.json:2: not JSON: ",
	} {
		r := Run([]Source{{"x.json", []byte(text)}}, Options{})
		if len(r.Unreadable) != 1 || !strings.HasPrefix(r.Unreadable[0].Error(), want) {
			t.Errorf("%q: %v, want %q", text, r.Unreadable, want)
		}
	}
}

// TestAliasesOfAliases: ten lines that are a billion values.
func TestAliasesOfAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 {x: 1}\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	r := Run([]Source{{"f", []byte(b.String())}}, Options{})
	if len(r.Unreadable) != 1 || !strings.Contains(r.Unreadable[0].Reason, "aliases") {
		t.Errorf("%+v", r)
	}
}

// TestAliasedTexts: the same for texts with a configuration in them.
func TestAliasedTexts(t *testing.T) {
	text := "static_resources: {}\n" + strings.Repeat("# nothing\n", 100_000)
	y := "a: &a |\n  " + strings.ReplaceAll(text, "\n", "\n  ") + "\nb: [" + strings.Repeat("*a,", 100_000) + "]\n"
	if r := Run([]Source{{"f", []byte(y)}}, Options{}); len(r.Unreadable) != 0 {
		t.Error(r.Unreadable)
	}
}

// TestLargeFile: memory is a small multiple of the file, and there is an end to
// what is printed of it.
func TestLargeFile(t *testing.T) {
	one, err := os.ReadFile("../testdata/hold.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.ReplaceAll(string(one), "timeout: 0s", "timeout: 15s")
	var b strings.Builder
	for b.Len() < 2<<20 {
		b.WriteString("---\n" + bad)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := Run([]Source{{"f", []byte(b.String())}}, Options{})
	runtime.ReadMemStats(&after)
	if len(r.Findings) == 0 || len(r.Findings) > (maxPerRule+1)*len(Rules()) {
		t.Errorf("%d findings, %v", len(r.Findings), r.Unreadable)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 40*uint64(b.Len()) {
		t.Errorf("%d MiB allocated for %d MiB", grown>>20, b.Len()>>20)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(dir, nil); err == nil || !strings.Contains(err.Error(), "name the files in it") {
		t.Error(err)
	}
	if _, err := ReadFile(filepath.Join(dir, "none"), nil); err == nil || !strings.HasSuffix(err.Error(), "none: cannot be read: no such file or directory") {
		t.Error(err)
	}
	src, err := ReadFile("-", strings.NewReader("a: 1"))
	if err != nil || src.Name != "stdin" || string(src.Data) != "a: 1" {
		t.Error(src, err)
	}
	if _, err := ReadFile("-", endless{}); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Error(err)
	}
	if _, err := ReadFile("-", broken{}); err == nil || !strings.Contains(err.Error(), "stdin: pulled") {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("pulled") }

// FuzzRun: whatever is read, each finding and error is about a line of the file,
// and the second time it is the same.
func FuzzRun(f *testing.F) {
	for _, glob := range []string{"testdata/*.txtar", "../testdata/*.yaml"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			_, bad, ok := strings.Cut(string(text), "-- bad.yaml --\n")
			if bad, _, _ = strings.Cut(bad, "-- good.yaml --\n"); !ok {
				bad = string(text)
			}
			f.Add([]byte(bad))
		}
	}
	f.Add([]byte("a: &a [*a]\n? b\n: |\n  http_filters\n  static_resources: {}\n"))
	f.Add([]byte(`{"virtualHosts":[{"routes":[{"match":{},"route":{}}]}]}{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := Run([]Source{{"f", data}}, Options{})
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		for i := range r.Findings {
			if n := r.Findings[i].Line; n < 1 || n > lines {
				t.Errorf("line %d of %d: %v", n, lines, &r.Findings[i])
			}
		}
		if diff := cmp.Diff(r, Run([]Source{{"f", data}}, Options{})); diff != "" {
			t.Errorf("the second time: %s", diff)
		}
	})
}
