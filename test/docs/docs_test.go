// Package docs checks that the documents say what is so: links lead somewhere,
// tests that are named exist, examples of configuration are accepted.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/processor/config"
)

const root = "../.."

// pages yields every Markdown file of the project with its text.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "bin", "node_modules"}, d.Name())) {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[path] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for path, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}

// named is a test as the documents cite it: [`TestName/subtest`](file).
var named = regexp.MustCompile("\\[`((?:Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]*)(?:/([^`]+))?`\\]\\(([^)]+)\\)")

func TestNamedTestsExist(t *testing.T) {
	count := 0
	for path, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			count++
			name, subtest, file := m[1], m[2], filepath.Join(filepath.Dir(path), m[3])
			source, err := os.ReadFile(file)
			if err != nil {
				t.Errorf("%s names %s: %v", path, name, err)
				continue
			}
			if !strings.Contains(string(source), "\nfunc "+name+"(") {
				t.Errorf("%s names %s, which is not in %s", path, name, file)
			}
			if subtest != "" && !strings.Contains(string(source), `"`+subtest+`"`) {
				t.Errorf("%s names the subtest %q of %s, which is not in %s", path, subtest, name, file)
			}
		}
	}
	if count == 0 {
		t.Error("no document names any test; has the notation changed?")
	}
}

// fence is a block of YAML that is a configuration of ours. Other YAML (Envoy's)
// is marked by a word behind the language.
var fence = regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```")

func TestExamplesOfConfigurationAreAccepted(t *testing.T) {
	for path, text := range pages(t) {
		if filepath.Base(path) == "configuration.md" {
			continue // shows mistakes too; the package that writes it checks it
		}
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if _, err := config.Parse(path, []byte(m[1])); err != nil {
				t.Errorf("%s has an example that is refused: %v", path, err)
			}
		}
	}
}

// TestEveryPageIsReachable: a page that nothing links to is not found.
func TestEveryPageIsReachable(t *testing.T) {
	linked := map[string]bool{filepath.Join(root, "README.md"): true}
	all := pages(t)
	for path, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			linked[filepath.Join(filepath.Dir(path), m[1])] = true
		}
	}
	for path := range all {
		// Folders of decisions and READMEs of examples are reached as folders.
		if !linked[path] && !linked[filepath.Dir(path)] {
			t.Errorf("no page links to %s", path)
		}
	}
}
