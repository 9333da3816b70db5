// Package live knows the streams that are running now, for the admin API and the
// drain, and what happened to them; for a while also to those that ended.
package live

import "time"

// Stream is a snapshot of one stream that runs, or what it was when it ended.
type Stream struct {
	ID         string    `json:"id"`      // our own, random, for logs
	Session    string    `json:"session"` // hex of the session's ID
	Policy     string    `json:"policy"`
	Mode       string    `json:"mode"`
	State      string    `json:"state"`             // opening, live, resuming, draining, ended; copied: after a fault of ours
	Outcome    string    `json:"outcome,omitempty"` // of an ended one
	Method     string    `json:"method"`
	Path       string    `json:"path"` // without the query, which may hold secrets
	Upstream   string    `json:"upstream"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended,omitzero"`
	LastByte   time.Time `json:"last_byte"`
	Cursor     string    `json:"cursor"` // shortened
	Trust      string    `json:"trust"`
	Events     uint64    `json:"events"`
	Duplicates uint64    `json:"duplicates"`
	Heartbeats uint64    `json:"heartbeats"`
	Bytes      uint64    `json:"bytes"`
	Resumes    uint64    `json:"resumes"`
}

// Target is the health of one upstream host, as the streams of one policy see it.
type Target struct {
	Policy      string    `json:"policy"`
	Cluster     string    `json:"cluster"` // Envoy's name; may be empty
	Address     string    `json:"address"`
	State       string    `json:"state"` // closed (in use), open (ejected), half_open (being probed)
	InARow      int       `json:"failures_in_a_row"`
	Successes   uint64    `json:"successes"`
	Failures    uint64    `json:"failures"`
	Ejections   uint64    `json:"ejections"`
	LastFailure string    `json:"last_failure,omitempty"` // refused, reset, timeout, stall, bad_status or bad_start
	Until       time.Time `json:"until,omitzero"`         // end of the ejection
	Seen        time.Time `json:"seen"`                   // when it was last heard of
}
