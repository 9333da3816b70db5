package storetest

import (
	"context"
	"errors"
	"time"

	"holdfast/sessionstore"
)

func takesOver(h *harness) {
	k := logged(1, 1)
	first, _ := h.claimKey(k)
	h.save(first, sessionstore.State{LastSent: "b", Window: []uint64{1, 2}, Key: [2]uint64{3, 4}})
	h.appendIDs(first, 1, "a", "b")
	second, known := h.takeover(at(first, 0))
	h.wantEqual("state", known.State, sessionstore.State{LastSent: "b", Window: []uint64{1, 2}, Key: [2]uint64{3, 4}})
	h.wantEqual("lease of the one before", known.Lease, first)
	if second.Number != first.Number || second.Token <= first.Token {
		h.Errorf("lease %+v after %+v: want the same stream and a greater token", second, first)
	}
	h.wantFenced(first)
	h.append(second, record(3, "c"))
	h.wantHeld(second)
	h.wantEqual("live", h.session(1).Live, 1)
	h.wantAfter(at(first, 2), 3)
	h.wantAfter(at(second, 0), 1, 2, 3)
	h.wantSeek(k.Line, "b", at(first, 2))
	h.wantSeek(k.Line, "c", at(second, 3))

	// An ended stream comes to life again, and keeps its session from expiring.
	h.release(second)
	h.Wait(59 * time.Minute)
	third, _ := h.takeover(at(first, 0))
	h.wantFenced(second)
	h.wantHeld(third)
	h.Wait(24 * time.Hour)
	h.wantHeld(third)
	h.wantEqual("live", h.session(1).Live, 1)
	for _, wrong := range []sessionstore.Position{
		{Session: sessionID(2), Line: first.Line, Number: first.Number},
		{Session: first.Session, Line: lineID(2), Number: first.Number},
		{Session: first.Session, Line: first.Line, Number: first.Number + 1},
	} {
		if _, _, err := h.Log.Takeover(context.Background(), wrong); !errors.Is(err, sessionstore.ErrNotFound) {
			h.Errorf("Takeover: got %v, want ErrNotFound", err)
		}
	}
}

// aheadOfLog: the first writer sent its client 1 to 4 and lost its lease, or died,
// when 1 and 2 were stored.
func aheadOfLog(h *harness) {
	first, _ := h.claimKey(logged(1, 1))
	h.appendIDs(first, 1, "a", "b")
	h.wantAfterFails(at(first, 4), sessionstore.ErrAhead)
	second, _ := h.takeover(at(first, 4))
	h.wantAfterFails(at(first, 4), sessionstore.ErrAhead)
	h.wantAfter(at(first, 2))

	// The one after it made something else of 3 and 4.
	h.appendIDs(second, 3, "x", "y", "z")
	h.wantAfterFails(at(first, 3), sessionstore.ErrAhead)
	h.wantAfterFails(at(first, 4), sessionstore.ErrAhead)
	h.wantAfter(at(first, 2), 3, 4, 5)
	h.wantAfter(at(second, 3), 4, 5)
	unknown := at(first, 3)
	unknown.Token = 0
	h.wantAfter(unknown, 4, 5)

	// Or it goes on where the client is.
	k := logged(2, 1)
	third, _ := h.claimKey(k)
	h.appendIDs(third, 1, "a", "b")
	fourth, _ := h.takeover(at(third, 4))
	h.append(fourth, record(5, "e"))
	h.wantAfter(at(third, 4), 5)
	h.wantAfterFails(at(third, 2), sessionstore.ErrTruncated)
	h.wantAfterFails(at(third, 5), sessionstore.ErrAhead)
}
