// Package tracing sends spans to an OpenTelemetry collector, and never lets
// anybody wait for it: what the collector does not take is dropped and counted.
package tracing
