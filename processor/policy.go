package processor

import (
	"fmt"

	"holdfast/processor/config"
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
	watch   watchAnswer
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
		watch, err := newWatchAnswer(policy)
		if err != nil {
			return fmt.Errorf("processor: policy %q: %w", policy.Name, err)
		}
		snap.bound[policy] = &boundPolicy{
			Policy:  policy,
			metrics: s.metrics.policy(policy),
			watch:   watch,
		}
	}
	s.policies.Store(snap)
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
