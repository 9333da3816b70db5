// Package compose is the example of compose.yaml; there is no Go in it but for
// the line below, which writes its Envoy configuration.
package compose

//go:generate bash generate
