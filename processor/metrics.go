package processor

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/processor/config"
	"holdfast/processor/splice"
	"holdfast/sessionstore"
)

// metrics are those of contract and docs/metrics.md that this version feeds.
// Every label's values are a closed set, and every counter that a running stream
// touches is looked up before it begins.
type metrics struct {
	active     [modes]prometheus.Gauge
	streams    *prometheus.CounterVec
	events     *prometheus.CounterVec
	duplicates *prometheus.CounterVec
	replayed   *prometheus.CounterVec
	heartbeats prometheus.Counter
	bypassed   [bypassReasons]prometheus.Counter
	eventTime  *histogram
	resumes    *prometheus.CounterVec
	retries    *prometheus.CounterVec
	resumeTime prometheus.Histogram
	flushTime  prometheus.Histogram
	storeOps   [storeOpCount][storeResults]prometheus.Counter

	mu       sync.Mutex
	policies map[string]*policyMetrics // by name: a reload that keeps it keeps its counters
}

// policyMetrics are one policy's.
type policyMetrics struct {
	events, duplicates prometheus.Counter
	replayed           prometheus.Counter
	outcomes           [modes][outcomes]prometheus.Counter
	resumes            []prometheus.Counter // by splice.Result
	retries            [retryReasons]prometheus.Counter
}

const (
	modes    = config.ModeHold + 1
	outcomes = splice.Passed + 1
)

// storeOp and storeResult are labels of store_operations_total.
type (
	storeOp     uint8
	storeResult uint8
)

const (
	opClaim storeOp = iota
	opSave
	opRelease
	opDrop
	opAppend
	opFlush
	opRead
	opSeek
	opFinish
	opTakeover
	opAttend
	storeOpCount
)

const (
	storeOK storeResult = iota
	storeFenced
	storeNotFound
	storeError
	storeResults
)

func (o storeOp) String() string {
	return [...]string{"claim", "save", "release", "drop", "append", "flush", "read", "seek", "finish", "takeover", "attend"}[o]
}

func (r storeResult) String() string { return [...]string{"ok", "fenced", "not_found", "error"}[r] }

// newMetrics registers what a Server counts; with a nil registerer it counts for
// nobody.
func newMetrics(reg prometheus.Registerer, store sessionstore.Store) (*metrics, error) {
	r := &registration{to: reg}
	active := r.gauges("streams_active", "Event streams that are running.", "mode")
	bypassed := r.counters("bypassed_total", "Exchanges that were left alone, by why: "+
		"no_policy (none matches), off (the policy's mode), rollout (session outside its percentage), draining, "+
		"no_request_headers (Envoy did not show them), not_event_stream, status (not 200), encoded (compressed), "+
		"no_body, static_mode (the filter's processing_mode is not NONE), fault (an internal failure; the rest was copied), "+
		"own_fetch (our own request on its way through a listener with the filter), loop (the same without a pass), "+
		"no_ticket (came to the relay listener on a way of its own; refused).", "reason")
	ops := r.counters("store_operations_total", "Calls of the session store.", "op", "result")
	m := &metrics{
		streams:    r.counters("streams_total", "Event streams that ended.", "policy", "mode", "outcome"),
		events:     r.counters("events_total", "Events received from origins, repeats included, but not those in the answer to whether an end was the end.", "policy"),
		duplicates: r.counters("duplicates_dropped_total", "Events dropped as repeats.", "policy"),
		replayed:   r.counters("events_replayed_total", "Events sent to returning clients from the log.", "policy"),
		heartbeats: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_heartbeats_total", Help: "Comments sent to clients in a silence of the origin.",
		}),
		eventTime: newHistogram("holdfast_event_seconds",
			"Time from the arrival of the chunk that completes an event until its bytes were handed on.",
			5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 1e-1, 1),
		resumes: r.counters("resumes_total", "Attempts to continue a stream, by what came of them: "+
			"resumed (it brought what had been missing), confirmed (the stream was complete), needless (nothing had been missed), "+
			"refused (no answer), unavailable (the server cannot now), denied (it will not), unresumable (there is no request to make), "+
			"broken (it ended before anything new came), unproven (it does not continue what was sent), abandoned (the stream ended first).", "policy", "result"),
		retries: r.counters("envoy_retries_total", "Times Envoy was asked for a response again, by why: "+
			"stall (silence), reset, early_end (a clean end that may not be the end), no_answer, status; "+
			"and in upstream position, where another host is tried: first_event (retry_when), bad_status, not_event_stream, "+
			"silence (before the first event), ejected (by the health monitor).", "policy", "reason"),
		resumeTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_resume_seconds",
			Help:    "Time from seeing a failure of the upstream until the first new event after it was handed on.",
			Buckets: []float64{5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120},
		}),
		policies: make(map[string]*policyMetrics),
	}
	m.flushTime = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "holdfast_store_flush_seconds",
		Help:    "Time of an attempt to write to the bolt or redis store behind the streams.",
		Buckets: []float64{1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
	})
	r.add(m.resumeTime)
	r.add(m.flushTime)
	r.add(m.heartbeats)
	r.add(m.eventTime)
	if d, ok := store.(sessionstore.Directory); ok {
		r.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "holdfast_sessions", Help: "Sessions in the store.",
		}, func() float64 { return float64(d.Len()) }))
		r.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "holdfast_replay_bytes", Help: "Memory of the logs that this process keeps for clients that come back.",
		}, func() float64 { return float64(d.LogBytes()) }))
	}
	for i := range m.active {
		m.active[i] = active.WithLabelValues(config.Mode(i).String())
	}
	for i := range m.bypassed {
		m.bypassed[i] = bypassed.WithLabelValues(bypass(i).String())
	}
	bypassed.DeleteLabelValues(bypassNone.String())
	for op := range m.storeOps {
		for res := range m.storeOps[op] {
			m.storeOps[op][res] = ops.WithLabelValues(storeOp(op).String(), storeResult(res).String())
		}
	}
	return m, r.err
}

// policy returns the counters of a policy, creating them with zeros, so that a
// rate over them begins at the first event and not at the second.
func (m *metrics) policy(p *config.Policy) *policyMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pm := m.policies[p.Name]; pm != nil {
		pm.bindOutcomes(m, p)
		return pm
	}
	pm := &policyMetrics{
		events:     m.events.WithLabelValues(p.Name),
		duplicates: m.duplicates.WithLabelValues(p.Name),
		replayed:   m.replayed.WithLabelValues(p.Name),
	}
	for _, r := range splice.Results() {
		pm.resumes = append(pm.resumes, m.resumes.WithLabelValues(p.Name, r.String()))
	}
	for i := range pm.retries {
		pm.retries[i] = m.retries.WithLabelValues(p.Name, retry(i).String())
	}
	pm.bindOutcomes(m, p)
	m.policies[p.Name] = pm
	return pm
}

// bindOutcomes is for the policy's mode only, for the one that a request runs in that
// could not be held, and for that of a client who comes back to an inline stream and
// whose log is gone by the time that it is to be read: the others never happen.
func (pm *policyMetrics) bindOutcomes(m *metrics, p *config.Policy) {
	bind := func(mode config.Mode) {
		if pm.outcomes[mode][0] != nil {
			return
		}
		for o := range pm.outcomes[mode] {
			pm.outcomes[mode][o] = m.streams.WithLabelValues(p.Name, mode.String(), splice.Outcome(o).String())
		}
	}
	switch p.Mode {
	case config.ModeOff:
	case config.ModeHold:
		bind(config.ModeHold)
		bind(config.ModeInline)
	default:
		bind(p.Mode)
		if p.Sealed {
			bind(config.ModeHold)
		}
	}
}

// registration registers until something goes wrong, and remembers what did.
type registration struct {
	to  prometheus.Registerer
	err error
}

func (r *registration) add(c prometheus.Collector) {
	if r.to == nil || r.err != nil {
		return
	}
	if err := r.to.Register(c); err != nil {
		r.err = fmt.Errorf("processor: metrics: %w", err)
	}
}

func (r *registration) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_" + name, Help: help}, labels)
	r.add(c)
	return c
}

func (r *registration) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	c := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdfast_" + name, Help: help}, labels)
	r.add(c)
	return c
}
