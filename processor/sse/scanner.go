package sse

// Scanner cuts an event stream into blocks, incrementally.
type Scanner struct {
	limit int
	held  []byte
	chunk []byte
}

// NewScanner returns a Scanner that holds back at most limit bytes.
func NewScanner(limit int) *Scanner { return &Scanner{limit: limit} }

// Feed gives the Scanner the next bytes of the stream. p is borrowed until Next
// has returned false. The previous chunk must have been drained.
func (s *Scanner) Feed(p []byte) { s.chunk = p }

// Next returns the next piece of the stream, or false when the chunk is used up.
func (s *Scanner) Next() (Event, bool) { return Event{}, false }

// Held returns the bytes of the unfinished block (the tail), valid until the
// next Feed.
func (s *Scanner) Held() []byte { return s.held }
