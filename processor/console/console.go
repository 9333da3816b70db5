// Package console serves the admin port.
package console
