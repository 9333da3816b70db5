// Package bolt keeps sessions in a file of this machine, through bbolt: they are
// there again after a crash of the process, and after one of the machine up to the
// last flush.
//
// One process at a time has the file. What its streams do is written behind them,
// see the package behind; every flush is one transaction, so a file is never of
// two minds.
package bolt

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"

	"holdfast/sessionstore/internal/behind"
)

// Options are what a Store needs to know. Every zero value but Path is usable.
type Options struct {
	// Path is the file. It is made if it is not there; its directory is not.
	Path string

	// Flush is how often changes are written; zero or less: before every call returns.
	Flush time.Duration

	// Sessions is the most that are kept; zero or less: 1,000,000. At the bound new
	// sessions push out those unused for longest among those without a live stream,
	// or, where every session has one, among all; at the next flush.
	Sessions int

	// TTL is how long a session without a live stream is kept after its last use;
	// zero or less: one hour.
	TTL time.Duration

	// Memory is the most that logs may hold in memory, in bytes; zero or less: no
	// bound. Beyond it what is in the file leaves memory.
	Memory int64

	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

const (
	defaultSessions = 1_000_000
	defaultTTL      = time.Hour
)

// Store is a sessionstore.Store, Log, Directory and Behind in a file. Make one with
// Open.
type Store struct{ *behind.Store }

// Open opens the file, and makes it if there is none. Streams that were live when
// the process before ended have ended. It fails, and leaves the file as it is, if
// that is another program's, damaged, or in use.
func Open(o Options) (*Store, error) {
	if o.Sessions <= 0 {
		o.Sessions = defaultSessions
	}
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	f, err := openFile(o.Path)
	if err != nil {
		return nil, err
	}
	f.sessions, f.ttl = o.Sessions, o.TTL
	last, err := f.begin()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Store{behind.New(f, behind.Options{
		Flush: o.Flush, TTL: o.TTL, Memory: o.Memory, First: last, Now: o.Now,
	})}, nil
}

// file is the Backend.
type file struct {
	db       *bbolt.DB
	path     string
	sessions int
	ttl      time.Duration
	broken   atomic.Pointer[error] // a page could not be made sense of
}

var _ behind.Backend = (*file)(nil)

// The buckets, and what is in them. Numbers are big-endian, so that keys are in
// their order.
const (
	bucketMeta     = "holdfast" // see the keys below
	bucketSessions = "sessions" // session: sessionValue
	bucketStreams  = "streams"  // see streamKey
	bucketIdle     = "idle"     // time of last use, newest stream, session: nothing. Sessions without live streams
	bucketLive     = "live"     // session: nothing. Those with
	bucketLogs     = "logs"     // time, session, stream: nothing. When the log of a stream that has ended expires

	keyFormat = "format" // formatV1
	keyCount  = "count"  // sessions: 8 bytes
	keyLast   = "last"   // the greatest number of a stream: 8 bytes

	formatV1 = "1"
)

// begin makes the buckets and ends what a crash left live. It returns the greatest
// number of a stream.
func (f *file) begin() (last uint64, err error) {
	err = f.update(func(tx *tx) error {
		for _, name := range []string{bucketMeta, bucketSessions, bucketStreams, bucketIdle, bucketLive, bucketLogs} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		tx.open()
		if err := tx.meta.Put([]byte(keyFormat), []byte(formatV1)); err != nil {
			return err
		}
		last = number(tx.meta.Get([]byte(keyLast)))
		return tx.endAll()
	})
	if err != nil {
		err = fmt.Errorf("store %s: %w", f.path, err)
	}
	return last, err
}

// Close closes the file.
func (f *file) Close() error {
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("store %s: %w", f.path, err)
	}
	return unclaim(f.path)
}
