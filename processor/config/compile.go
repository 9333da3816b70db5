package config

import (
	"fmt"
	"maps"
	"time"

	"holdfast/processor/health"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
)

// Mode is what a policy does with event streams, with auto already decided.
type Mode uint8

// The modes.
const (
	ModeOff     Mode = iota // leave the exchange alone
	ModeObserve             // pass every byte as it came, and watch
	ModeInline              // pass whole events through the core
	ModeHold                // own the client's response and fetch the upstream's
)

// String is the mode's name in the file and in metrics.
func (m Mode) String() string {
	switch m {
	case ModeOff:
		return "off"
	case ModeObserve:
		return "observe"
	case ModeInline:
		return "inline"
	case ModeHold:
		return "hold"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Via is how hold mode owns the client's response.
type Via uint8

// The ways.
const (
	ViaImmediate Via = iota // on the ext_proc stream
	ViaRelay                // through the relay listener
)

// String is the way's name in the file.
func (v Via) String() string {
	if v == ViaRelay {
		return "relay"
	}
	return "immediate"
}

// Source is the part of a request that a KeySource looks at.
type Source uint8

// Where a session key or a principal may be.
const (
	InHeader Source = iota
	InCookie
	InQuery
)

// String is the source's name in the file.
func (s Source) String() string {
	switch s {
	case InHeader:
		return "header"
	case InCookie:
		return "cookie"
	case InQuery:
		return "query"
	}
	return fmt.Sprintf("Source(%d)", uint8(s))
}

// KeySource is one place to look for a value that tells clients apart.
type KeySource struct {
	In   Source
	Name string // a header's is in lower case
}

// SessionKeys are the places to look, the first that is there counts.
type SessionKeys struct {
	Key       []KeySource // what tells sessions of one client apart; empty: nothing does
	Principal []KeySource // the client's credential; empty: all clients are one
}

// Policy is a compiled policy. It is immutable and shared by every request that
// it matches; its address identifies it within one Policies.
type Policy struct {
	Name  string
	Index int // its position in the list, from 0
	Mode  Mode
	// Chosen says that ModeHold is what auto was decided to be: then it is only
	// for a GET that asks for an event stream, and all else runs inline.
	Chosen bool
	Via    Via
	Splice splice.Policy
	Resume upstream.Resume
	Health health.Options
	// Sealed says that the client sees event ids of ours.
	Sealed bool
	// Replay bounds what is kept for clients that come back; its zero value: nothing.
	Replay ReplayLimits
	// Detach is how long the upstream is read on without a client; zero: not at all.
	Detach time.Duration
	// GapEvent is the type of the event that tells a client of a gap; "": none does.
	GapEvent string
	// RetryWhen are first events that mean another host should be tried.
	RetryWhen []splice.Completion
	Limits    StreamLimits
	Rollout   int // percent of sessions, 0 to 100, that Mode is for
	Session   SessionKeys

	match matcher
}

// ReplayLimits bound what is kept of one stream.
type ReplayLimits struct {
	Events int
	Bytes  int
	TTL    time.Duration
}

// StreamLimits are those of the file's limits that streams look at.
type StreamLimits struct {
	RequestBytes   int // the largest request body that is collected; 0: none is
	BytesPerSecond int // pace of what is injected without back pressure; 0: none
	BurstBytes     int // how far that may run ahead of its pace
}

// Policies is an immutable snapshot of the policies list. The zero value and nil
// match nothing.
type Policies struct {
	list []*Policy
}

// All returns the policies in the order they are tried.
func (p *Policies) All() []*Policy {
	if p == nil {
		return nil
	}
	return append([]*Policy(nil), p.list...)
}

// Match returns the first policy that is for the request, or nil: then the
// request is to be left alone. It does not allocate.
func (p *Policies) Match(r Request) *Policy {
	if p == nil {
		return nil
	}
	for _, policy := range p.list {
		if policy.match.matches(r) {
			return policy
		}
	}
	return nil
}

// Compile makes the snapshot that requests are matched against. It shares
// nothing with c. The error is Validate's.
func (c *Config) Compile() (*Policies, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	out := &Policies{list: make([]*Policy, len(c.Policies))}
	for i := range c.Policies {
		out.list[i] = c.compilePolicy(i)
	}
	return out, nil
}

// compilePolicy cannot fail: Validate has seen everything. What it leaves to the
// core (0 for none) the core documents in splice.Policy.
func (c *Config) compilePolicy(i int) *Policy {
	src := &c.Policies[i]
	p := &Policy{
		Name:    src.Name,
		Index:   i,
		Mode:    c.compileMode(src.Mode),
		Chosen:  src.Mode == "auto",
		Via:     c.compileVia(src.Via),
		Rollout: src.Rollout,
		Session: SessionKeys{
			Key:       compileSources(src.Session.Key),
			Principal: compileSources(src.Session.Principal),
		},
		match: compileMatch(&src.Match),
	}
	p.Splice = splice.Policy{
		Observe:    p.Mode == ModeObserve,
		Dedup:      compileDedup(src.Dedup),
		Window:     src.Replay.Events,
		EventBytes: int(c.Limits.EventBytes),
		Heartbeat:  src.Heartbeat.Std(),
		Complete:   compileCompletions(src.CompleteWhen),
		Backoff: splice.Backoff{
			Base:    src.Backoff.Base.Std(),
			Max:     src.Backoff.Max.Std(),
			Retries: src.Backoff.Retries,
			Jitter:  src.Backoff.Jitter,
		},
		HoldFor:     src.HoldFor.Std(),
		IdleTimeout: zeroIsNone(src.Health.IdleTimeout.Std()),
	}
	p.Resume, _ = upstream.ParseResume(src.Resume) // Validate has seen it
	if src.Backoff.Retries == 0 || src.HoldFor == 0 {
		p.Resume = upstream.None // for that is what it comes to
	}
	p.Health = health.Options{
		IdleTimeout:    p.Splice.IdleTimeout,
		CheckInterval:  src.Health.CheckInterval.Std(),
		ConnectTimeout: src.Health.ConnectTimeout.Std(),
		EjectAfter:     zeroIsNone(src.Health.EjectAfter),
		EjectFor:       src.Health.EjectFor.Std(),
	}
	p.Sealed = src.IDs == "sealed" && p.Mode != ModeObserve // which changes nothing
	if src.Replay.Bytes > 0 && src.Replay.TTL > 0 {
		p.Replay = ReplayLimits{Events: src.Replay.Events, Bytes: int(src.Replay.Bytes), TTL: src.Replay.TTL.Std()}
	}
	p.Detach, p.GapEvent = src.Detach.Std(), src.GapEvent
	p.RetryWhen = compileCompletions(src.RetryWhen)
	p.Limits = StreamLimits{
		RequestBytes:   int(c.Limits.RequestBytes),
		BytesPerSecond: int(c.Limits.StreamBytesPerSecond),
		BurstBytes:     int(c.Limits.BurstBytes),
	}
	return p
}

// compileMode resolves auto by whether there is a way back through Envoy to hold
// with.
func (c *Config) compileMode(s string) Mode {
	switch {
	case s == "off":
		return ModeOff
	case s == "observe":
		return ModeObserve
	case s == "hold", s == "auto" && c.Fetch.URL != "":
		return ModeHold
	default:
		return ModeInline
	}
}

// compileVia resolves auto by whether there is a listener to relay from.
func (c *Config) compileVia(s string) Via {
	if s == "relay" || s == "auto" && c.Relay.Listen != "" {
		return ViaRelay
	}
	return ViaImmediate
}

// zeroIsNone turns a file's 0 for none into what the core's options mean by a
// negative number; their zero is the default.
func zeroIsNone[T int | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

func compileDedup(s string) splice.Dedup {
	switch s {
	case "always":
		return splice.DedupAlways
	case "off":
		return splice.DedupOff
	default:
		return splice.DedupOverlap
	}
}

func compileSources(entries []string) []KeySource {
	out := make([]KeySource, 0, len(entries))
	for _, s := range entries { // in order: the first that a request has counts
		if src, err := parseSource(s); err == nil { // Validate has seen it
			out = append(out, src)
		}
	}
	return out
}

// compileCompletions copies everything, for a Config may be changed after it was
// compiled, by a flag or by the next reload.
func compileCompletions(cs []CompletionConfig) []splice.Completion {
	if len(cs) == 0 {
		return nil
	}
	var out []splice.Completion
	for _, c := range cs {
		if ends, ok := splice.Detector(c.Detector); ok {
			out = append(out, ends...)
			continue
		}
		e := splice.Completion{Data: clone(c.Data), Event: clone(c.Event)}
		if len(c.JSON) > 0 {
			e.JSON = maps.Clone(c.JSON)
		}
		out = append(out, e)
	}
	return out
}

func clone(s *string) *string {
	if s == nil {
		return nil
	}
	c := *s
	return &c
}
