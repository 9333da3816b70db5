// Package envoy makes, finds and runs the Envoy that holdfast puts in front of
// its users' upstreams.
//
// It has three parts that do not know each other:
//
//   - Bootstrap builds a complete static configuration from typed protobufs and
//     checks it with the protobufs' own rules; YAML and JSON print it.
//   - Find locates a binary and Probe asks it for its version.
//   - Start runs a binary and guarantees that it does not outlive this process;
//     Admin talks to it over its admin socket.
//
// The configuration exists to keep event streams alive for hours. Most of
// Envoy's defaults are meant for requests that last seconds, and each one that
// would cut, stall or balloon a long stream is set here on purpose; the reasons
// are in notes.go, from where they are also printed into the YAML.
package envoy
