// Package lint reads Envoy configurations that others wrote and says what in
// them cuts, stalls or balloons a long stream, line by line.
//
// It works in three steps. Reading makes a tree of every YAML or JSON document,
// in which each value knows its line; that it is Envoy's is not yet of interest.
// The survey walks the trees and finds what it knows, wherever it stands: in a
// bootstrap, a fragment of one, a config_dump, a discovery response, a
// Kubernetes object. Rules look at what was found. Each rule is one value in a
// table of its topic (rules_*.go), and docs/lint.md is made from them.
//
// Nothing is ever required: fields that are missing, of a wrong type or of an
// extension nobody has heard of are not this package's business, but Envoy's
// own (`envoy --mode validate`). A rule that is not sure says nothing.
package lint
