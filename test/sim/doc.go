// Package sim runs the whole processor in a bubble of virtual time: real
// grpc-go, real net/http, an origin that fails in every way, clients that read
// slowly, leave and come back, a store with faults. What happens in a run is
// drawn before it begins, so that a run is known by one number, its seed, and can
// be made smaller until only what matters is left.
//
//	make sim                  # some thousand runs
//	SIM_RUNS=100000 make sim  # more of them
//	SIM_SEED=4711 make sim    # one of them, with all that happens in it
package sim
