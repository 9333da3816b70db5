package config

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/processor/health"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
)

func TestCompile(t *testing.T) {
	done, failed := "[DONE]", "error"
	tests := []struct {
		file string
		want Policy
	}{
		{"", Policy{
			Name: "default", Mode: ModeInline, Chosen: true, Rollout: 100,
			Splice: splice.Policy{
				Window: 1000, EventBytes: 1 << 20, Heartbeat: 15 * time.Second,
				Backoff: splice.Backoff{Base: time.Second, Max: 30 * time.Second, Retries: 10, Jitter: 0.1},
				HoldFor: 2 * time.Minute, IdleTimeout: 30 * time.Second,
			},
			Health: health.Options{
				IdleTimeout: 30 * time.Second, CheckInterval: 10 * time.Second, ConnectTimeout: time.Minute,
				EjectAfter: 3, EjectFor: 30 * time.Second,
			},
			Replay: ReplayLimits{Events: 1000, Bytes: 1 << 20, TTL: time.Hour},
			Limits: StreamLimits{RequestBytes: 1 << 20, BytesPerSecond: 1 << 20, BurstBytes: 1 << 20},
			Session: SessionKeys{
				Key:       []KeySource{{InHeader, "mcp-session-id"}, {InCookie, "session"}, {InQuery, "session"}},
				Principal: []KeySource{{InHeader, "authorization"}},
			},
		}},
		{`
limits: {event_bytes: 64KiB}
policies:
- name: watched
  mode: observe
  rollout: 5
  session: {key: ["header:X-Tab", "cookie:Sid", "query:Tab Id%20"], principal: []}
`, Policy{}},
		{`
limits: {event_bytes: 64KiB, request_bytes: 0, stream_bytes_per_second: 0, burst_bytes: 2KiB}
policies:
- name: watched
  mode: observe
  via: relay
  rollout: 5
  resume: mcp
  dedup: always
  replay: {events: 7}
  heartbeat: 0
  hold_for: 0
  health: {idle_timeout: 0, eject_after: 0, connect_timeout: 5s}
  backoff: {retries: 0, jitter: 0}
  retry_when: [{event: error}]
  session: {key: ["header:X-Tab", "cookie:Sid", "query:Tab"], principal: []}
  complete_when: [{data: "[DONE]", json: {a: 1}}]
`, Policy{
			Name: "watched", Mode: ModeObserve, Via: ViaRelay, Resume: upstream.None, Rollout: 5,
			Splice: splice.Policy{
				Observe: true, Dedup: splice.DedupAlways, Window: 7, EventBytes: 64 << 10,
				Complete:    []splice.Completion{{Data: &done, JSON: map[string]any{"a": 1.0}}},
				Backoff:     splice.Backoff{Base: time.Second, Max: 30 * time.Second},
				IdleTimeout: -1,
			},
			Health: health.Options{
				IdleTimeout: -1, CheckInterval: 10 * time.Second, ConnectTimeout: 5 * time.Second,
				EjectAfter: -1, EjectFor: 30 * time.Second,
			},
			Replay:    ReplayLimits{Events: 7, Bytes: 1 << 20, TTL: time.Hour},
			RetryWhen: []splice.Completion{{Event: &failed}},
			Limits:    StreamLimits{BurstBytes: 2 << 10},
			Session: SessionKeys{
				Key:       []KeySource{{InHeader, "x-tab"}, {InCookie, "Sid"}, {InQuery, "Tab"}},
				Principal: []KeySource{},
			},
		}},
	}
	for i, tt := range tests {
		cfg, err := Parse("test.yaml", []byte(tt.file))
		if tt.want.Name == "" {
			if err == nil {
				t.Errorf("%d: want an error", i)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := cfg.Compile()
		if err != nil {
			t.Fatal(err)
		}
		got := *p.All()[0]
		got.match = matcher{}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(Policy{}, matcher{})); diff != "" {
			t.Errorf("%d (-want +got):\n%s", i, diff)
		}
	}
}

// A reload compiles the file again while streams still hold the old policies.
func TestCompiledPoliciesShareNothing(t *testing.T) {
	const file = `
policies:
- match: {hosts: [a], methods: [GET], headers: {x: y}}
  session: {key: ["header:x"]}
  complete_when: [{data: end, json: {a: b}}]
`
	cfg, err := Parse("test.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cfg.Compile()
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.AllowUnexported(Policies{}, Policy{}, matcher{}, hostPattern{}, header{})
	if diff := cmp.Diff(compile(t, file), p, same); diff != "" {
		t.Errorf("the same file compiles differently:\n%s", diff)
	}
	c := &cfg.Policies[0]
	c.Match.Hosts[0], c.Match.Methods[0], c.Match.Headers["x"] = "b", "PUT", "z"
	c.Session.Key[0] = "header:z"
	*c.CompleteWhen[0].Data, c.CompleteWhen[0].JSON["a"] = "changed", "changed"
	if diff := cmp.Diff(compile(t, file), p, same); diff != "" {
		t.Errorf("a change of the Config shows in what was compiled:\n%s", diff)
	}
}

func TestModesAndSourcesHaveTheNamesOfTheFile(t *testing.T) {
	for _, name := range []string{"off", "observe", "inline", "hold"} {
		p := compile(t, "policies: [{mode: "+name+"}]").All()[0]
		if p.Mode.String() != name {
			t.Errorf("mode %s is called %v", name, p.Mode)
		}
	}
	for _, name := range []string{"header", "cookie", "query"} {
		p := compile(t, "policies: [{session: {key: ['"+name+":x']}}]").All()[0]
		if got := p.Session.Key[0].In.String(); got != name {
			t.Errorf("source %s is called %v", name, got)
		}
	}
}

func TestReload(t *testing.T) {
	if effective, restart := Reload(Default(), Default()); restart != nil || cmp.Diff(Default(), effective) != "" {
		t.Errorf("nothing changed, got %q and %v", restart, effective)
	}
	next := Default()
	next.Policies = []PolicyConfig{defaultPolicy(), defaultPolicy()}
	next.Policies[1].Name = "second"
	next.Limits.EventBytes = KiB
	next.Log.Level = "debug"
	effective, restart := Reload(Default(), next)
	if diff := cmp.Diff(next, effective); diff != "" || restart != nil {
		t.Errorf("restart for %q (-next +effective):\n%s", restart, diff)
	}

	next.Limits.Sessions = 1
	next.Listen = "127.0.0.1:1"
	running := Default()
	effective, restart = Reload(running, next)
	if diff := cmp.Diff([]string{"listen", "limits.sessions"}, restart); diff != "" {
		t.Error(diff)
	}
	if effective.Listen != running.Listen || effective.Limits.Sessions != running.Limits.Sessions || effective.Limits.EventBytes != KiB {
		t.Errorf("in effect: %+v", effective)
	}
	if diff := cmp.Diff(Default(), running); diff != "" {
		t.Errorf("Reload changed what it was given:\n%s", diff)
	}
}

func TestRedacted(t *testing.T) {
	cfg := Default()
	cfg.Fetch.URL = "http://user:hunter2@127.0.0.1:1"
	cfg.Store.URL = "rediss://:hunter2@h:1/0?password=hunter2"
	cfg.Tracing.OTLPEndpoint = "hunter2@collector:4317"
	cfg.TLS.Key = "/etc/holdfast/tls.key"
	cfg.Policies[0].Match.Headers = map[string]string{"X-Api-Key": "hunter2", "Authorization": "Bearer hunter2", "x-team": "search"}
	got, err := json.MarshalIndent(cfg.Redacted(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "hunter2") {
		t.Errorf("a secret is shown:\n%s", got)
	}
	for _, want := range []string{
		`"http://***@127.0.0.1:1"`, `"rediss://***@h:1/0?***"`, `"***@collector:4317"`, `"/etc/holdfast/tls.key"`,
		`"x-team": "search"`, `"X-Api-Key": "***"`, `"event_bytes": "1MiB"`, `"heartbeat": "15s"`, `"complete_when": []`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
	for _, url := range []string{"redis://:hun/ter2@h:1/0", "redis://:hun?ter2@h:1/0", "redis://u:hun/ter2@h:1/0?x=y@z"} {
		cfg.Store.URL = url
		if shown := cfg.Redacted().Store.URL; strings.Contains(shown, "ter2") || strings.Contains(shown, "hun") {
			t.Errorf("%s is shown as %s", url, shown)
		}
		_, err := Parse("f.yaml", []byte("store: {url: \""+url+"\"}"))
		if err == nil || strings.Contains(err.Error(), "ter2") || strings.Contains(err.Error(), "hun") {
			t.Errorf("%s is refused with: %v", url, err)
		}
	}
	if cfg.Policies[0].Match.Headers["X-Api-Key"] != "hunter2" {
		t.Error("Redacted changed the Config")
	}
	plain, _ := json.Marshal(Default())
	redacted, _ := json.Marshal(Default().Redacted())
	if string(plain) != string(redacted) {
		t.Error("a Config without secrets is shown changed")
	}
}

// What auto means depends on what there is to hold with.
func TestAuto(t *testing.T) {
	const fetch = "fetch: {url: unix:/run/loop.sock}\n"
	for _, tt := range []struct {
		file   string
		mode   Mode
		chosen bool
		via    Via
	}{
		{"", ModeInline, true, ViaImmediate},
		{fetch, ModeHold, true, ViaImmediate},
		{fetch + "relay: {listen: unix:/run/relay.sock}\n", ModeHold, true, ViaRelay},
		{fetch + "relay: {listen: unix:/run/relay.sock}\npolicies: [{mode: hold, via: immediate}]", ModeHold, false, ViaImmediate},
		{fetch + "policies: [{mode: inline}]", ModeInline, false, ViaImmediate},
		{"policies: [{mode: hold, via: relay}]", ModeHold, false, ViaRelay}, // what runs it may bring its own way back
	} {
		p := compile(t, tt.file).All()[0]
		if p.Mode != tt.mode || p.Chosen != tt.chosen || p.Via != tt.via {
			t.Errorf("%q: %v, chosen %v, via %v", tt.file, p.Mode, p.Chosen, p.Via)
		}
	}
}
