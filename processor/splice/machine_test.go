package splice

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The names are in metrics, logs and the admin API: they do not change.
func TestNames(t *testing.T) {
	var got []string
	for o := Complete; o <= Passed+1; o++ {
		got = append(got, o.String())
	}
	for tr := TrustAbsent; tr <= TrustRestarting; tr++ {
		got = append(got, tr.String())
	}
	for p := Opening; p <= Closed; p++ {
		got = append(got, p.String())
	}
	for d := DedupOverlap; d <= DedupOff; d++ {
		got = append(got, d.String())
	}
	got = append(got, CleanEnd.String(), Reset.String())
	for n := NoteOversize; n <= NoteHeartbeat; n++ {
		got = append(got, n.String())
	}
	want := strings.Fields(`complete resumed gap cut client_gone drained passed unknown_7
		absent unique monotonic constant restarting opening live resuming draining closed overlap always off
		clean_end reset oversize overlap overlap_end trust heartbeat`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A chunk of whole events is passed on as the very bytes it came in.
func TestToClientIsTheChunk(t *testing.T) {
	r := newRun(t, Policy{}, Start{})
	b := []byte(event("1", "x") + event("2", "y") + "id: 3\nda")
	rd := r.step(Chunk{Bytes: b})
	if &rd.ToClient[0] != &b[0] || len(rd.ToClient) != len(event("1", "x")+event("2", "y")) {
		t.Errorf("%q was copied", rd.ToClient)
	}
	// Also if what is dropped lies at its edges.
	r = newRun(t, Policy{}, Start{})
	r.chunk(event("1", "x") + event("2", "y"))
	r = r.back("1")
	b = []byte(event("1", "x") + event("2", "y"))
	rd = r.step(Chunk{Bytes: b})
	if &rd.ToClient[0] != &b[len(event("1", "x"))] {
		t.Errorf("%q was copied", rd.ToClient)
	}
}

// A driver finds a piece of its buffer again by its capacity.
func TestToClientKeepsTheChunksCapacity(t *testing.T) {
	r := newRun(t, Policy{}, Start{})
	b := append(make([]byte, 0, 100), event("1", "x")+"id: 2"...)
	if rd := r.step(Chunk{Bytes: b}); cap(rd.ToClient) != cap(b) {
		t.Errorf("capacity %d of %d", cap(rd.ToClient), cap(b))
	}
}

func TestAppendStateUsesItsRoomAgain(t *testing.T) {
	r := newRun(t, Policy{}, Start{})
	for i := range 100 {
		r.chunk(event("s-"+strings.Repeat("x", i), "x"))
	}
	s := r.m.State()
	if n := testing.AllocsPerRun(100, func() { r.m.AppendState(&s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if diff := cmp.Diff(r.m.State(), s); diff != "" {
		t.Error(diff)
	}
}

// A stored window outlives its process, its policy and its size.
func TestStateUnderAnotherPolicy(t *testing.T) {
	log := event("1", "a") + event("2", "b") + event("3", "c")
	first := newRun(t, Policy{}, Start{})
	first.chunk(log)
	s := first.m.State()

	back := func(p Policy) *run {
		return newRun(t, p, Start{Seed: 9, HasCursor: true, LastEventID: "3", Earlier: s})
	}
	// A smaller window keeps the newest.
	r := back(Policy{Window: 2})
	r.chunk(event("2", "b") + event("3", "c") + event("4", "d"))
	r.wantGot(event("4", "d"))

	// Entries with content say nothing about ids alone, so nothing is dropped.
	always := Policy{Dedup: DedupAlways}
	if always.Remembers(&s, "3") {
		t.Error("always takes entries of overlap for its own")
	}
	r = back(always)
	r.chunk(log)
	r.wantGot(log)

	// Without the key the window means nothing.
	s.Key = [2]uint64{}
	r = back(Policy{})
	r.chunk(log)
	r.wantGot(log)
}

// The totals are the line's, whatever is known of its events.
func TestTotals(t *testing.T) {
	r := newRun(t, Policy{}, Start{})
	r.chunk(event("1", "a") + event("2", "b"))
	r = r.back("2")
	r.chunk(event("2", "b") + event("3", "c"))
	r = newRun(t, Policy{}, Start{Earlier: r.m.State()})
	r.chunk(event("1", "a"))
	if s := r.m.State(); s.Events != 5 || s.Duplicates != 1 || s.Acked != "" {
		t.Errorf("%+v", s)
	}
}

// An id too long for a header is no cursor, and does not make a session large.
func TestEndlessID(t *testing.T) {
	long := strings.Repeat("i", 100_000)
	r := newRun(t, Policy{}, Start{})
	r.chunk(event("1", "a"))
	r.chunk(event(long, "b") + event(long, "c"))
	if r.m.Cursor() != "" || cap(r.m.cursor.id)+cap(r.m.trust.last) > 3*maxCursor {
		t.Errorf("%d bytes of cursor, %d of last id are kept", cap(r.m.cursor.id), cap(r.m.trust.last))
	}
	if r.m.Trust() != TrustRestarting {
		t.Errorf("an endless id that came twice is %v", r.m.Trust())
	}
	r.end().wantGot(event("1", "a") + event(long, "b") + event(long, "c"))
}

// A header may be as long as its client likes, up to what Envoy lets through.
func TestEndlessLastEventID(t *testing.T) {
	id := strings.Repeat("x", maxCursor+1)
	r := newRun(t, Policy{}, Start{HasCursor: true, LastEventID: id})
	if s := r.m.State(); s.Acked != "" || r.m.Cursor() != "" {
		t.Errorf("%d bytes are kept for as long as the stream lives", len(s.Acked)+len(r.m.Cursor()))
	}
}

// The heartbeat's clock does not care how late its Tick comes, or how early.
func TestLazyDeadlines(t *testing.T) {
	r := newRun(t, Policy{Heartbeat: 15 * time.Second}, Start{})
	r.chunk(event("", "x"))
	for range 14 {
		if rd := r.pass(time.Second); len(rd.ToClient) != 0 {
			t.Fatalf("%q was sent early", rd.ToClient)
		}
	}
	rd := r.pass(time.Hour)
	if len(rd.ToClient) == 0 || !rd.Deadline.Equal(r.now.Add(15*time.Second)) {
		t.Errorf("%+v", rd)
	}
}
