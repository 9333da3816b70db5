package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/sessionstore"
)

func claimBegins(h *harness) {
	h.wantSessions()
	l, earlier := h.claim(1, 1)
	h.wantEqual("earlier streams", earlier, []sessionstore.Stream(nil))
	if l.Session != sessionID(1) || l.Line != lineID(1) || l.Number == 0 {
		h.Errorf("lease %+v does not name the stream that was claimed", l)
	}
	h.wantSessions(1)
	s := h.session(1)
	h.wantEqual("info", s.Info, key(1, 1).Info)
	h.wantEqual("live", s.Live, 1)
	if s.Created.IsZero() || !s.Used.Equal(s.Created) {
		h.Errorf("created %v, used %v: want the same moment", s.Created, s.Used)
	}
	h.Wait(time.Second)
	l2, _ := h.claim(1, 2)
	if l2.Number <= l.Number {
		h.Errorf("numbers %d, then %d: want them to rise", l.Number, l2.Number)
	}
	if again := h.session(1); !again.Created.Equal(s.Created) || again.Used.Sub(again.Created) != time.Second {
		h.Errorf("created %v, used %v: want a second apart", again.Created, again.Used)
	}
}

func claimOrder(h *harness) {
	h.ended(1, 1, "a")
	b, _ := h.claim(1, 1)
	h.save(b, sessionstore.State{LastSent: "b"})
	h.ended(1, 1, "c")
	d, earlier := h.claim(1, 1)
	h.wantEarlier(earlier, "c", "b", "a")
	h.wantEqual("live", []bool{earlier[0].Live, earlier[1].Live, earlier[2].Live}, []bool{false, true, false})
	h.wantEqual("lease of the live one", earlier[1].Lease, b)
	h.wantHeld(b) // a claim on its line does not take its lease
	h.wantHeld(d)
}

func claimFresh(h *harness) {
	h.ended(1, 1, "a")
	k := key(1, 1)
	k.Fresh = true
	_, earlier := h.claimKey(k)
	h.wantEarlier(earlier)
	_, earlier = h.claim(1, 1)
	h.wantEarlier(earlier, "", "a") // it is a stream like any other
}

func isolation(h *harness) {
	h.ended(1, 1, "a")
	_, earlier := h.claim(1, 2)
	h.wantEarlier(earlier)
	_, earlier = h.claim(2, 1)
	h.wantEarlier(earlier)
	// The right stream's number opens nothing in another session.
	l, _ := h.claim(3, 1)
	l.Session = sessionID(1)
	h.wantFenced(l)
}

func progress(h *harness) {
	l, _ := h.claim(1, 1)
	h.advance(l, sessionstore.Progress{LastSent: []byte("1"), Seen: []uint64{11}, Events: 1}) // nothing saved before
	whole := sessionstore.State{
		Acked: "0", LastSent: "2", Window: []uint64{11, 12}, Key: [2]uint64{7, 8},
		Epoch: 1, Trust: 2, Events: 2, Duplicates: 1,
	}
	h.save(l, whole)
	h.Wait(time.Second)
	h.advance(l, sessionstore.Progress{
		LastSent: []byte("4"), Seen: []uint64{13, 14}, Epoch: 2, Trust: 3, Events: 4, Duplicates: 2,
	})
	h.advance(l, sessionstore.Progress{LastSent: nil, Epoch: 2, Trust: 3, Events: 5, Duplicates: 2}) // the id was reset

	_, earlier := h.claim(1, 1)
	h.wantEqual("earlier streams", earlier, []sessionstore.Stream{{
		Lease: l, Live: true, Tracked: 4,
		Saved: h.session(1).Used, // the clock has not moved since
		State: sessionstore.State{
			Acked: "0", Window: []uint64{11, 12, 13, 14}, Key: [2]uint64{7, 8},
			Epoch: 2, Trust: 3, Events: 5, Duplicates: 2,
		},
	}})

	// The caller's clock counts where it is given, the store's otherwise.
	later := h.session(1).Used.Add(3 * time.Second)
	h.advance(l, sessionstore.Progress{Now: later})
	if s := h.session(1); !s.Used.Equal(later) || !s.Streams[1].Saved.Equal(later) {
		h.Errorf("used %v, saved %v: want %v for both", s.Used, s.Streams[1].Saved, later)
	}

	h.save(l, sessionstore.State{Acked: "0", LastSent: "6", Window: []uint64{15}}) // all of it is replaced
	_, earlier = h.claim(1, 1)
	h.wantEqual("state", earlier[1].State, sessionstore.State{Acked: "0", LastSent: "6", Window: []uint64{15}})
}

func copies(h *harness) {
	l, _ := h.claim(1, 1)
	state := sessionstore.State{LastSent: "1", Window: []uint64{1}}
	h.save(l, state)
	state.Window[0] = 99
	p := sessionstore.Progress{LastSent: []byte("2"), Seen: []uint64{2}}
	h.advance(l, p)
	p.LastSent[0], p.Seen[0] = 'x', 99

	want := sessionstore.State{LastSent: "2", Window: []uint64{1, 2}}
	_, first := h.claim(1, 1)
	h.wantEqual("state", first[0].State, want)
	first[0].State.Window[0] = 99
	_, second := h.claim(1, 1)
	h.wantEqual("state", second[1].State, want)
	h.advance(l, sessionstore.Progress{LastSent: []byte("3"), Seen: []uint64{3}})
	h.wantEqual("state taken before", second[1].State, want)

	h.session(1).Streams[0].State.Acked = "x"
	h.session(1).Streams[0] = sessionstore.Stream{}
	h.wantEqual("streams", len(h.session(1).Streams[2].State.LastSent), 1)
}

func windows(h *harness) {
	numbers := func(from, to uint64) (s []uint64) {
		for ; from <= to; from++ {
			s = append(s, from)
		}
		return s
	}
	window := func(session int) []uint64 {
		_, earlier := h.claim(session, 1)
		return earlier[len(earlier)-1].State.Window
	}
	for i, limit := range []int{1, 2, 7, 8, 9, 100, 0} {
		k := key(i+1, 1)
		k.Window = limit
		if limit == 0 {
			limit = sessionstore.DefaultWindow
		}
		l, _ := h.claimKey(k)
		last := uint64(0)
		// One by one, then more at once than fit, then some that wrap around.
		for range limit + 3 {
			last++
			h.advance(l, sessionstore.Progress{Seen: []uint64{last}})
		}
		h.wantEqual(fmt.Sprintf("window of %d, one by one", limit), window(i+1), numbers(last-uint64(limit)+1, last))
		for _, n := range []int{3 * limit, limit/2 + 1, limit, 0} {
			h.advance(l, sessionstore.Progress{Seen: numbers(last+1, last+uint64(n))})
			last += uint64(n)
			h.wantEqual(fmt.Sprintf("window of %d after %d more", limit, n), window(i+1), numbers(last-uint64(limit)+1, last))
		}
		h.save(l, sessionstore.State{Window: numbers(1, uint64(limit)+5)})
		h.wantEqual("saved too long a window", window(i+1), numbers(6, uint64(limit)+5))
		h.save(l, sessionstore.State{Window: numbers(1, 1)})
		h.wantEqual("started over", window(i+1), numbers(1, 1))
	}
}

func hugeIDs(h *harness) {
	l, _ := h.claim(1, 1)
	longest := strings.Repeat("i", sessionstore.MaxID)
	h.save(l, sessionstore.State{Acked: longest, LastSent: longest})
	_, earlier := h.claim(1, 1)
	h.wantEqual("longest id", earlier[0].State, sessionstore.State{Acked: longest, LastSent: longest})
	h.save(l, sessionstore.State{Acked: longest + "i", LastSent: longest + "i"})
	h.wantEqual("longer ids", h.session(1).Streams[1].State, sessionstore.State{})
	h.advance(l, sessionstore.Progress{LastSent: []byte("ok")})
	h.advance(l, sessionstore.Progress{LastSent: bytes.Repeat([]byte("i"), 1<<20)})
	h.wantEqual("longer id", h.session(1).Streams[1].State, sessionstore.State{})
}

func continues(h *harness) {
	a := h.ended(1, 1, "a")
	other := h.ended(1, 2, "other line")
	b, earlier := h.claim(1, 1)
	h.wantEarlier(earlier, "a")
	h.save(b, sessionstore.State{LastSent: "b", Continues: a.Number})
	c, earlier := h.claim(1, 1)
	h.wantEarlier(earlier, "b")
	h.wantEqual("continues", earlier[0].State.Continues, a.Number)

	// A live stream may be another tab's: it stays, then and later.
	h.save(c, sessionstore.State{LastSent: "c", Continues: b.Number})
	h.wantHeld(b)
	h.release(b)
	h.save(c, sessionstore.State{LastSent: "c", Continues: b.Number}) // not the first
	d, earlier := h.claim(1, 1)
	h.wantEarlier(earlier, "c", "held")

	// Neither another line's, nor one that is not there.
	h.save(d, sessionstore.State{LastSent: "d", Continues: other.Number})
	e, _ := h.claim(1, 1)
	h.save(e, sessionstore.State{LastSent: "e", Continues: 1 << 40})
	_, earlier = h.claim(1, 2)
	h.wantEarlier(earlier, "other line")
}

func released(h *harness) {
	l := h.ended(1, 1, "a")
	h.wantFenced(l)
	_, earlier := h.claim(1, 1)
	h.wantEarlier(earlier, "a")
	h.wantEqual("live", h.session(1).Live, 1)
}

func dropped(h *harness) {
	l, _ := h.claim(1, 1)
	keep, _ := h.claim(2, 1)
	h.drop(1)
	h.wantFenced(l)
	h.wantNoSession(1)
	h.wantSessions(2)
	h.wantHeld(keep)

	// The same client may begin again, and knows nothing.
	again, earlier := h.claim(1, 1)
	h.wantEarlier(earlier)
	h.wantFenced(l)
	h.wantHeld(again)
	h.release(again)
	h.drop(1) // an idle one too
	h.wantSessions(2)
}

// names gives the last IDs of a session's streams, newest first.
func names(s sessionstore.Session) (ids []string) {
	for _, st := range s.Streams {
		ids = append(ids, st.State.LastSent)
	}
	return ids
}

func lineBound(h *harness) {
	first, _ := h.claim(1, 1)
	h.save(first, sessionstore.State{LastSent: "live"})
	h.ended(1, 2, "other line")
	var want []string
	for i := range 3 * sessionstore.StreamsPerLine {
		id := fmt.Sprint("s", i)
		h.ended(1, 1, id)
		want = append([]string{id}, want...)
	}
	want = append(want[:sessionstore.StreamsPerLine-1], "live") // it is the oldest, but not ended
	_, earlier := h.claim(1, 1)
	h.wantEarlier(earlier, want...)
	_, earlier = h.claim(1, 2)
	h.wantEarlier(earlier, "other line")
	h.wantHeld(first)
}

func sessionBound(h *harness) {
	live, _ := h.claim(1, 0)
	h.save(live, sessionstore.State{LastSent: "live"})
	var all []string
	for i := range sessionstore.StreamsPerSession + 10 {
		id := fmt.Sprint("s", i)
		h.ended(1, i%100+1, id)
		all = append(all, id)
	}
	slices.Reverse(all)
	h.wantEqual("streams", names(h.session(1)), append(all[:sessionstore.StreamsPerSession-1], "live"))
	h.wantHeld(live)
}

func liveBound(h *harness) {
	var leases []sessionstore.Lease
	for range sessionstore.StreamsPerLine + 1 {
		l, _ := h.claim(1, 1)
		leases = append(leases, l)
	}
	h.wantFenced(leases[0])
	for _, l := range leases[1:] {
		h.wantHeld(l)
	}
	h.wantEqual("live", h.session(1).Live, sessionstore.StreamsPerLine)
	for _, l := range leases[1:] {
		h.release(l)
	}
	h.wantEqual("live", h.session(1).Live, 0)
}
