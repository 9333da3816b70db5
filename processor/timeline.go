package processor

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"holdfast/processor/live"
	"holdfast/processor/splice"
)

// remember adds to what an operator is told of the stream. Most streams have
// little to tell, so there is no timeline before there is something in it.
func (st *stream) remember(now time.Time, kind live.Kind, text string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.timeline == nil {
		st.timeline = new(live.Timeline)
	}
	st.timeline.Add(now.Sub(st.started), kind, text)
	st.spans().event(now, kind, text)
}

// rememberInput is for the facts that a Machine is told, but for chunks.
func (st *stream) rememberInput(now time.Time, in splice.Input) {
	switch in := in.(type) {
	case splice.Ended:
		if in.Cause != splice.CleanEnd || st.origin != nil {
			st.remember(now, live.Failed, in.Cause.String())
		}
	case splice.Opened:
		if in.Attempt == 0 {
			return
		}
		var b strings.Builder
		b.WriteString(strconv.Itoa(in.Status))
		if in.Verdict != splice.Continue {
			b.WriteString(", " + in.Verdict.String())
		}
		if a := st.origin.attempt(in.Attempt); a != nil && a.target.Address != "" {
			b.WriteString(" from " + shorten(a.target.Address))
		}
		st.remember(now, live.Answered, b.String())
	case splice.Drain:
		st.remember(now, live.Draining, "")
	}
}

// attempt is find for an origin that may not be there.
func (o *origin) attempt(n splice.Attempt) *attempt {
	if o == nil {
		return nil
	}
	return o.find(n)
}

// rememberReady is for what a Machine says and asks for.
func (st *stream) rememberReady(now time.Time, rd splice.Ready) {
	for _, n := range rd.Notes {
		switch n.Kind {
		case splice.NoteOversize:
			st.remember(now, live.Oversize, "")
		case splice.NoteOverlap:
			st.remember(now, live.Overlap, "")
		case splice.NoteOverlapEnd:
			st.remember(now, live.Caught, "")
		case splice.NoteTrust:
			st.remember(now, live.IDs, n.Text)
		case splice.NoteHeartbeat:
			st.remember(now, live.Heartbeat, "")
		case splice.NoteStalled:
			st.remember(now, live.Stalled, n.Text)
		case splice.NoteResume:
			st.remember(now, live.Result, n.Result.String())
		}
	}
	for _, c := range rd.Commands {
		if d, ok := c.(splice.Dial); ok {
			text := "from the start"
			if d.Cursor != "" {
				text = "behind " + shorten(d.Cursor)
			}
			st.remember(now, live.Resuming, text)
		}
	}
}

// Moments implements live.Teller. That it began is known without a note.
func (st *stream) Moments() (all []live.Moment, lost int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	all, lost = st.timeline.Moments(st.started)
	return append([]live.Moment{{At: st.started, What: live.Opened.String()}}, all...), lost
}

// retire makes the stream one that has ended.
func (st *stream) retire(now time.Time, o splice.Outcome) {
	st.remember(now, live.Ended, o.String())
	last := live.History{Stream: st.Snapshot()}
	last.State, last.Outcome, last.Ended = live.Ended.String(), o.String(), now
	last.Timeline, last.Lost = st.Moments()
	st.srv.live.Retire(st.id, last)
}

// Snapshot implements live.Source.
func (st *stream) Snapshot() live.Stream {
	st.mu.Lock()
	counts, lastByte, upstream := st.counts, st.lastByte, st.upstream
	st.mu.Unlock()
	cursor, trust, state := "", splice.TrustAbsent, "copied"
	st.inspect(func(m machine) {
		cursor = m.Cursor()
		if m, ok := m.(interface {
			Trust() splice.Trust
			Phase() splice.Phase
		}); ok {
			trust, state = m.Trust(), m.Phase().String()
		}
	})
	return live.Stream{
		ID:         st.id.String(),
		Session:    hex.EncodeToString(st.lease.Session[:]),
		Policy:     st.policy.Name,
		Mode:       st.mode.String(),
		State:      state,
		Method:     st.method,
		Path:       st.path,
		Upstream:   upstream,
		Started:    st.started,
		LastByte:   st.started.Add(lastByte),
		Cursor:     shorten(cursor),
		Trust:      trust.String(),
		Events:     counts.Events,
		Duplicates: counts.Duplicates,
		Heartbeats: counts.Heartbeats,
		Bytes:      counts.BytesOut,
		Resumes:    counts.Resumes,
	}
}
