package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/sessionstore"
)

func expired(h *harness) {
	h.ended(1, 1, "a")
	h.Wait(59 * time.Second)
	h.ended(2, 1, "b")
	h.session(1) // looking is not using
	h.wantSessions(1, 2)
	h.Wait(time.Second) // exactly a minute
	h.wantSessions(2)
	h.wantNoSession(1)
	_, earlier := h.claim(1, 1)
	h.wantEarlier(earlier)

	// A claim in time keeps a session for another minute from its release on.
	h.Wait(30 * time.Second)
	l, earlier := h.claim(2, 1)
	h.wantEarlier(earlier, "b")
	h.Wait(time.Hour)
	h.release(l)
	h.Wait(59 * time.Second)
	h.session(2)
	h.Wait(time.Second)
	h.wantNoSession(2)
}

func liveStays(h *harness) {
	l, _ := h.claim(1, 1)
	h.save(l, sessionstore.State{LastSent: "a"})
	h.ended(1, 1, "b")
	h.Wait(24 * time.Hour)
	h.wantSessions(1)
	h.wantHeld(l)
	_, earlier := h.claim(1, 1)
	h.wantEarlier(earlier, "b", "held")
}

func evictsIdle(h *harness) {
	live, _ := h.claim(90, 1)
	h.ended(20, 1, "b")
	h.ended(30, 1, "c")
	h.wantSessions(20, 30, 90)
	h.Wait(time.Second)
	h.ended(20, 1, "b2") // now 30 is unused for longer
	h.ended(40, 1, "d")
	h.wantSessions(20, 40, 90)
	h.wantNoSession(30)

	// The clock has not moved since: the order of their streams decides.
	h.ended(10, 1, "e")
	h.wantSessions(10, 40, 90)
	h.ended(50, 1, "f")
	h.wantSessions(10, 50, 90)
	h.wantHeld(live) // the oldest of all, but in use
	_, earlier := h.claim(20, 1)
	h.wantEarlier(earlier)
}

func evictsLive(h *harness) {
	var leases []sessionstore.Lease
	for i := range 3 {
		l, _ := h.claim(i+1, 1)
		leases = append(leases, l)
		h.Wait(time.Second)
	}
	h.wantHeld(leases[0]) // and so 2 is the one unused for longest
	h.Wait(time.Second)
	fourth, _ := h.claim(4, 1)
	h.wantSessions(1, 3, 4)
	h.wantFenced(leases[1])
	h.wantHeld(fourth)
	h.wantHeld(leases[0])
	h.wantHeld(leases[2])

	// All at the same moment: the one whose streams are older goes, not the new one.
	h.claim(5, 1)
	h.claim(0, 1)
	h.wantSessions(0, 4, 5)
}

func paging(h *harness) {
	const n = 25
	var want []sessionstore.SessionID
	for i := range n {
		h.ended((i*7%n+1)*3, 1, "a") // in no order
		want = append(want, sessionID((i+1)*3))
	}
	for _, limit := range []int{1, 2, 7, n - 1, n, n + 1} {
		var got []sessionstore.SessionID
		var after sessionstore.SessionID
		for {
			page, err := h.Directory.Sessions(context.Background(), after, limit)
			if err != nil {
				h.Fatalf("Sessions: %v", err)
			}
			for _, s := range page {
				got = append(got, s.ID)
			}
			if len(page) < limit {
				break
			}
			if len(page) > limit {
				h.Fatalf("got %d sessions, limit %d", len(page), limit)
			}
			after = page[len(page)-1].ID
		}
		h.wantEqual(fmt.Sprintf("pages of %d", limit), got, want)
	}
	for _, limit := range []int{0, -1} {
		if page, err := h.Directory.Sessions(context.Background(), sessionstore.SessionID{}, limit); err != nil || len(page) != 0 {
			h.Errorf("Sessions with limit %d: got %d sessions and %v, want none", limit, len(page), err)
		}
	}
	h.wantEqual("len", h.Directory.Len(), n)
}

func directory(h *harness) {
	l, _ := h.claim(1, 1)
	h.save(l, sessionstore.State{LastSent: "a", Window: []uint64{1, 2, 3}, Key: [2]uint64{1, 2}, Events: 3})
	want := sessionstore.Stream{
		Lease: l, Live: true, Tracked: 3, Saved: h.session(1).Used,
		State: sessionstore.State{LastSent: "a", Events: 3},
	}
	h.wantEqual("streams", h.session(1).Streams, []sessionstore.Stream{want})
	list, err := h.Directory.Sessions(context.Background(), sessionstore.SessionID{}, 10)
	if err != nil || len(list) != 1 {
		h.Fatalf("Sessions: got %d and %v, want one", len(list), err)
	}
	h.wantEqual("listed", list[0], h.session(1))
}

// concurrent has many clients at work on few sessions in a store that is too
// small for them, while an operator looks on and drops some. It is for the race
// detector; what it checks is that bounds and numbers hold.
func concurrent(h *harness) {
	const clients, rounds, sessions, bound = 16, 60, 32, 16
	ctx := context.Background()
	var wg sync.WaitGroup
	var mu sync.Mutex
	numbers := make(map[uint64]bool)

	check := func(call string, err error) {
		if err != nil && !errors.Is(err, sessionstore.ErrFenced) && !errors.Is(err, sessionstore.ErrNotFound) {
			h.Errorf("%s: %v", call, err)
		}
	}
	for c := range clients {
		wg.Go(func() {
			for r := range rounds {
				k := key((c*rounds+r*7)%sessions+1, r%3)
				l, earlier, err := h.Store.Claim(ctx, k)
				check("Claim", err)
				if len(earlier) > sessionstore.StreamsPerLine {
					h.Errorf("%d earlier streams", len(earlier))
				}
				mu.Lock()
				if numbers[l.Number] {
					h.Errorf("number %d was given twice", l.Number)
				}
				numbers[l.Number] = true
				mu.Unlock()
				check("Save", h.Store.Save(ctx, l, &sessionstore.State{LastSent: "a", Window: []uint64{1}}))
				for i := range 5 {
					check("Advance", h.Store.Advance(ctx, l, sessionstore.Progress{
						LastSent: fmt.Append(nil, i), Seen: []uint64{uint64(i)}, Events: uint64(i),
					}))
				}
				check("Release", h.Store.Release(ctx, l))
			}
		})
	}
	wg.Go(func() {
		for r := range rounds {
			list, err := h.Directory.Sessions(ctx, sessionstore.SessionID{}, 100)
			check("Sessions", err)
			for _, s := range list {
				if len(s.Streams) > sessionstore.StreamsPerSession || s.Live > len(s.Streams) {
					h.Errorf("session with %d streams, %d live", len(s.Streams), s.Live)
				}
			}
			check("Drop", h.Directory.Drop(ctx, sessionID(r%sessions+1)))
			h.Directory.Len()
		}
	})
	wg.Wait()
	if n := h.Directory.Len(); n > bound {
		h.Errorf("%d sessions, bound %d", n, bound)
	}
	if len(numbers) != clients*rounds {
		h.Errorf("%d numbers for %d streams", len(numbers), clients*rounds)
	}
}
