// Package redis keeps sessions in a Redis or Valkey, through rueidis, where several
// processes share them: a client that comes back to another one is known there.
//
// What streams do is written behind them, see the package behind. Who may write a
// stream is decided by a script in Redis. A session's keys have a hash tag, so a
// cluster has them together; nothing else is assumed of it.
package redis

import (
	"time"

	"holdfast/sessionstore/internal/behind"
)

// Options are what a Store needs to know. Every zero value but URL is usable.
type Options struct {
	// URL is where Redis is:
	//
	//	redis://user:password@host:6379/0        rediss:// for TLS; valkey:// and valkeys:// are the same
	//	redis://host1:6379?addr=host2:6379        a cluster, by some of its nodes
	//	redis://sentinel:26379?master_set=name    what sentinels say is the master; more of them by addr=,
	//	                                          and sentinel_username=, sentinel_password= for themselves
	//	unix:///run/redis.sock?db=0
	//
	// With TLS, ca= names a PEM file with the authorities to trust instead of the
	// system's, and cert= and key= what to present.
	URL string

	// Prefix is what keys begin with; empty: "holdfast". Processes that share sessions
	// have the same.
	Prefix string

	// Flush is how often changes are written; zero or less: before every call returns.
	Flush time.Duration

	// Sessions is the most that all processes together keep; zero or less: 1,000,000.
	// At the bound new sessions push out those unused for longest among those without
	// a live stream, or, where every session has one, among all; some time later.
	Sessions int

	// TTL is how long a session without a live stream is kept after its last use, and
	// how long streams of a process that died count as live; zero or less: one hour.
	TTL time.Duration

	// Memory is the most that logs may hold in this process, in bytes; zero or less:
	// no bound. Beyond it what is in Redis leaves memory.
	Memory int64

	// Now is the clock; nil: time.Now. Processes that share sessions are to agree on
	// the time, to about a second.
	Now func() time.Time
}

const (
	defaultPrefix   = "holdfast"
	defaultSessions = 1_000_000
	defaultTTL      = time.Hour
)

// Store is a sessionstore.Store, Log, Directory, Behind and Shared in Redis. Make one
// with Open.
type Store struct {
	*behind.Store
	behind.Shared
}

// Open returns a Store. Redis need not be there yet: until it is, Failure says why
// not, and no stream begins. The error is that of a URL that no Redis could have.
func Open(o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.Sessions <= 0 {
		o.Sessions = defaultSessions
	}
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	client, err := clientOption(o.URL)
	if err != nil {
		return nil, err
	}
	r := &remote{conn: connection{option: client}, sessions: o.Sessions, ttl: o.TTL, keys: keys{prefix: o.Prefix}, scripts: newScripts()}
	s := behind.New(r, behind.Options{
		Flush: o.Flush, TTL: o.TTL, Memory: o.Memory, Now: o.Now, Unproven: true,
	})
	return &Store{Store: s, Shared: s.Shared()}, nil
}
