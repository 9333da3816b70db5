package main

import (
	"time"

	"go.uber.org/zap"

	"holdfast/envoy"
	"holdfast/processor/config"
)

// peekFor decides whether Envoy gets the filter before each host as well. It does
// where another host could do better than the first: where there are several, or a
// name that may stand for several, or a policy that says by retry_when how a bad
// one begins. Elsewhere it could change nothing, and would cost each event stream
// another question to the processor. nil: it does not.
func peekFor(cfg *config.Config, ups []envoy.Upstream) (*envoy.Peek, error) {
	policies, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	several := len(ups) > 1
	for _, u := range ups {
		several = several || u.IsName()
	}
	var longest time.Duration
	for _, p := range policies.All() {
		if p.Mode != config.ModeOff && p.Mode != config.ModeObserve && (several || len(p.RetryWhen) > 0) {
			longest = max(longest, p.Health.Connect())
		}
	}
	if longest == 0 {
		return nil, nil //nolint:nilnil // nil is no peek
	}
	return &envoy.Peek{
		// The processor loses patience first, and says for what reason.
		Patience:     longest + max(longest/4, time.Second),
		RequestBytes: uint64(cfg.Limits.RequestBytes),
	}, nil
}

// peekVersion is the oldest Envoy that may have the filter before each host:
// 1.36.4 and 1.37.0 crash when a response that is held there is given up.
func peekVersion() envoy.Version { return envoy.Version{Major: 1, Minor: 38} }

// peekIfAble is peekFor for an Envoy that is known.
func peekIfAble(cfg *config.Config, ups []envoy.Upstream, v envoy.Version, log *zap.Logger) (*envoy.Peek, error) {
	peek, err := peekFor(cfg, ups)
	if peek != nil && v.Before(peekVersion()) {
		log.Warn("this Envoy is too old to try another host when a response begins badly: retry_when and the ejection of hosts have no effect on new requests",
			zap.Stringer("version", v), zap.Stringer("wanted", peekVersion()))
		peek = nil
	}
	return peek, err
}
