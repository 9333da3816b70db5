// Package sse is the wire codec of event streams.
package sse
