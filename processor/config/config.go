// Package config turns the configuration file into the immutable policies that
// the processor runs with.
//
// There are three steps, and each is one function: [Default] fills every key,
// [Config.Validate] finds everything that is wrong, and [Config.Compile] makes
// the snapshot that requests are matched against. [Parse] and [Load] do the
// first two for a file; they report every problem of the file at once, each
// with its line, a snippet and what would be allowed.
//
// The raw Config never reaches a request: a reload compiles a new [Policies]
// and swaps the pointer, so a live stream keeps the Policy it began with.
package config

import (
	"encoding/json"
	"time"
)

//go:generate go run ./internal/gendoc ../../docs/configuration.md

// Config is the configuration file, key by key. Its zero value is not usable:
// begin with [Default]. What each key means, its unit, its limits and what zero
// does are in one table, which [Reference] shows and docs/configuration.md is made
// from.
//
// The json tags are the file's key names. One tag serves both the YAML decoder
// of this package and the JSON view of the admin API, so the names cannot drift.
// The sim tags are the values, or ranges of numbers, among which a simulated
// policy's are drawn (test/sim), so that a new key is simulated from the start;
// the first is tried first when a failure is made smaller.
type Config struct {
	Listen   Address        `json:"listen"`
	Admin    Address        `json:"admin"`
	TLS      TLS            `json:"tls"`
	Fetch    Fetch          `json:"fetch"`
	Relay    Relay          `json:"relay"`
	Seal     Seal           `json:"seal"`
	Store    Store          `json:"store"`
	Limits   Limits         `json:"limits"`
	Drain    Drain          `json:"drain"`
	Log      Log            `json:"log"`
	Tracing  Tracing        `json:"tracing"`
	Policies []PolicyConfig `json:"policies"`
}

// TLS protects the ext_proc listener. Empty paths: plain text.
type TLS struct {
	Cert     string `json:"cert"`
	Key      string `json:"key"`
	ClientCA string `json:"client_ca"`
}

// Fetch is the processor's way back through Envoy.
type Fetch struct {
	URL         string `json:"url"`
	PassKeyFile string `json:"pass_key_file"`
}

// Relay is the listener that relayed responses come from.
type Relay struct {
	Listen Address `json:"listen"`
}

// Seal is what makes the ids of policies with `ids: sealed`.
type Seal struct {
	KeyFile string `json:"key_file"`
}

// Store is where session state lives.
type Store struct {
	Kind  string   `json:"kind"`
	Path  string   `json:"path"`
	URL   string   `json:"url"`
	Flush Duration `json:"flush"`
	TTL   Duration `json:"ttl"`
}

// Limits bound what a stream, a session and the process may hold.
type Limits struct {
	EventBytes           Size `json:"event_bytes"             sim:"1MiB 1KiB 4KiB"`
	RequestBytes         Size `json:"request_bytes"`
	Sessions             int  `json:"sessions"`
	Detached             int  `json:"detached"`
	Memory               Size `json:"memory"`
	StreamBytesPerSecond Size `json:"stream_bytes_per_second" sim:"1MiB 1KiB 0"`
	BurstBytes           Size `json:"burst_bytes"             sim:"1MiB 1KiB 0"`
}

// Drain is how live streams end when the process is told to stop.
type Drain struct {
	Deadline Duration `json:"deadline"`
	Spread   Duration `json:"spread"`
}

// Log is what is written to standard error.
type Log struct {
	Level  string `json:"level"`
	Format string `json:"format"`
}

// Tracing is where spans go.
type Tracing struct {
	OTLPEndpoint string  `json:"otlp_endpoint"`
	Sample       float64 `json:"sample"`
}

// PolicyConfig is one entry of the policies list as it is written; [Policy] is
// what it compiles to.
type PolicyConfig struct {
	Name         string             `json:"name"`
	Match        Match              `json:"match"`
	Mode         string             `json:"mode"`
	Via          string             `json:"via"`
	Rollout      int                `json:"rollout"`
	Session      Session            `json:"session"`
	Resume       string             `json:"resume"        sim:"auto auto auto auto last-event-id last-event-id none"`
	Dedup        string             `json:"dedup"         sim:"overlap overlap always off"`
	IDs          string             `json:"ids"           sim:"origin"`
	GapEvent     string             `json:"gap_event"`
	Replay       Replay             `json:"replay"`
	Heartbeat    Duration           `json:"heartbeat"     sim:"15s 15s 5s 1m 0s"`
	Health       Health             `json:"health"`
	Backoff      Backoff            `json:"backoff"`
	HoldFor      Duration           `json:"hold_for"      sim:"2m 2m 2m 20s 10m 0s"`
	Detach       Duration           `json:"detach"        sim:"0s"`
	CompleteWhen []CompletionConfig `json:"complete_when"`
	RetryWhen    []CompletionConfig `json:"retry_when"`
}

// Match says which requests a policy is for; all of its parts must agree.
type Match struct {
	Hosts      []string          `json:"hosts"`
	PathPrefix string            `json:"path_prefix"`
	Methods    []string          `json:"methods"`
	Headers    map[string]string `json:"headers"`
}

// Session says where a request carries what tells clients apart.
type Session struct {
	Key       []string `json:"key"`
	Principal []string `json:"principal"`
}

// Replay bounds what is remembered of a session's events.
type Replay struct {
	Events int      `json:"events" sim:"1000 1000 1 2..8 64"`
	Bytes  Size     `json:"bytes"  sim:"1MiB"`
	TTL    Duration `json:"ttl"    sim:"1h"`
}

// Health is when an upstream counts as dead.
type Health struct {
	IdleTimeout    Duration `json:"idle_timeout"    sim:"30s 30s 10s 2m 0s"`
	CheckInterval  Duration `json:"check_interval"  sim:"10s 1s"`
	ConnectTimeout Duration `json:"connect_timeout" sim:"60s 5s"`
	EjectAfter     int      `json:"eject_after"     sim:"3 1 0"`
	EjectFor       Duration `json:"eject_for"       sim:"30s 1s"`
}

// Backoff paces the attempts to resume.
type Backoff struct {
	Base    Duration `json:"base"    sim:"1s 1s 100ms 5s"`
	Max     Duration `json:"max"     sim:"30s 30s 5s"`
	Retries int      `json:"retries" sim:"10 10 10 1..3 0"`
	Jitter  float64  `json:"jitter"  sim:"0.1 0 1"`
}

// CompletionConfig recognises one event; every part that is set must match.
// A value of JSON is a string, a bool, a float64, or nil for null. In the file it
// may be a name instead: the detector of a protocol (splice.Detectors).
type CompletionConfig struct {
	Detector string `json:"-"`

	Data  *string        `json:"data,omitempty"`
	Event *string        `json:"event,omitempty"`
	JSON  map[string]any `json:"json,omitempty"`
}

// MarshalJSON implements [json.Marshaler]: it is as it is in the file.
func (c CompletionConfig) MarshalJSON() ([]byte, error) {
	if c.Detector != "" {
		return json.Marshal(c.Detector)
	}
	type plain CompletionConfig
	return json.Marshal(plain(c))
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{
		Listen: "unix:/run/holdfast/extproc.sock",
		Admin:  "127.0.0.1:9902",
		Store: Store{
			Kind:  "memory",
			Path:  "holdfast.db",
			URL:   "redis://127.0.0.1:6379/0",
			Flush: Duration(100 * time.Millisecond),
			TTL:   Duration(time.Hour),
		},
		Limits: Limits{
			EventBytes:           MiB,
			RequestBytes:         MiB,
			Sessions:             1_000_000,
			Detached:             10_000,
			StreamBytesPerSecond: MiB,
			BurstBytes:           MiB,
		},
		Drain:    Drain{Deadline: Duration(30 * time.Second), Spread: Duration(10 * time.Second)},
		Log:      Log{Level: "info", Format: "json"},
		Tracing:  Tracing{Sample: 100},
		Policies: []PolicyConfig{defaultPolicy()},
	}
}

// defaultPolicy is both the only policy of an empty file and what the keys that
// a written policy leaves out are taken from.
func defaultPolicy() PolicyConfig {
	return PolicyConfig{
		Name:    "default",
		Match:   Match{Hosts: []string{}, PathPrefix: "/", Methods: []string{}, Headers: map[string]string{}},
		Mode:    "auto",
		Via:     "auto",
		Rollout: 100,
		Session: Session{
			Key:       []string{"header:mcp-session-id", "cookie:session", "query:session"},
			Principal: []string{"header:authorization"},
		},
		Resume:    "auto",
		Dedup:     "overlap",
		IDs:       "origin",
		Replay:    Replay{Events: 1000, Bytes: MiB, TTL: Duration(time.Hour)},
		Heartbeat: Duration(15 * time.Second),
		Health: Health{
			IdleTimeout:    Duration(30 * time.Second),
			CheckInterval:  Duration(10 * time.Second),
			ConnectTimeout: Duration(60 * time.Second),
			EjectAfter:     3,
			EjectFor:       Duration(30 * time.Second),
		},
		Backoff: Backoff{
			Base:    Duration(time.Second),
			Max:     Duration(30 * time.Second),
			Retries: 10,
			Jitter:  0.1,
		},
		HoldFor:      Duration(2 * time.Minute),
		CompleteWhen: []CompletionConfig{},
		RetryWhen:    []CompletionConfig{},
	}
}
