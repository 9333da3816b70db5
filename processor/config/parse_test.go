package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Run with -update after a change that is meant, and review the diff: the golden
// files are what users will read.
var update = flag.Bool("update", false, "rewrite the golden files of the errors")

// Each testdata/errors/*.yaml is refused with the text of the .txt beside it.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(file), data)
			if err == nil {
				t.Fatal("the file is accepted")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, e := os.ReadFile(golden)
			if e != nil {
				t.Fatal(e)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("the error changed (-want +got):\n%s", diff)
			}
			var problems *Error
			if !errors.As(err, &problems) || len(problems.Problems) == 0 || problems.Name != filepath.Base(file) {
				t.Errorf("not an *Error with problems and the file's name: %#v", err)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	policy := func(change func(*PolicyConfig)) *Config {
		c := Default()
		change(&c.Policies[0])
		return c
	}
	tests := []struct {
		name, file string
		want       *Config
	}{
		{"empty file", "", Default()},
		{"only a comment", "# nothing yet\n", Default()},
		{"only a document marker", "---\n", Default()},
		{"empty section", "store:\n# ttl: 2h\nlog:\n", Default()},
		{"byte order mark and CRLF", "\ufefflog:\r\n  level: info\r\n", Default()},
		{"JSON", `{"policies": [{"mode": "off"}]}`, policy(func(p *PolicyConfig) { p.Mode = "off" })},
		{"no policies", "policies: []\n", func() *Config { c := Default(); c.Policies = []PolicyConfig{}; return c }()},
		{"off is a word", "policies: [{mode: off, dedup: off}]", policy(func(p *PolicyConfig) { p.Mode, p.Dedup = "off", "off" })},
		{"no admin port", "admin: ''", func() *Config { c := Default(); c.Admin = ""; return c }()},
		{"zero without unit", "policies: [{heartbeat: 0}]", policy(func(p *PolicyConfig) { p.Heartbeat = 0 })},
		{"plain bytes", "limits: {event_bytes: 65536}", func() *Config { c := Default(); c.Limits.EventBytes = 64 * KiB; return c }()},
		{
			"left out keys of a policy have their defaults", "policies:\n- name: chat\n  session: {key: []}\n  replay: {events: 10}\n",
			policy(func(p *PolicyConfig) {
				p.Name, p.Session.Key, p.Replay.Events = "chat", []string{}, 10
			}),
		},
		{
			"completion", "policies: [{complete_when: [{data: '[DONE]'}, {json: {a.b: 1, c: null, d: true, e: x}}]}]",
			policy(func(p *PolicyConfig) {
				done := "[DONE]"
				p.CompleteWhen = []CompletionConfig{
					{Data: &done},
					{JSON: map[string]any{"a.b": 1.0, "c": nil, "d": true, "e": "x"}},
				}
			}),
		},
		{
			"completion by protocol", "policies: [{complete_when: [anthropic, {event: bye}]}]",
			policy(func(p *PolicyConfig) {
				bye := "bye"
				p.CompleteWhen = []CompletionConfig{{Detector: "anthropic"}, {Event: &bye}}
			}),
		},
		{
			"everything that this version has", `
listen: 0.0.0.0:50051
admin: "[::1]:0"
tls: {cert: c.pem, key: k.pem, client_ca: ca.pem}
store: {kind: memory, ttl: 1h30m}
limits: {event_bytes: 2MiB, sessions: 10}
drain: {deadline: 1m, spread: 0}
log: {level: debug, format: console}
policies:
- {name: a, match: {hosts: [x.org, "*.y.org:8443", "[::1]"], path_prefix: /v1, methods: [get], headers: {X-Team: s}}}
`,
			func() *Config {
				c := Default()
				c.Listen, c.Admin = "0.0.0.0:50051", "[::1]:0"
				c.TLS = TLS{Cert: "c.pem", Key: "k.pem", ClientCA: "ca.pem"}
				c.Store.TTL = Duration(90 * time.Minute)
				c.Limits.EventBytes, c.Limits.Sessions = 2*MiB, 10
				c.Drain = Drain{Deadline: Duration(time.Minute)}
				c.Log = Log{Level: "debug", Format: "console"}
				c.Policies[0].Name = "a"
				c.Policies[0].Match = Match{
					Hosts: []string{"x.org", "*.y.org:8443", "[::1]"}, PathPrefix: "/v1",
					Methods: []string{"get"}, Headers: map[string]string{"X-Team": "s"},
				}
				return c
			}(),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse("test.yaml", []byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// These would make huge golden files, or none that git keeps as they are.
func TestParseRefusesHostileFiles(t *testing.T) {
	deep := func(open string) string { return "policies: " + strings.Repeat(open, 100_000) }
	tests := []struct{ name, file, want string }{
		{"huge", strings.Repeat("# comment\n", 200_000), "larger than 1MiB"},
		{"brackets", deep("["), "1:27: nested too deeply"},
		{"braces", deep("{a: "), "nested too deeply"},
		{"dashes in a value", deep("- "), "nested too deeply"},
		{"dashes in a line", strings.Repeat("- ", 100_000), "1:33: nested too deeply"},
		{"binary", "listen: \x7fELF\x00", "1:9: not a text file"},
		{"not UTF-8", "log:\n  level: \xff\n", "2:10: not a text file"},
		{"escape sequence", "# \x1b[2J\n", "1:3: not a text file"},
		{"long line", "listen: " + strings.Repeat("x", 500_000), "is not an address"},
		{"a million problems", strings.Repeat("- x\n", 10), "1:1: this is a list"},
		{"unicode tricks in a snippet", "listn: \u202e\n", `unknown key "listn"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("test.yaml", []byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("want an error with %q, got: %.500v", tt.want, err)
			}
			if strings.ContainsRune(err.Error(), '\u202e') {
				t.Errorf("the error repeats a character that turns text around")
			}
		})
	}
}

func TestErrorIsBounded(t *testing.T) {
	_, err := Parse("test.yaml", []byte(strings.Repeat("x", 5)+": 1\n"+func() string {
		var b strings.Builder
		for i := range 5000 {
			b.WriteString("key")
			b.WriteString(strings.Repeat("z", i%50+1))
			b.WriteByte(byte('a' + i%26))
			b.WriteString(": 1\n")
		}
		return b.String()
	}()))
	if err == nil || len(err.Error()) > 20_000 || !strings.Contains(err.Error(), "more problems") {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "holdfast.yaml")
	if err := os.WriteFile(path, []byte("log: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(""); err != nil || cmp.Diff(Default(), got) != "" {
		t.Errorf("no file: %v", err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1:14: log.level: ") {
		t.Errorf("bad file: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "missing.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory was read")
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/errors/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("fuzz.yaml", data)
		if err != nil {
			var problems *Error
			if !errors.As(err, &problems) || err.Error() == "" {
				t.Errorf("not an *Error: %v", err)
			}
			return
		}
		policies, err := cfg.Compile()
		if err != nil {
			t.Fatalf("what Parse accepts does not compile: %v", err)
		}
		for _, p := range policies.All() {
			if err := p.Splice.Validate(); err != nil {
				t.Errorf("what Parse accepts the core does not: %v", err)
			}
		}
	})
}
