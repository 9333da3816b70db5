package config

import (
	"fmt"
	"maps"

	"holdfast/processor/splice"
)

// Mode is what a policy does with event streams, with auto already decided.
type Mode uint8

// The modes of this version.
const (
	ModeOff     Mode = iota // leave the exchange alone
	ModeObserve             // pass every byte as it came, and watch
	ModeInline              // pass whole events through the core
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
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
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
	Name    string
	Index   int // its position in the list, from 0
	Mode    Mode
	Splice  splice.Policy
	Rollout int // percent of sessions, 0 to 100, that Mode is for
	Session SessionKeys

	match matcher
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
		Mode:    compileMode(src.Mode),
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
	}
	return p
}

// compileMode resolves auto: inline, because there is no way back through Envoy
// to hold with.
func compileMode(s string) Mode {
	switch s {
	case "off":
		return ModeOff
	case "observe":
		return ModeObserve
	default:
		return ModeInline
	}
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
	out := make([]splice.Completion, len(cs))
	for i, c := range cs {
		out[i] = splice.Completion{Data: clone(c.Data), Event: clone(c.Event)}
		if len(c.JSON) > 0 {
			out[i].JSON = maps.Clone(c.JSON)
		}
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
