package live

import "time"

// MaxMoments is how many moments a timeline keeps; of more, the oldest go.
const MaxMoments = 64

// Kind says what happened; a closed set.
type Kind uint8

const (
	Opened    Kind = iota // the stream began
	Failed                // what it came from ended, and not as it should have; Text says how
	Resuming              // somebody is asked for the rest
	Answered              // with what status, and by which host
	Result                // what came of that
	IDs                   // the verdict on the origin's event ids changed
	Overlap               // repeats of what the client has are being dropped
	Caught                // the overlap is over
	Heartbeat             // a comment was sent into a silence
	Stalled               // silent for too long, and nothing to be done about it
	Oversize              // an event is too large to be held back
	Draining              // this process is going away
	Fault                 // a fault of ours: bytes are copied from here on
	Ended                 // Text is the outcome
)

func (k Kind) String() string {
	names := [...]string{
		"opened", "failed", "resuming", "answered", "result", "ids", "overlap", "overlap_end",
		"heartbeat", "stalled", "oversize", "draining", "fault", "ended",
	}
	if int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Moment is something that happened to a stream, or the same again and again
// with nothing else between.
type Moment struct {
	At    time.Time `json:"at"`
	What  string    `json:"what"` // a Kind
	Text  string    `json:"text,omitempty"`
	Times int       `json:"times,omitempty"` // how often, if more than once
	Last  time.Time `json:"last,omitzero"`   // and when last
}

// Timeline is what happened to a stream, as far as it is remembered. The zero
// Timeline is empty and takes no memory; it is not safe for concurrent use.
type Timeline struct {
	ring []moment
	next int // where the ring goes on, once it is full
	lost int
}

// moment is small, for most streams have one and some tens of thousands idle.
type moment struct {
	at, last time.Duration // since the stream began
	text     string
	times    uint32
	kind     Kind
}

// Add remembers a moment, at a time since the stream began.
func (t *Timeline) Add(at time.Duration, kind Kind, text string) {
	if n := len(t.ring); n > 0 {
		last := &t.ring[(t.next+n-1)%n]
		if last.kind == kind && last.text == text {
			last.last = at
			last.times++
			return
		}
	}
	m := moment{at: at, last: at, kind: kind, text: text, times: 1}
	if len(t.ring) < MaxMoments {
		t.ring = append(t.ring, m)
		return
	}
	t.ring[t.next] = m
	t.next = (t.next + 1) % MaxMoments
	t.lost++
}

// Moments returns what is remembered, oldest first, and how many earlier ones are
// not any more. It may be called on nil.
func (t *Timeline) Moments(started time.Time) (all []Moment, lost int) {
	if t == nil {
		return nil, 0
	}
	for i := range t.ring {
		m := &t.ring[(t.next+i)%len(t.ring)]
		out := Moment{At: started.Add(m.at), What: m.kind.String(), Text: m.text}
		if m.times > 1 {
			out.Times, out.Last = int(m.times), started.Add(m.last)
		}
		all = append(all, out)
	}
	return all, t.lost
}
