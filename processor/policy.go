package processor

import (
	"fmt"
	"sync"

	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/health"
	"holdfast/processor/upstream"
	"holdfast/processor/wire"
)

// snapshot is the policies of one moment, with what requests need of each.
type snapshot struct {
	policies *config.Policies
	bound    map[*config.Policy]*boundPolicy
}

// boundPolicy is a policy with everything that is the same for all its streams.
type boundPolicy struct {
	*config.Policy
	metrics *policyMetrics
	monitor *health.Monitor
	watch   watchAnswer
	// To send a request where its tries are seen, without and with a wish for an
	// answer that is not compressed.
	mark, markIdentity wire.Encoded
}

// resumes says whether a stream that breaks off may be asked to continue.
func (p *boundPolicy) resumes() bool {
	return p.Resume != upstream.None && !p.Splice.Observe
}

// SetPolicies makes p the policies of requests from now on. Streams that are
// running keep the policy they began with. If one of them is not valid, it says
// which, and nothing changes.
func (s *Server) SetPolicies(p *config.Policies) error {
	snap := &snapshot{policies: p, bound: make(map[*config.Policy]*boundPolicy)}
	for _, policy := range p.All() {
		if err := policy.Splice.Validate(); err != nil {
			return fmt.Errorf("processor: policy %q: %w", policy.Name, err)
		}
	}
	for _, policy := range p.All() {
		watch, err := newWatchAnswer(policy)
		if err != nil {
			return fmt.Errorf("processor: policy %q: %w", policy.Name, err)
		}
		bound := &boundPolicy{
			Policy:  policy,
			metrics: s.metrics.policy(policy),
			monitor: s.monitors.of(policy),
			watch:   watch,
		}
		if err := bound.encodeMarks(); err != nil {
			return fmt.Errorf("processor: policy %q: %w", policy.Name, err)
		}
		s.warnOf(policy)
		snap.bound[policy] = bound
	}
	s.policies.Store(snap)
	return nil
}

// warnOf says what a policy asks for that this process cannot do.
func (s *Server) warnOf(p *config.Policy) {
	switch {
	case p.Mode != config.ModeHold:
	case s.fetch == nil:
		s.log.Warn("the policy's mode is hold, but there is no way to fetch: its streams run inline; set fetch.url",
			zap.String("policy", p.Name))
	case p.Via == config.ViaRelay && !s.relaying:
		s.log.Warn("the policy holds via relay, but there is no relay listener: its streams are held via immediate; set relay.listen",
			zap.String("policy", p.Name))
	}
}

// monitors keeps one for each policy's name, so that a reload forgets no target.
type monitors struct {
	mu     sync.Mutex
	byName map[string]*health.Monitor
}

func (m *monitors) of(p *config.Policy) *health.Monitor {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.byName[p.Name]; known != nil {
		known.Configure(p.Health)
		return known
	}
	if m.byName == nil {
		m.byName = make(map[string]*health.Monitor)
	}
	made := health.NewMonitor(p.Health)
	m.byName[p.Name] = made
	return made
}

// named returns the policy of a name, or nil.
func (s *snapshot) named(name string) *boundPolicy {
	for _, p := range s.bound {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// match returns the policy for a request, or nil.
func (s *snapshot) match(r *request) *boundPolicy {
	p := s.policies.Match(r)
	if p == nil {
		return nil
	}
	return s.bound[p]
}
