package processor

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/processor/health"
	"holdfast/processor/live"
)

// UpstreamHeader is the header of a fetched response in which Envoy's loopback
// listener says who answered: the host's address, or cluster and address with a
// blank between. It goes no further than here. Without it there is no health of
// single hosts, and nobody is told where a held stream comes from.
const UpstreamHeader = "x-holdfast-upstream"

var upstreamHeader = textproto.CanonicalMIMEHeaderKey(UpstreamHeader) //nolint:gochecknoglobals // a constant

var retryHeader = textproto.CanonicalMIMEHeaderKey(RetryHeader) //nolint:gochecknoglobals // a constant

// takeTarget reads who answered, and removes the headers that are for us.
func takeTarget(h http.Header) health.Target {
	delete(h, retryHeader)
	values := h[upstreamHeader]
	if len(values) == 0 {
		return health.Target{}
	}
	delete(h, upstreamHeader)
	v := values[len(values)-1]
	// Envoy writes a dash for what it does not know.
	if i := strings.LastIndexByte(v, ' '); i >= 0 {
		return health.Target{Cluster: undash(v[:i]), Address: undash(v[i+1:])}
	}
	return health.Target{Address: undash(v)}
}

func undash(s string) string {
	if s == "-" {
		return ""
	}
	return strings.Clone(s)
}

// Targets returns the health of every upstream host that streams were fetched
// from lately, by policy and name.
func (s *Server) Targets() []live.Target {
	var all []live.Target
	snap := s.policies.Load()
	for _, p := range snap.policies.All() {
		for _, st := range snap.bound[p].monitor.Snapshot(s.now()) {
			t := live.Target{
				Policy:    p.Name,
				Cluster:   st.Target.Cluster,
				Address:   st.Target.Address,
				State:     st.State.String(),
				InARow:    st.InARow,
				Successes: st.Successes,
				Failures:  st.Failures,
				Ejections: st.Ejections,
				Until:     st.Until,
				Seen:      st.Seen,
			}
			if st.LastFailure != health.Success {
				t.LastFailure = st.LastFailure.String()
			}
			all = append(all, t)
		}
	}
	return all
}

// ejected is the gauge of ejected hosts. It is read from the monitors when it is
// asked for, so that it cannot differ from what they say, and forgets with them.
type ejected struct {
	srv  *Server
	desc *prometheus.Desc
}

var _ prometheus.Collector = (*ejected)(nil)

func newEjected(s *Server) *ejected {
	return &ejected{srv: s, desc: prometheus.NewDesc("holdfast_upstream_ejected",
		"1 for an upstream host that is ejected or being probed, 0 for one that is in use.", []string{"target"}, nil)}
}

// Describe implements prometheus.Collector.
func (e *ejected) Describe(ch chan<- *prometheus.Desc) { ch <- e.desc }

// Collect implements prometheus.Collector.
func (e *ejected) Collect(ch chan<- prometheus.Metric) {
	value := map[string]float64{}
	for _, t := range e.srv.Targets() {
		v := 0.0
		if t.State != health.Closed.String() {
			v = 1
		}
		// A host may be known to several policies.
		value[shorten(t.Address)] = max(value[shorten(t.Address)], v)
	}
	for target, v := range value {
		ch <- prometheus.MustNewConstMetric(e.desc, prometheus.GaugeValue, v, target)
	}
}
