// Package sim runs the whole processor in a bubble of virtual time: real
// grpc-go, real net/http, an origin that fails in every way, clients that read
// slowly, leave and come back, a store with faults, a drain, a processor that is
// killed and replaced by another one with the same store, a configuration that is
// changed while streams run. What happens in a run is drawn before it begins, so that
// a run is known by one number, its seed, and can be made smaller until only what
// matters is left.
//
// An origin speaks by the HTML Standard's rules, or by those of MCP (a POST whose rest
// is a GET, priming events, all revisions) or of the Responses API (protocol_test.go).
// Some feeds are kept: their clients come back to the processor's own log, with sealed
// ids or to a stream that was read on without them (kept_test.go).
//
//	make sim                                 # some thousand runs
//	SIM_RUNS=100000 make sim                 # more of them
//	SIM_FROM=20001 SIM_RUNS=20000 make sim   # a part of those
//	SIM_SEED=4711 make sim                   # one of them, with all that happens in it
//
// One seed is one schedule, and on one processor (as with SIM_SEED) one transcript, but
// for about one seed in two hundred: what can go on in the same instant goes on in the
// order that Go's scheduler likes, and it interrupts what takes long by the clock on the
// wall. TestSameSeedSameRun measures it. Side by side, as the runs of make sim are
// played, one in twenty takes another course.
package sim
