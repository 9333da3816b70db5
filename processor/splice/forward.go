package splice

import "holdfast/processor/sse"

const byteOrderMark = "\uFEFF"

// pieceArrived decides about one piece of the stream.
func (m *Machine) pieceArrived(ev *sse.Event) {
	m.begun = true
	f := forwarded
	switch ev.Part {
	case sse.Whole:
		f = m.blockEnded(ev)
	case sse.Last:
		f = m.largeEnded(ev)
	case sse.Fragment:
		f = m.fragmentArrived(ev)
	case sse.LineFeed:
		f = m.fate
	case sse.Comment:
		if m.proof != nil {
			f = m.saidBetween(ev)
		}
	}
	m.fate = f
	if m.policy.Observe {
		return
	}
	raw := ev.Raw
	if ev.BOM {
		raw = m.markArrived(raw)
	}
	switch f {
	case leftOut:
		m.out.skip(raw)
	case heldBack:
		m.proof.held.bytes = append(m.proof.held.bytes, raw...)
		m.out.skip(raw)
	case forwarded:
		if m.startsLikeMark(ev) {
			m.out.keepAlive()
		}
		m.out.pass(raw)
	}
}

// markArrived takes off the byte order mark that a piece begins with. The mark
// belongs to the stream, so it is kept even if the piece is not; but only the
// first thing in the client's stream is a mark, and of a continuation "drop
// exactly one" is ours to do.
func (m *Machine) markArrived(raw []byte) (rest []byte) {
	mark, rest := raw[:len(byteOrderMark)], raw[len(byteOrderMark):]
	if m.counts.BytesOut == 0 && m.out.empty() {
		m.out.pass(mark)
	} else {
		m.out.skip(mark)
	}
	return rest
}

// startsLikeMark reports whether a piece that is ordinary text would become the
// stream's byte order mark, because everything before it was dropped. A client
// would take it off, and read as a field what the origin's client does not.
func (m *Machine) startsLikeMark(ev *sse.Event) bool {
	return m.counts.Duplicates > 0 && ev.Raw[0] == byteOrderMark[0] && !ev.BOM &&
		m.counts.BytesOut == 0 && m.out.empty()
}

// blockEnded takes in a block whose blank line has come, and decides about it.
func (m *Machine) blockEnded(ev *sse.Event) fate {
	m.ended = true
	if ev.HasData {
		m.countEvent()
	}
	if ev.HasRetry {
		m.resume.backoff.hinted(ev.Retry) // of a repeat, too
	}
	id, named := m.identify(ev)
	f := forwarded
	if m.proof != nil && ev.Part == sse.Whole {
		if f = m.continues(ev, id); f != forwarded {
			// The client is not where the origin is: its cursor stays.
			if f == leftOut && m.phase != Closed && (len(id) > 0 || m.tracked(ev)) {
				m.countRepeats(1)
			}
			return f
		}
	}
	m.done.blockDispatched(ev)
	if m.eventSeen(ev, id, named) && ev.Part == sse.Whole {
		m.countRepeats(1)
		f = leftOut
	}
	if named {
		// Also of a dropped block: to the origin, the client is there now.
		m.cursor.blockDispatched(id)
		m.save.changed()
	}
	if f == forwarded {
		m.eventForwarded(ev, id, named)
	}
	return f
}

// eventForwarded takes in what a resume has to know of a block.
func (m *Machine) eventForwarded(ev *sse.Event, id []byte, named bool) {
	if !m.resume.able {
		return
	}
	switch {
	case named && len(id) > 0:
		m.delivered, m.useful = true, true
	case m.tracked(ev):
		m.delivered, m.nameless = true, true
	}
}

// fragmentArrived takes in a piece of an event that is too large to be held.
func (m *Machine) fragmentArrived(ev *sse.Event) fate {
	if m.proof != nil && m.proof.skipping {
		return leftOut
	}
	m.keepLarge(ev)
	if m.proof != nil && !m.oversize {
		if f := m.largeContinues(ev); f != forwarded {
			return f
		}
	}
	m.delivered = true
	if !m.oversize {
		m.oversize = true
		m.note(NoteOversize, "")
	}
	return forwarded
}

// largeEnded takes in the last piece of such an event. Its first pieces are gone:
// too late to drop it.
func (m *Machine) largeEnded(ev *sse.Event) fate {
	if m.proof != nil && m.proof.skipping {
		m.proof.skipping = false
		m.ended = true
		m.largePlaced(ev)
		m.large = nil
		if m.tracked(ev) {
			m.countRepeats(1)
		}
		return leftOut
	}
	m.oversize = false
	m.blockEnded(ev)
	if id, _ := m.identify(ev); m.proof != nil && len(id) > 0 {
		m.compared() // it was new, as could be seen before its id came
	}
	m.large = nil
	return forwarded
}

// output collects what one Step sends to the client. As long as that is one
// piece of the chunk, it is lent out as such; only when something lies between
// (a held tail before it, a dropped block within it, a comment of ours) it is
// put together in a buffer.
type output struct {
	chunk    []byte
	pos      int // how far the chunk is decided about; negative: within the tail held before it
	from, to int // piece of the chunk to be sent, not copied yet
	buf      []byte
	used     bool // buf holds the beginning of what is sent
	idle     uint8
}

const (
	// keepOutput is the buffer capacity, in bytes, that even an idle stream keeps.
	keepOutput = 512
	// maxOutput is the largest one that is used again at all.
	maxOutput = 64 << 10
	// idleSteps is after how many Steps in a row that hardly need it a larger
	// buffer is given up: a busy stream keeps it, an idle one soon does not.
	idleSteps = 16
)

// release takes back what was lent to the last Ready.
func (o *output) release() {
	size := cap(o.buf)
	switch {
	case size <= keepOutput || 4*len(o.buf) >= size:
		o.idle = 0
	default:
		o.idle++
	}
	if size > maxOutput || o.idle >= idleSteps {
		o.buf, o.idle = nil, 0
	}
	o.chunk, o.pos, o.from, o.to = nil, 0, 0, 0
	o.buf, o.used = o.buf[:0], false
}

// begin takes a chunk before which so many bytes were held.
func (o *output) begin(chunk []byte, held int) { o.chunk, o.pos = chunk, -held }

// whole sends this, and nothing else of the chunk.
func (o *output) whole(b []byte) { o.chunk, o.from, o.to = b, 0, len(b) }

// pass sends the next piece. Pieces come in order and without gaps, so their
// lengths say where in the chunk they lie.
func (o *output) pass(raw []byte) {
	start := o.pos
	o.pos += len(raw)
	switch {
	case start < 0: // begins in the tail: not a piece of the chunk
		o.insert(raw)
	case start == o.to:
		o.to = o.pos
	default:
		if o.from < o.to {
			o.flush()
		}
		o.from, o.to = start, o.pos
	}
}

// skip leaves the next piece out.
func (o *output) skip(raw []byte) { o.pos += len(raw) }

// insert sends bytes that are no piece of the chunk.
func (o *output) insert(b []byte) {
	if len(b) == 0 {
		return
	}
	o.flush()
	o.buf, o.used = append(o.buf, b...), true
}

func (o *output) keepAlive() {
	o.flush()
	o.buf, o.used = sse.AppendComment(o.buf, keepAlive), true
}

func (o *output) flush() {
	if o.from < o.to {
		o.buf, o.used = append(o.buf, o.chunk[o.from:o.to]...), true
	}
	o.from = o.to
}

func (o *output) empty() bool { return !o.used && o.from == o.to }

// bytes leaves a piece of the chunk its capacity, by which a driver can find out
// where in its own buffer the piece lies.
func (o *output) bytes() []byte {
	if !o.used {
		return o.chunk[o.from:o.to]
	}
	o.flush()
	return o.buf
}
