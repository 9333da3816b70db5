// Package splice decides what one resilient event stream does next.
//
// It is the core of the product, and it is pure: it starts no goroutine, reads
// no clock, does no I/O, keeps no global, and its only randomness is Start.Seed.
// A [Machine] is given one fact at a time with [Machine.Step], together with the
// time at which it happened, and answers with a [Ready]: what to send, to save
// and to wait for. A run is therefore a list of (time, Input) that can be
// written down, played again and shrunk.
//
// # Whole events
//
// A client acts on an event when its blank line arrives, not before. So the
// Machine forwards whole blocks only and holds back what follows the last one,
// the tail; the client is always at a boundary, where a heartbeat can be put in,
// the stream can be ended, or another response joined on. What this delays is
// only what could not have been used yet. Comments before a block are not held
// back: they are how origins keep connections alive. An event larger than
// Policy.EventBytes is not held back either, and until it is over there is no
// boundary.
//
// # What is dropped
//
// Nothing, unless the client or we have come back to the origin. A client that
// returns with a Last-Event-ID gets no repeat of what it has: that is recognised by
// id, content and order, until the first event that is new. See Start for what has
// to be known for that, and [Trust] for ids that cannot carry it. DedupAlways, on
// request, drops every id that is in the window, by the id alone: within a stream,
// and across the streams of a client as far as it says with its Last-Event-ID what
// it has. A client without one gets everything, in every mode, because it has
// nothing.
//
// # Going on with another response
//
// Where Start says that one can be fetched, an end need not be the stream's. The
// Machine asks with [Dial] for the next [Attempt], whose Opened, Chunk and Ended are
// the same inputs; facts of an attempt that was given up are inert. An attempt is
// unproven until it brings an event with an id that the client does not have: until
// then it is compared with the window (proof.go), and what has no id is held back
// until something tells what it is (heldback.go). How an end in order is told from an
// early one, and what a retry field means, is in answers.go and resume.go; the
// reasons are in docs/adr/0011-resume-and-proof.md.
//
// # Phases
//
//	           Opened or Chunk            Drain
//	Opening ────────────────────▶ Live ───────────▶ Draining
//	   │ │         Drain          ▲ │ │                │
//	   │ └────────────────────────┼─┼─┼─────────────▶  │
//	   │            Opened, Chunk │ │ Ended            │
//	   │                          │ ▼ │                │ boundary, By,
//	   │                      Resuming │ Ended, Gone    │ Ended, Gone
//	   │ Ended, Gone              │   │                │
//	   │     budgets, Never, Gone │   │                │
//	   └──────────────────────────┴───┴────────────────┴──▶ Closed
//
// Resuming is Live with nobody to listen to; a silent attempt that is to be replaced
// is still Live. Every way out is one Close, which says how the stream ended and
// whether the client sees a clean end. In Closed, every Step is empty.
//
// Deadlines need no thought: each state struct says when it is due, and
// Ready.Deadline is the earliest.
package splice
