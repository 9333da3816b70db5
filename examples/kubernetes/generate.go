// Package kubernetes is the example of plain manifests; there is no Go in it but
// for the line below, which writes its Envoy configuration.
package kubernetes

//go:generate bash generate
