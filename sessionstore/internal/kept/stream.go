// Package kept holds streams in memory, for every store: what a stream knows, in a
// form that its hot path can change in place, and the newest part of what it sent.
//
// A lock of the caller's guards a Stream. The caller has one Arena for each of its
// locks, which knows the segments of all logs behind it.
package kept

import (
	"strings"
	"time"

	"holdfast/sessionstore"
)

// Stream is what a store keeps of one stream.
type Stream struct {
	Number uint64
	Token  uint64 // of the lease that may write
	Line   sessionstore.LineID
	Saved  time.Time // zero: never
	Log    *Log      // nil: none
	Live   bool

	trust      uint8 // beside Live: there are a million of these
	epoch      uint32
	acked      string
	lastSent   []byte // reused: an ID costs no garbage
	window     window
	key        [2]uint64
	events     uint64
	duplicates uint64
	continues  uint64
}

// New returns a new, live stream without its number.
func New(k *sessionstore.Key) *Stream {
	return &Stream{Line: k.Line, Token: 1, Live: true, window: newWindow(k.Window), Log: newLog(k)}
}

// Restore returns a stream that was stored, without its log. limit is as in Key.Window.
func Restore(s *sessionstore.Stream, limit int) *Stream {
	st := &Stream{
		Number: s.Lease.Number, Token: s.Lease.Token, Line: s.Lease.Line,
		Saved: s.Saved, Live: s.Live, window: newWindow(limit),
	}
	st.replace(&s.State)
	st.window.added, st.window.cleared = 0, false // it is stored
	return st
}

// Save replaces the State. It keeps the buffers: a stream that saves itself often
// makes no garbage.
func (st *Stream) Save(now time.Time, s *sessionstore.State) {
	st.replace(s)
	st.Saved = now
}

func (st *Stream) replace(s *sessionstore.State) {
	st.acked = strings.Clone(bounded(s.Acked)) // it may be a piece of a request's headers
	st.lastSent = append(st.lastSent[:0], bounded(s.LastSent)...)
	st.window.clear()
	st.window.add(s.Window)
	st.key = s.Key
	st.epoch, st.trust = s.Epoch, s.Trust
	st.events, st.duplicates = s.Events, s.Duplicates
	st.continues = s.Continues
}

// Advance applies p to the State.
func (st *Stream) Advance(now time.Time, p *sessionstore.Progress) {
	st.lastSent = append(st.lastSent[:0], bounded(p.LastSent)...)
	st.window.add(p.Seen)
	st.epoch, st.trust = p.Epoch, p.Trust
	st.events, st.duplicates = p.Events, p.Duplicates
	st.Saved = now
}

// Copy copies all but the window and its key, which a listing does not want: 8 KB
// each, 64 times a session, a thousand sessions a page. The lease lacks its session.
func (st *Stream) Copy() sessionstore.Stream {
	return sessionstore.Stream{
		Lease:   sessionstore.Lease{Line: st.Line, Number: st.Number, Token: st.Token},
		Live:    st.Live,
		Saved:   st.Saved,
		Tracked: st.window.len(),
		Log:     st.Log.Info(),
		State: sessionstore.State{
			Acked: st.acked, LastSent: string(st.lastSent),
			Epoch: st.epoch, Trust: st.trust,
			Events: st.events, Duplicates: st.duplicates,
			Continues: st.continues,
		},
	}
}

// WholeCopy copies all but the records.
func (st *Stream) WholeCopy() sessionstore.Stream {
	s := st.Copy()
	s.State.Window = st.window.snapshot()
	s.State.Key = st.key
	return s
}

// Key is the key of the hash behind the window's entries.
func (st *Stream) Key() [2]uint64 { return st.key }

// Window is Key.Window of the stream.
func (st *Stream) Window() int { return int(st.window.limit) }

// TakeSeen returns the entries that were added to the window since it was called
// before, as far as they are still in it, and whether the window was started over
// in between. The caller has them from then on; all says to return them all.
func (st *Stream) TakeSeen(all bool) (seen []uint64, over bool) {
	w := &st.window
	n := len(w.ring)
	if over = all || w.cleared || (w.added > 0 && int(w.added) >= n); !over {
		n = int(w.added)
	}
	w.added, w.cleared = 0, false
	return w.newest(n), over
}

// bounded returns id, or nothing if it is longer than any client can return.
func bounded[T string | []byte](id T) T {
	if len(id) > sessionstore.MaxID {
		var none T // and not id[:0], which would keep all of id in memory
		return none
	}
	return id
}
