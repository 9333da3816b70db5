package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// TestREADME: the commands that a newcomer finds in the README do what it says, with
// its own configuration in the file that they name. Only addresses differ.
func TestREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(harness.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	example := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```").FindSubmatch(text)
	if example == nil {
		t.Fatal("the README has no configuration")
	}
	if err := os.WriteFile(filepath.Join(dir, "holdfast.yaml"), example[1], 0o600); err != nil {
		t.Fatal(err)
	}

	origin := harness.NewOrigin(t)
	path := origin.Body("/events", events(1, 3))
	use := map[string]func(args []string){
		"make": func(targets []string) {
			for _, target := range targets {
				cmd := exec.CommandContext(t.Context(), "make", "-n", target)
				cmd.Dir = harness.Root()
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("make %s: %v\n%s", target, err, out)
				}
			}
		},
		"run": func(args []string) {
			for i, arg := range args {
				if arg == "http://127.0.0.1:3000" {
					args[i] = origin.URL
				}
			}
			p := harness.StartIn(t, dir, harness.Holdfast(t), append(args, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")...)
			url := p.WantLine(t, "ready ")
			s := harness.Open(t, harness.NewClient(t, harness.H1), harness.Request{}.For(t, url+path))
			s.WantUntil(t, events(3, 3))
			s.Close()
			p.Signal(os.Interrupt)
			if code := p.Wait(t); code != 0 {
				t.Errorf("holdfast %q: exit code %d", args, code)
			}
		},
		"serve": func(args []string) {
			admin := harness.FreeAddress(t)
			p := harness.StartIn(t, dir, harness.Holdfast(t), append(args, "--listen", "unix:"+dir+"/p.sock", "--admin", admin)...)
			client := harness.NewClient(t, harness.H1)
			harness.Eventually(t, "holdfast serve to be ready", func() bool {
				res, err := client.Get("http://" + admin + "/readyz")
				if err != nil {
					return false
				}
				res.Body.Close()
				return res.StatusCode == http.StatusOK
			})
			p.Signal(os.Interrupt)
			if code := p.Wait(t); code != 0 {
				t.Errorf("holdfast %q: exit code %d", args, code)
			}
		},
	}
	finished := func(args []string) {
		p := harness.StartIn(t, dir, harness.Holdfast(t), args...)
		if code := p.Wait(t); code != 0 {
			t.Errorf("holdfast %q: exit code %d\n%s", args, code, p.Output())
		}
		if args[0] == "bootstrap" {
			if err := os.WriteFile(filepath.Join(dir, "envoy.yaml"), []byte(p.Stdout()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	use["check"], use["bootstrap"], use["lint"] = finished, finished, finished

	seen := map[string]bool{}
	prose := regexp.MustCompile("(?s)\n```.*?\n```").ReplaceAllString(string(text), "")
	for line := range strings.Lines(prose) {
		command, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		command, _, _ = strings.Cut(command, " # ")
		args := strings.Fields(strings.TrimPrefix(command, "bin/holdfast "))
		name := args[0]
		if name == "make" {
			args = args[1:]
		}
		if use[name] == nil {
			t.Errorf("nobody knows whether %q does what it says", command)
			continue
		}
		seen[name] = true
		use[name](args)
	}
	if len(seen) != len(use) {
		t.Errorf("the README shows only %v", seen)
	}
}
