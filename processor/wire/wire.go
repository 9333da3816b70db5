// Package wire is the hot path's codec of the ext_proc protocol.
package wire
