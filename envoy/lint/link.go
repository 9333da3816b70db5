package lint

import (
	"slices"
	"strings"
)

// link finds out what is Holdfast's, and what belongs together. Names are looked
// up in the file itself first.
func (s *survey) link() {
	for _, r := range s.routes {
		if r.manager == nil && r.config != "" {
			r.manager = s.managerOf(r.config)
		}
	}
	s.judgeProcessors()
	for _, m := range s.managers {
		m.loopback = s.isLoopback(m)
	}
	s.peekers = map[string][]*processor{}
	for _, p := range s.processors {
		if p.sure == ours && p.in != nil && p.in.name != "" {
			s.addPeeker(p)
		}
		if c := s.cluster(p.cluster); c != nil && p.sure > foreign {
			c.role |= isProcessor
			c.sure = max(c.sure, p.sure)
		}
	}
	for _, r := range s.routes {
		for _, name := range r.clusters {
			c := s.cluster(name)
			switch {
			case c == nil:
			case r.ticketed():
				c.role |= isRelay
			case r.streams() || r.manager.holdfast(s, ours) != nil:
				c.role |= isUpstream
			}
		}
	}
}

// addPeeker takes note of a filter of Holdfast's in a cluster. One of those that a route
// could turn off by the same name is enough.
func (s *survey) addPeeker(p *processor) {
	same := func(q *processor) bool { return q.place.get("name").string() == p.place.get("name").string() }
	if !slices.ContainsFunc(s.peekers[p.in.name], same) {
		s.peekers[p.in.name] = append(s.peekers[p.in.name], p)
	}
}

// managerOf is who gets routes of that name from elsewhere.
func (s *survey) managerOf(routes string) *manager {
	for _, t := range s.all() {
		for _, m := range t.managers {
			if m.rds == routes {
				return m
			}
		}
	}
	return nil
}

// all are the surveys to look into, this one first.
func (s *survey) all() []*survey {
	return append([]*survey{s}, s.others...)
}

// cluster finds a cluster by its name; nil: it comes from elsewhere.
func (s *survey) cluster(name string) *cluster {
	if name == "" {
		return nil
	}
	for _, t := range s.all() {
		for _, c := range t.clusters {
			if c.name == name {
				return c
			}
		}
	}
	return nil
}

// judgeProcessors decides whose the ext_proc filters are. Where one is known to be
// Holdfast's, the others are not.
func (s *survey) judgeProcessors() {
	known := false
	for _, p := range s.processors {
		if s.isOurs(p) {
			p.sure, known = ours, true
		}
	}
	for _, p := range s.processors {
		switch {
		case p.sure == ours || known || s.options.Processor != "":
		case p.get("allow_mode_override").isTrue() && p.isDuplex() == nil:
			p.sure = likely
		default:
			p.sure = maybe
		}
	}
}

// isOurs looks for our name, where people would put it.
func (s *survey) isOurs(p *processor) bool {
	if name := s.options.Processor; name != "" {
		return p.cluster == name
	}
	names := []string{p.cluster, p.place.get("name").string(), p.at("grpc_service", "google_grpc", "target_uri").string()}
	for _, m := range p.at("grpc_service", "initial_metadata").list() {
		names = append(names, m.get("key").string())
	}
	for _, n := range p.at("metadata_options", "receiving_namespaces", "untyped").list() {
		names = append(names, n.string())
	}
	addresses := s.cluster(p.cluster).addressesOrNone()
	names = append(names, addresses...)
	return slices.ContainsFunc(names, isOurName) ||
		s.options.ProcessorAddress != "" && slices.Contains(addresses, s.options.ProcessorAddress)
}

func isOurName(s string) bool { return strings.Contains(strings.ToLower(s), "holdfast") }

// upstreamHeader is how a loopback route tells Holdfast which host answered.
const upstreamHeader = "x-holdfast-upstream"

// isLoopback says that a listener is Holdfast's way back through Envoy.
func (s *survey) isLoopback(m *manager) bool {
	if m.holdfast(s, maybe) != nil {
		// It may serve as one too, but then it is first of all the way in.
		return false
	}
	if a := s.options.LoopbackAddress; a != "" && addressOf(m.listener.address()) == a {
		return true
	}
	for _, r := range s.routes {
		if r.manager != m {
			continue
		}
		for _, h := range r.get("response_headers_to_add").list() {
			if strings.EqualFold(h.at("header", "key").string(), upstreamHeader) {
				return true
			}
		}
	}
	// A listener of that name is ours only beside a filter of ours.
	name := strings.ToLower(m.listener.name())
	return strings.Contains(name, "loopback") && slices.ContainsFunc(s.processors, func(p *processor) bool { return p.sure == ours })
}

func (l *listener) name() string {
	if l == nil {
		return ""
	}
	return l.get("name").string()
}

func (l *listener) address() *node {
	if l == nil {
		return nil
	}
	return l.get("address")
}

func (c *cluster) addressesOrNone() []string {
	if c == nil {
		return nil
	}
	return c.addresses()
}
