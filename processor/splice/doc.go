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
// Nothing, unless a client has returned with a Last-Event-ID. Then what the
// origin repeats of that which the client has, up to this id, is recognised by
// id, content and order, and left out, until the first event that is new. See
// Start for what has to be known for that, and [Trust] for ids that cannot carry
// it. DedupAlways, on request, drops every id that is in the window, by the id
// alone: within a stream, and across the streams of a client as far as it says
// with its Last-Event-ID what it has. A client without one gets everything, in
// every mode, because it has nothing.
//
// # Phases
//
//	           Opened or Chunk            Drain
//	Opening ────────────────────▶ Live ───────────▶ Draining
//	   │ │         Drain            │                  │
//	   │ └──────────────────────────┼───────────────▶  │ boundary, By, Ended, Gone
//	   │ Ended, Gone                │ Ended, Gone      │
//	   └────────────────────────────┴──────────────────┴──▶ Closed
//
// Every way out is one Close, which says how the stream ended and whether the
// client sees a clean end. In Closed, every Step is empty.
//
// Fetching and replaying will add inputs and phases, not structure:
//
//   - Resuming comes between Live and Live: where upstreamEnded closes now, it
//     will ask with a Dial command for the next Attempt, whose Opened, Chunk and
//     Ended are the same inputs; facts of the attempt before are inert already.
//     The tail is dropped when the new attempt has proved itself, its repeats
//     pass through the same overlapState with the Machine's own cursor, and the
//     backoff is one more state struct with a deadline.
//   - Replaying comes before Live: a Load command is answered by a Loaded input,
//     whose records take the way of a chunk's events.
//   - Storing before sending makes Ready.Persist the place where ToClient waits,
//     and Stored the input that lets it go.
//
// Deadlines need no thought for this: each state struct says when it is due, and
// Ready.Deadline is the earliest.
package splice
