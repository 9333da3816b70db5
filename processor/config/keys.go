package config

import "time"

// Key describes one key of the file. The decoder's hints, the validation and
// docs/configuration.md all read it here.
type Key struct {
	Path string // the key's place, such as "limits.event_bytes" or "policies[].mode"
	Doc  string // one or two sentences for the user, in Markdown
	Zero string // what 0, "", [] or {} does; "" if it is refused or nothing special

	// At most one of the following says which values are good.

	Values []string // the closed set, also of later versions
	Range  *Range   // of a number, size or duration
	// Form checks a text, or each text of a list or each name of a map. Its
	// error says what is wrong and what to write. It is not asked about the
	// empty value of a key whose Zero is told.
	Form func(string) error
	// Shape is the form in words, for the table.
	Shape string
}

// Range is the smallest and the greatest value of a number: nanoseconds for a
// Duration, bytes for a Size. Zero is good too if the Key says what it does.
type Range struct{ Min, Max int64 }

func durations(lo, hi time.Duration) *Range { return &Range{int64(lo), int64(hi)} }
func sizes(lo, hi Size) *Range              { return &Range{int64(lo), int64(hi)} }
func numbers(lo, hi int64) *Range           { return &Range{lo, hi} }

const (
	day = 24 * time.Hour

	// maxWindow is splice.Policy.Window's limit.
	maxWindow = 32767
	// maxPolicies keeps the metrics, which carry the policy's name, bounded.
	maxPolicies = 256
	// maxEntries bounds every other list, each of which is searched in order.
	maxEntries = 256
)

// Keys returns every key of the file, in the order of the file.
func Keys() []Key {
	return append(processKeys(), policyKeys()...)
}

func processKeys() []Key {
	return []Key{
		{
			Path:  "listen",
			Doc:   "Where the ext_proc gRPC service listens. Envoy's cluster for the processor points here.",
			Shape: "`unix:/path` or `host:port`", Form: checkAddress,
		},
		{
			Path:  "admin",
			Doc:   "Where health, metrics, the admin API and the console listen, over plain HTTP and without a login: keep it on loopback or behind something that asks. `/debug/pprof/` is there only on loopback.",
			Shape: "`unix:/path` or `host:port`", Form: checkAddress,
		},
		{
			Path: "tls.cert", Doc: "PEM file with the certificate chain that `listen` presents.",
			Zero: "`listen` speaks plain text", Shape: "file",
		},
		{
			Path: "tls.key", Doc: "PEM file with the private key of `tls.cert`.",
			Zero: "`listen` speaks plain text", Shape: "file",
		},
		{
			Path: "tls.client_ca", Doc: "PEM file with the authorities whose client certificates are accepted: Envoy must present one (mTLS).",
			Zero: "no client certificate is asked for", Shape: "file",
		},
		{
			Path: "fetch.url", Doc: "How hold mode reaches upstreams: back through Envoy, over HTTP/2 without TLS.",
			Zero: "hold mode is off", Shape: "`http://host:port` or `unix:/path`",
		},
		{
			Path: "fetch.pass_key_file", Doc: "Key for the pass that a request carries on the way back; needed where that listener also runs this filter.",
			Zero: "no pass", Shape: "file",
		},
		{
			Path: "relay.listen", Doc: "Where relayed responses are fetched from, over HTTP/2 without TLS.",
			Zero: "no relay", Shape: "`unix:/path` or `host:port`", Form: checkAddress,
		},
		{
			Path: "store.kind", Doc: "What keeps the state of sessions. `memory` forgets it when the process ends.",
			Values: []string{"memory", "bolt", "redis"},
		},
		{Path: "store.path", Doc: "File of the bolt store.", Shape: "file"},
		{Path: "store.url", Doc: "Address of the redis store.", Shape: "`redis://` or `rediss://` URL"},
		{
			Path: "store.flush", Doc: "How often changes are written behind.",
			Zero: "an event is sent only after it is stored", Range: durations(time.Millisecond, time.Minute),
		},
		{
			Path: "store.ttl", Doc: "A session that nobody uses for this long is forgotten.",
			Range: durations(time.Second, 365*day),
		},
		{
			Path:  "limits.event_bytes",
			Doc:   "The largest event that is held back until it is whole. A larger one streams through undivided and is not deduplicated. This much memory may be used for each stream.",
			Range: sizes(KiB, GiB),
		},
		{
			Path: "limits.request_bytes", Doc: "The largest request body that hold mode collects.",
			Zero: "bodies are not collected", Range: sizes(1, GiB),
		},
		{
			Path: "limits.sessions", Doc: "The most sessions that are kept; beyond it the one unused for longest is forgotten.",
			Range: numbers(1, 100_000_000),
		},
		{
			Path: "limits.memory", Doc: "The most memory for stored events.",
			Zero: "no limit but those of each session", Range: sizes(MiB, 1024*GiB),
		},
		{
			Path: "limits.stream_bytes_per_second", Doc: "Pace of a stream held by `via: immediate`, which has no back pressure.",
			Zero: "no pacing", Range: sizes(KiB, GiB),
		},
		{
			Path: "limits.burst_bytes", Doc: "How far such a stream may run ahead of its pace.",
			Zero: "not at all", Range: sizes(KiB, GiB),
		},
		{
			Path: "drain.deadline", Doc: "After being told to stop, the longest time until the last stream is ended.",
			Zero: "streams are cut at once", Range: durations(time.Millisecond, day),
		},
		{
			Path: "drain.spread", Doc: "The time over which streams are ended one after another, so that clients do not all come back at once. At most `drain.deadline`.",
			Zero: "all at once", Range: durations(time.Millisecond, day),
		},
		{Path: "log.level", Doc: "The least important log line that is written.", Values: []string{"debug", "info", "warn", "error"}},
		{Path: "log.format", Doc: "`json` for machines, `console` for reading.", Values: []string{"json", "console"}},
		{
			Path: "tracing.otlp_endpoint", Doc: "Where spans are sent.",
			Zero: "no tracing", Shape: "`host:port`",
		},
	}
}

func policyKeys() []Key {
	return []Key{
		{
			Path:  "policies[].name",
			Doc:   "Names the policy in metrics, logs and errors. Each policy needs its own.",
			Shape: "letters, digits, `.`, `_`, `-`; at most 64", Form: checkName,
		},
		{
			Path:  "policies[].match.hosts",
			Doc:   "The request's host is one of these, whatever its case. `*.example.com` stands for every host below example.com. A port is compared only if one is written.",
			Zero:  "any host",
			Shape: "list of hosts", Form: checkHost,
		},
		{
			Path:  "policies[].match.path_prefix",
			Doc:   "The request's path begins with this, letter by letter; the query does not count.",
			Shape: "path", Form: checkPathPrefix,
		},
		{
			Path: "policies[].match.methods", Doc: "The request's method is one of these.",
			Zero:  "any method",
			Shape: "list of methods", Form: checkMethod,
		},
		{
			Path:  "policies[].match.headers",
			Doc:   "Each of these headers is there with exactly this value.",
			Zero:  "any headers",
			Shape: "map of name to value", Form: checkHeaderName,
		},
		{
			Path:   "policies[].mode",
			Doc:    "What is done with event streams. `off`: nothing. `observe`: bytes pass untouched and are only watched. `inline`: whole events pass through, deduplicated and with heartbeats. `auto`: the strongest of these that the setup allows; in this version `inline`.",
			Values: []string{"off", "observe", "inline", "hold", "auto"},
		},
		{
			Path: "policies[].via", Doc: "How hold mode owns the response.",
			Values: []string{"auto", "relay", "immediate"},
		},
		{
			Path:  "policies[].rollout",
			Doc:   "The percentage of sessions the policy's mode is for, chosen by a hash of the session key; the others run as `off`.",
			Zero:  "no session, as if `mode: off`",
			Range: numbers(1, 100),
		},
		{
			Path:  "policies[].session.key",
			Doc:   "Where to look for what tells sessions apart; the first that is there counts.",
			Zero:  "a client's requests are told apart by principal alone",
			Shape: "list of `header:NAME`, `cookie:NAME`, `query:NAME`", Form: checkSource,
		},
		{
			Path:  "policies[].session.principal",
			Doc:   "Where to look for the client's credential; the first that is there counts. Only a hash of it is kept. State is never shared between principals.",
			Zero:  "all clients are one principal",
			Shape: "list of `header:NAME`, `cookie:NAME`, `query:NAME`", Form: checkSource,
		},
		{
			Path: "policies[].resume", Doc: "How a broken upstream response is asked to continue.",
			Values: []string{"auto", "last-event-id", "mcp", "openai-responses", "none"},
		},
		{
			Path:   "policies[].dedup",
			Doc:    "Which repeated events are dropped. `overlap`: only those repeated after a reconnect, by id and content, in order. `always`: every id seen within the window, for upstreams known never to reuse an id. `off`: none.",
			Values: []string{"overlap", "always", "off"},
		},
		{
			Path: "policies[].ids", Doc: "Whose event ids the client sees: the origin's, or sealed ones of our own.",
			Values: []string{"origin", "sealed"},
		},
		{
			Path:  "policies[].replay.events",
			Doc:   "How many events of a session are tracked: the window for `dedup`.",
			Range: numbers(1, maxWindow),
		},
		{
			Path: "policies[].replay.bytes", Doc: "How many bytes of a session's events are stored.",
			Zero: "none are", Range: sizes(KiB, GiB),
		},
		{
			Path: "policies[].replay.ttl", Doc: "How long events are stored.",
			Zero: "they are not", Range: durations(time.Second, 365*day),
		},
		{
			Path:  "policies[].heartbeat",
			Doc:   "After this much silence the client gets a comment line, which it ignores, so that nothing on the way takes the connection for dead. Not in `observe`.",
			Zero:  "no heartbeats",
			Range: durations(10*time.Millisecond, day),
		},
		{
			Path: "policies[].health.idle_timeout", Doc: "Silence after which an upstream is suspected.",
			Zero: "never", Range: durations(time.Millisecond, day),
		},
		{
			Path: "policies[].health.check_interval", Doc: "How often suspicion is looked at.",
			Range: durations(time.Millisecond, day),
		},
		{
			Path: "policies[].health.connect_timeout", Doc: "Longest wait for an upstream's first bytes.",
			Range: durations(time.Millisecond, day),
		},
		{
			Path: "policies[].health.eject_after", Doc: "Failures in a row after which an upstream is left out.",
			Zero: "never", Range: numbers(1, 1_000_000),
		},
		{
			Path: "policies[].health.eject_for", Doc: "How long it is left out.",
			Range: durations(time.Millisecond, day),
		},
		{
			Path: "policies[].backoff.base", Doc: "Wait before the second attempt to resume; the first after progress is immediate.",
			Range: durations(time.Millisecond, day),
		},
		{
			Path: "policies[].backoff.max", Doc: "The longest wait between attempts.",
			Range: durations(time.Millisecond, day),
		},
		{
			Path: "policies[].backoff.retries", Doc: "Attempts without progress before giving up.",
			Zero: "none", Range: numbers(1, 1_000_000),
		},
		{
			Path: "policies[].backoff.jitter", Doc: "Share of each wait that is random.",
			Zero: "none", Range: numbers(0, 1),
		},
		{
			Path: "policies[].hold_for", Doc: "Longest time a client waits for a dead upstream before the cut is admitted.",
			Zero: "not at all", Range: durations(time.Millisecond, day),
		},
		{
			Path: "policies[].detach", Doc: "How long the upstream is read on after the client left, for its return.",
			Zero: "not at all", Range: durations(time.Millisecond, day),
		},
		{
			Path:  "policies[].complete_when",
			Doc:   "The events that an origin sends last. An entry has `data` (the event's data, exactly), `event` (its type, exactly), `json` (dotted paths and the values they must have), or several, which must all match.",
			Zero:  "any clean end is complete",
			Shape: "list of entries",
		},
		{
			Path: "policies[].retry_when", Doc: "First events that mean another host should be tried; entries as in `complete_when`.",
			Zero: "none", Shape: "list of entries",
		},
	}
}
