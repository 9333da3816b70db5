// Package splice decides what one resilient event stream does next.
package splice
