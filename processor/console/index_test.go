package console

import (
	"regexp"
	"strings"
	"testing"
)

// TestPageLoadsOnlyItself: everything that the page and its scripts name is
// served here, and nothing is from elsewhere.
func TestPageLoadsOnlyItself(t *testing.T) {
	h := New(options())
	named := regexp.MustCompile(`(?:src|href)="(/console/[^"]*)"|from "\./([a-z.]+)"`)
	seen := map[string]bool{}
	var look func(path string)
	look = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		w := ask(h, "GET", path)
		kind := w.Header().Get("Content-Type")
		if w.Code != 200 {
			t.Fatalf("%s: %d", path, w.Code)
		}
		for suffix, want := range map[string]string{"/": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"} {
			if strings.HasSuffix(path, suffix) && !strings.HasPrefix(kind, want) {
				t.Errorf("%s is %s", path, kind)
			}
		}
		if text := strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", ""); strings.Contains(text, "://") {
			t.Errorf("%s names something elsewhere", path)
		}
		for _, m := range named.FindAllStringSubmatch(w.Body.String(), -1) {
			if m[1] != "" {
				look(m[1])
			} else {
				look("/console/" + m[2])
			}
		}
	}
	look("/")
	if len(seen) < 10 {
		t.Errorf("only %v", seen)
	}
	files, err := web.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen["/console/"+f.Name()] && f.Name() != "index.html.tmpl" {
			t.Errorf("%s is embedded and used by nothing", f.Name())
		}
	}
}

func TestAssetsThatAreNone(t *testing.T) {
	h := New(options())
	for _, path := range []string{"/console/", "/console/nope.js", "/console/index.html.tmpl", "/console/..%2fguard.go", "/console/main"} {
		wantError(t, ask(h, "GET", path), 404, "/ lists what there is")
	}
	wantError(t, ask(h, "GET", "/console/main.js?v=1"), 400, "there are none here")
}

// TestNoScriptMakesMarkup: the page's policy forbids it to browsers; that no
// script tries keeps it working.
func TestNoScriptMakesMarkup(t *testing.T) {
	files, err := web.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := web.ReadFile("web/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", " style=\"", "onclick=\""} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s has %s", f.Name(), word)
			}
		}
	}
}

func TestContentPolicy(t *testing.T) {
	o := options()
	o.Pprof = true
	h := New(o)
	for path, want := range map[string]string{"/": "script-src 'self'; style-src 'self'; connect-src 'self'", "/debug/pprof/": "style-src 'unsafe-inline'"} {
		got := ask(h, "GET", path).Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(got, "default-src 'none'; ") || !strings.Contains(got, want) || !strings.HasSuffix(got, "frame-ancestors 'none'") {
			t.Errorf("%s: %s", path, got)
		}
		if path == "/" && strings.Contains(got, "unsafe") {
			t.Errorf("the page's policy is %s", got)
		}
	}
}
