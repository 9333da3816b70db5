package config

import (
	"strings"
	"time"

	"holdfast/processor/splice"
)

// key describes one key of the file. The decoder's hints, the validation and
// docs/configuration.md all read it here.
type key struct {
	path string // the key's place, such as "limits.event_bytes" or "policies[].mode"
	doc  string // a few sentences for the user, in Markdown
	zero string // what 0, "", [] or {} does; "" if it is refused or nothing special

	// At most one of the following says which values are good.

	values []string // the closed set, also of later versions
	bounds *bounds  // of a number, size or duration
	// form checks a text, or each text of a list or each name of a map. Its
	// error says what is wrong and what to write. It is not asked about the
	// empty value of a key whose zero is told.
	form func(string) error

	shape string // the good values in words, if the above do not tell
}

// bounds are the smallest and the greatest value of a number: nanoseconds for a
// Duration, bytes for a Size. Zero is good too if the key says what it does.
type bounds struct{ lo, hi int64 }

func durations(lo, hi time.Duration) *bounds { return &bounds{int64(lo), int64(hi)} }
func sizes(lo, hi Size) *bounds              { return &bounds{int64(lo), int64(hi)} }
func numbers(lo, hi int64) *bounds           { return &bounds{lo, hi} }

const (
	day = 24 * time.Hour

	// maxPolicies keeps the metrics, which carry the policy's name, bounded.
	maxPolicies = 256
	// maxEntries bounds every other list, each of which is searched in order.
	maxEntries = 256
)

// keys returns every key of the file, in the order of the file.
func keys() []key {
	return append(processKeys(), policyKeys()...)
}

func processKeys() []key {
	return []key{
		{
			path:  "listen",
			doc:   "Where the ext_proc gRPC service listens. Envoy's cluster for the processor points here.",
			shape: "`unix:/path` or `host:port`", form: checkAddress,
		},
		{
			path:  "admin",
			doc:   "Where health, metrics, the admin API and the console listen, over plain HTTP and without a login: keep it on loopback or behind something that asks. `/debug/pprof/` is there only on loopback.",
			zero:  "nothing listens",
			shape: "`unix:/path` or `host:port`", form: checkAddress,
		},
		{
			path: "tls.cert", doc: "PEM file with the certificate chain that `listen` presents.",
			zero: "`listen` speaks plain text", shape: "file",
		},
		{
			path: "tls.key", doc: "PEM file with the private key of `tls.cert`.",
			zero: "`listen` speaks plain text", shape: "file",
		},
		{
			path: "tls.client_ca", doc: "PEM file with the authorities whose client certificates are accepted: Envoy must present one (mTLS).",
			zero: "no client certificate is asked for", shape: "file",
		},
		{
			path: "fetch.url", doc: "How hold mode reaches upstreams: back through Envoy, over HTTP/2 without TLS.",
			zero:  "hold mode is off; `holdfast run` has a listener of its own for this",
			shape: "`http://host:port` or `unix:/path`", form: checkFetchURL,
		},
		{
			path: "fetch.pass_key_file", doc: "File with the keys, one on each line, for the pass that a request carries on the way back; needed where that listener also runs this filter.",
			zero: "no pass", shape: "file",
		},
		{
			path: "relay.listen", doc: "Where Envoy fetches the responses that `via: relay` holds, over HTTP/2 without TLS. Only requests with a ticket of ours are served.",
			zero: "no relay; `holdfast run` has a listener of its own for this", shape: "`unix:/path` or `host:port`", form: checkAddress,
		},
		{
			path: "seal.key_file", doc: "File with the keys, one on each line, of the event ids of `ids: sealed`: the first one makes ids, all of them are good for reading them. Give every replica the same; a change of the file is noticed.",
			zero: "a key of the process's own: ids do not outlive it", shape: "file",
		},
		{
			path: "store.kind", doc: "What keeps the state of sessions, and what they were sent. `memory` forgets it when the process ends; `bolt` is a file, for one process; `redis` is a Redis or Valkey that processes share.",
			values: []string{"memory", "bolt", "redis"},
		},
		{path: "store.path", doc: "File of the bolt store. It is made if it is not there, its directory is not.", shape: "file"},
		{path: "store.url", doc: "Address of the redis store. `rediss://` is for TLS, where `?ca=FILE` names other authorities than the system's; `?addr=HOST:PORT` names more nodes of a cluster, and `?master_set=NAME` a master that sentinels know.", shape: "`redis://`, `rediss://` or `unix://` URL", form: checkStoreURL},
		{
			path: "store.flush", doc: "How often changes are written behind.",
			zero: "an event is sent only after it is stored", bounds: durations(time.Millisecond, time.Minute),
		},
		{
			path: "store.ttl", doc: "A session that nobody uses for this long is forgotten.",
			bounds: durations(time.Second, 365*day),
		},
		{
			path:   "limits.event_bytes",
			doc:    "The largest event that is held back until it is whole. A larger one streams through undivided and is not deduplicated. This much memory may be used for each stream.",
			bounds: sizes(KiB, GiB),
		},
		{
			path: "limits.request_bytes", doc: "The largest request body that `via: immediate` collects; a request with a larger one runs inline.",
			zero: "none is collected", bounds: sizes(1, GiB),
		},
		{
			path: "limits.sessions", doc: "The most sessions that are kept; beyond it the one unused for longest is forgotten.",
			bounds: numbers(1, 100_000_000),
		},
		{
			path: "limits.detached", doc: "The most streams that are read on without a client (`detach`); beyond it a stream ends with its client.",
			zero: "none", bounds: numbers(1, 10_000_000),
		},
		{
			path: "limits.memory", doc: "The most memory for stored events.",
			zero: "no limit but those of each session", bounds: sizes(MiB, 1024*GiB),
		},
		{
			path: "limits.stream_bytes_per_second", doc: "Pace of a stream held by `via: immediate`, which has no back pressure.",
			zero: "no pacing", bounds: sizes(KiB, GiB),
		},
		{
			path: "limits.burst_bytes", doc: "How far such a stream may run ahead of its pace.",
			zero: "not at all", bounds: sizes(KiB, GiB),
		},
		{
			path: "drain.deadline", doc: "After being told to stop, the longest time until the last stream is ended.",
			zero: "streams are cut at once", bounds: durations(time.Millisecond, day),
		},
		{
			path: "drain.spread", doc: "The time over which streams are ended one after another, so that clients do not all come back at once. At most `drain.deadline`.",
			zero: "all at once", bounds: durations(time.Millisecond, day),
		},
		{path: "log.level", doc: "The least important log line that is written.", values: []string{"debug", "info", "warn", "error"}},
		{path: "log.format", doc: "`json` for machines, `console` for reading.", values: []string{"json", "console"}},
		{
			path: "tracing.otlp_endpoint", doc: "Where spans are sent, by OTLP over gRPC: a span for each attempt to get a stream, in the trace of its request ([tracing.md](tracing.md)).",
			zero: "no tracing", shape: "`host:port`, `https://host:port` or `unix:/path`", form: checkOTLP,
		},
		{
			path:   "tracing.sample",
			doc:    "Of the requests that come without a trace, the percentage that get one. A request that comes with one is traced if its caller has decided so.",
			bounds: numbers(0, 100),
		},
	}
}

func policyKeys() []key {
	return []key{
		{
			path:  "policies[].name",
			doc:   "Names the policy in metrics, logs and errors. Each policy needs its own.",
			shape: "letters, digits, `.`, `_`, `-`; at most 64", form: checkName,
		},
		{
			path:  "policies[].match.hosts",
			doc:   "The request's host is one of these, whatever its case. `*.example.com` stands for every host below example.com. A port is compared only if one is written.",
			zero:  "any host",
			shape: "list of hosts", form: checkHost,
		},
		{
			path:  "policies[].match.path_prefix",
			doc:   "The request's path begins with this, letter by letter; the query does not count.",
			shape: "path", form: checkPathPrefix,
		},
		{
			path: "policies[].match.methods", doc: "The request's method is one of these.",
			zero:  "any method",
			shape: "list of methods", form: checkMethod,
		},
		{
			path:  "policies[].match.headers",
			doc:   "Each of these headers is there with exactly this value.",
			zero:  "any headers",
			shape: "map of name to value", form: checkHeaderName,
		},
		{
			path:   "policies[].mode",
			doc:    "What is done with event streams. `off`: nothing. `observe`: bytes pass untouched and are only watched. `inline`: whole events pass through, deduplicated and with heartbeats. `hold`: as `inline`, but the response is fetched by Holdfast itself, so that it goes on whatever happens to the upstream; where that is impossible, `inline`. `auto`: `hold` for a GET that asks for an event stream if there is a `fetch.url`, else `inline`.",
			values: []string{"off", "observe", "inline", "hold", "auto"},
		},
		{
			path: "policies[].via", doc: "How hold mode owns the response. `relay`: Envoy gets it from `relay.listen`, with real back pressure. `immediate`: on the ext_proc stream, which needs Envoy 1.37 and is paced by `limits.stream_bytes_per_second`. `auto`: `relay` where there is such a listener, else `immediate`.",
			values: []string{"auto", "relay", "immediate"},
		},
		{
			path:   "policies[].rollout",
			doc:    "The percentage of sessions the policy's mode is for, chosen by a hash of the session key; the others run as `off`.",
			zero:   "no session, as if `mode: off`",
			bounds: numbers(1, 100),
		},
		{
			path:  "policies[].session.key",
			doc:   "Where to look for what tells sessions apart; the first that is there counts.",
			zero:  "a client's requests are told apart by principal alone",
			shape: "list of `header:NAME`, `cookie:NAME`, `query:NAME`", form: checkSource,
		},
		{
			path:  "policies[].session.principal",
			doc:   "Where to look for the client's credential; the first that is there counts. Only a hash of it is kept. State is never shared between principals.",
			zero:  "all clients are one principal",
			shape: "list of `header:NAME`, `cookie:NAME`, `query:NAME`", form: checkSource,
		},
		{
			path: "policies[].resume", doc: "How a broken upstream response is asked to continue. `last-event-id`: a GET with the last event's id. `mcp`: the same by the rules of the Model Context Protocol. `openai-responses`: by the response's id and sequence number. `auto`: whichever of these the request and the stream show to be right. `none`: never.",
			values: []string{"auto", "last-event-id", "mcp", "openai-responses", "none"},
		},
		{
			path:   "policies[].dedup",
			doc:    "Which repeated events are dropped. `overlap`: only those repeated after a reconnect, by id and content, in order. `always`: every id seen within the window, for upstreams known never to reuse an id. `off`: none.",
			values: []string{"overlap", "always", "off"},
		},
		{
			path: "policies[].ids", doc: "Whose event ids the client sees: the origin's, or `sealed` ones of our own, on every event. A sealed id is opaque, good only for the client it was made for, and good for as long as `seal.key_file` has its key. With it a client resumes any stream, also one whose origin gives no ids. Not in `observe`.",
			values: []string{"origin", "sealed"},
		},
		{
			path: "policies[].gap_event", doc: "The type of an event that tells a returning client that events between its last one and the next are gone for good: they fell out of the log, and its origin cannot be asked for them. It has empty data, and comes before what there is. Needs `ids: sealed`.",
			zero:  "the client is not told: the stream's outcome is `gap` all the same, and what is left of a log with a gap is not sent",
			shape: "letters, digits, `.`, `_`, `-`; at most 64", form: checkEventType,
		},
		{
			path:   "policies[].replay.events",
			doc:    "How many events of each stream are remembered for `dedup`, at 8 bytes each; and how many are stored, where they are.",
			bounds: numbers(1, splice.MaxWindow),
		},
		{
			path: "policies[].replay.bytes", doc: "How many bytes of a stream's events are stored, for clients that come back: with `ids: sealed`, or where `detach` applies. Other clients get what they missed from their origin.",
			zero: "none are", bounds: sizes(KiB, GiB),
		},
		{
			path: "policies[].replay.ttl", doc: "How long events are stored.",
			zero: "they are not", bounds: durations(time.Second, 365*day),
		},
		{
			path:   "policies[].heartbeat",
			doc:    "After this much silence the client gets a comment line, which it ignores, so that nothing on the way takes the connection for dead. Not in `observe`.",
			zero:   "no heartbeats",
			bounds: durations(10*time.Millisecond, day),
		},
		{
			path: "policies[].health.idle_timeout", doc: "Silence after which a stream that can be resumed is asked for again. It grows when that shows the upstream to be fine.",
			zero: "never", bounds: durations(time.Millisecond, day),
		},
		{
			path: "policies[].health.check_interval", doc: "Time between two attempts on an upstream that has served its ejection, until one succeeds.",
			bounds: durations(time.Millisecond, day),
		},
		{
			path: "policies[].health.connect_timeout", doc: "Longest wait for the answer to a request that resumes a stream, and for the first event where `retry_when` waits for it. Where an upstream has several hosts, one that has not answered a GET for an event stream a quarter later is given up for the next.",
			bounds: durations(time.Millisecond, day),
		},
		{
			path: "policies[].health.eject_after", doc: "Failures in a row after which an upstream host is ejected.",
			zero: "never", bounds: numbers(1, 1_000_000),
		},
		{
			path: "policies[].health.eject_for", doc: "How long the first ejection lasts; those that follow soon are longer.",
			bounds: durations(time.Millisecond, day),
		},
		{
			path: "policies[].backoff.base", doc: "Wait before the second attempt to resume; the first after progress is immediate.",
			bounds: durations(time.Millisecond, day),
		},
		{
			path: "policies[].backoff.max", doc: "The longest wait between attempts, jitter included. Only an upstream that says `Retry-After` is left alone for longer.",
			bounds: durations(time.Millisecond, day),
		},
		{
			path: "policies[].backoff.retries", doc: "Attempts without progress before giving up.",
			zero: "none", bounds: numbers(1, 1_000_000),
		},
		{
			path: "policies[].backoff.jitter", doc: "Share of each wait that is random.",
			zero: "none", bounds: numbers(0, 1),
		},
		{
			path: "policies[].hold_for", doc: "Longest time a client waits for a dead upstream before the cut is admitted. Shortly before its end there is a last attempt.",
			zero: "not at all", bounds: durations(time.Millisecond, day),
		},
		{
			path: "policies[].detach", doc: "How long the upstream of a held stream is read on after the client left, for its return: with the same request and its `Last-Event-ID`, or, with `ids: sealed`, by a GET of the same path. A client with neither a session key nor a principal is told from others only by `ids: sealed`. From MCP 2026-07-28 on, to leave is to cancel, and this does not apply.",
			zero: "not at all; but the answers to an MCP client's POST of an earlier revision for a minute, as that protocol wants it", bounds: durations(time.Millisecond, day),
		},
		{
			path:  "policies[].complete_when",
			doc:   "The events that an origin sends last. An entry has `data` (the event's data, exactly), `event` (its type, exactly), `json` (dotted paths and the values they must have), or several, which must all match; or it is the name of a protocol: `" + strings.Join(splice.Detectors(), "`, `") + "`. An end without one of them is a resume or a cut, never a success.",
			zero:  "any clean end is complete",
			shape: "list of entries and names",
		},
		{
			path: "policies[].retry_when", doc: "First events that mean another host should be tried; entries as in `complete_when`. A response then waits for its first event, at most `health.connect_timeout`, and its events pass through Holdfast once more. A POST may be made again, if its body is not above `limits.request_bytes`: set this only where that does no harm, with `match.methods`. Needs the filter in the cluster too, as `run` and `bootstrap` then have it.",
			zero: "none", shape: "list of entries",
		},
	}
}
