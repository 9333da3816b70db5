// Package health judges upstreams by what passes through us, without sending
// them anything of its own.
//
// There are two judges, and they answer different questions:
//
//   - [Monitor] remembers for each target (an address behind Envoy) how the
//     attempts on it went, and ejects one that fails again and again, as Envoy's
//     outlier detection does
//     (https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/outlier).
//     Envoy counts status codes and connection errors; here also count the
//     failures that only somebody who reads the event stream can see: a stall, a
//     first event that is an error.
//   - [Clocks] watch one stream and say since when it is silent, in which sense,
//     and when that is too long.
//
// Nothing here reads a clock or starts a goroutine: callers pass the time, and
// ask when to come again.
package health

import "time"

// Options are the policy's `health` keys, plus bounds that have no key. The zero
// value is the documented default.
type Options struct {
	// IdleTimeout is the silence after which a stream counts as stalled.
	// Zero: 30 s. Negative: never.
	IdleTimeout time.Duration
	// CheckInterval is the time between two probes of a target that has served
	// its ejection. Zero or less: 10 s.
	CheckInterval time.Duration
	// ConnectTimeout is how long a fetch may wait for its response's header.
	// Zero: 60 s. Negative: for ever. It is kept here for the dialer's use; the
	// judges have none for it.
	ConnectTimeout time.Duration
	// EjectAfter is the number of failures in a row that ejects a target.
	// Zero: 3. Negative: never.
	EjectAfter int
	// EjectFor is how long the first ejection lasts; the n-th in close
	// succession lasts n times as long, at most MaxEjections times.
	// Zero or less: 30 s.
	EjectFor time.Duration
	// Targets bounds the targets that a Monitor remembers; the one not heard of
	// for longest is forgotten. Zero or less: 4096, some 1 MiB.
	Targets int
}

const (
	defaultIdleTimeout    = 30 * time.Second
	defaultCheckInterval  = 10 * time.Second
	defaultConnectTimeout = 60 * time.Second
	defaultEjectAfter     = 3
	defaultEjectFor       = 30 * time.Second
	defaultTargets        = 4096

	// MaxEjections bounds the factor by which ejections grow.
	MaxEjections = 10
)

// Idle returns IdleTimeout with its default; 0 means never.
func (o Options) Idle() time.Duration { return orNever(o.IdleTimeout, defaultIdleTimeout) }

// Connect returns ConnectTimeout with its default; 0 means for ever.
func (o Options) Connect() time.Duration { return orNever(o.ConnectTimeout, defaultConnectTimeout) }

func orNever(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return max(d, 0)
}

// Interval returns CheckInterval with its default.
func (o Options) Interval() time.Duration {
	if o.CheckInterval <= 0 {
		return defaultCheckInterval
	}
	return o.CheckInterval
}

func (o Options) ejectAfter() int {
	if o.EjectAfter == 0 {
		return defaultEjectAfter
	}
	return max(o.EjectAfter, 0)
}

func (o Options) ejectFor() time.Duration {
	if o.EjectFor <= 0 {
		return defaultEjectFor
	}
	return o.EjectFor
}

func (o Options) targets() int {
	if o.Targets <= 0 {
		return defaultTargets
	}
	return o.Targets
}
