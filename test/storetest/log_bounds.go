package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/sessionstore"
)

func logEvents(h *harness) {
	k := logged(1, 1)
	k.Log.Events = 5
	l, _ := h.claimKey(k)
	for i := range 4 {
		h.append(l, record(i+1, fmt.Sprint(i+1)))
	}
	h.wantAfter(at(l, 0), 1, 2, 3, 4)
	h.append(l, record(5, "5"), record(6, "6"), record(7, "7"))
	h.wantAfterFails(at(l, 0), sessionstore.ErrTruncated)
	h.wantAfterFails(at(l, 1), sessionstore.ErrTruncated)
	h.wantAfter(at(l, 2), 3, 4, 5, 6, 7)
	var many []sessionstore.Record
	for i := range 12 {
		many = append(many, record(i+8, fmt.Sprint(i+8)))
	}
	h.append(l, many...)
	h.wantAfter(at(l, 14), 15, 16, 17, 18, 19)
	h.wantAfterFails(at(l, 13), sessionstore.ErrTruncated)
	h.wantSeek(k.Line, "16", at(l, 16))
	h.wantSeekFails(k.Line, "3", sessionstore.ErrTruncated)
}

func logBytes(h *harness) {
	k := logged(1, 1)
	k.Log.Bytes = 1000
	l, _ := h.claimKey(k)
	for i := range 10 {
		h.append(l, sized(i+1, 100))
	}
	h.wantAfter(at(l, 0), count(1, 10)...)
	h.append(l, sized(11, 101))
	h.wantAfterFails(at(l, 1), sessionstore.ErrTruncated)
	h.wantAfter(at(l, 2), count(3, 11)...)
	h.append(l, sized(12, 1000))
	h.wantAfter(at(l, 11), 12)
	h.wantAfterFails(at(l, 10), sessionstore.ErrTruncated)

	// What does not fit at all is given up at once. The stream goes on.
	h.append(l, sized(13, 1001))
	h.wantAfterFails(at(l, 12), sessionstore.ErrTruncated)
	h.wantAfter(at(l, 13))
	h.append(l, sized(14, 100))
	h.wantAfter(at(l, 13), 14)
	h.wantEqual("bytes", h.session(1).Streams[0].Log.Bytes, 100)
}

func logExpires(h *harness) {
	k := logged(1, 1)
	k.Log.TTL = time.Minute
	l, _ := h.claimKey(k)
	h.append(l, record(1, "a"))
	h.Wait(30 * time.Second)
	h.append(l, record(2, "b"))
	h.Wait(30*time.Second - time.Millisecond)
	h.wantAfter(at(l, 0), 1, 2)
	h.Wait(time.Millisecond)
	h.wantAfterFails(at(l, 0), sessionstore.ErrTruncated)
	h.wantAfter(at(l, 1), 2)
	h.append(l, record(3, "c"))
	h.release(l)
	h.Wait(30 * time.Second)
	h.wantSeek(k.Line, "b", at(l, 2))
	h.Wait(30 * time.Second)
	h.wantSeekFails(k.Line, "b", sessionstore.ErrTruncated)
	h.wantSeek(k.Line, "c", at(l, 3)) // nothing follows it
	h.wantAfter(at(l, 3))
	h.wantEqual("log", h.session(1).Streams[0].Log, sessionstore.LogInfo{Oldest: 4, Newest: 3})
}

// logMemory has many logs, none of which is at its own bound. The bound of them all
// holds even where nothing can be written. What is in the logs then is only certain if
// the store gets to writing, for it gives up what it could not write in time.
func logMemory(h *harness) {
	const bound = 256 << 10
	var leases []sessionstore.Lease
	for i := range 20 {
		l, _ := h.claimKey(logged(i+1, 1))
		leases = append(leases, l)
	}
	newest, _ := h.claimKey(logged(30, 1))
	for seq := 1; seq <= 100; seq++ {
		for _, l := range leases {
			h.append(l, sized(seq, 1000))
			if seq > 80 {
				h.flush()
			}
		}
		h.append(newest, sized(seq, 100))
		if held := h.Directory.LogBytes(); held > bound {
			h.Fatalf("%d bytes held, at most %d are allowed", held, bound)
		}
	}
	if held := h.Directory.LogBytes(); held < bound/2 {
		h.Errorf("%d bytes held, of %d: more given up than had to be", held, bound)
	}
	for _, l := range append(leases, newest) {
		h.wantHeld(l)
		h.wantAfter(at(l, 99), 100) // the newest of each is there
		page := h.after(at(l, 100), sessionstore.PageLimits{})
		if page.Oldest > 1 {
			h.wantAfterFails(at(l, int(page.Oldest)-2), sessionstore.ErrTruncated)
		}
		h.wantAfter(at(l, int(page.Oldest)-1), count(int(page.Oldest), 100)...)
	}
	h.append(newest, sized(101, 2*bound)) // its own bound is larger, the store's is not
	if held := h.Directory.LogBytes(); held > bound {
		h.Errorf("%d bytes held, at most %d are allowed", held, bound)
	}
	h.wantAfter(at(newest, 101))
	for i := range leases {
		h.drop(i + 1)
	}
	h.drop(30)
	if held := h.Directory.LogBytes(); held != 0 {
		h.Errorf("%d bytes held by nobody", held)
	}
}

func logHole(h *harness) {
	l, _ := h.claimKey(logged(1, 1))
	h.appendIDs(l, 1, "a", "b")
	h.append(l, record(5, "e"))
	h.wantAfterFails(at(l, 0), sessionstore.ErrTruncated)
	h.wantAfterFails(at(l, 2), sessionstore.ErrTruncated)
	h.wantAfter(at(l, 4), 5) // who has 4 misses nothing
	h.wantSeekFails(l.Line, "a", sessionstore.ErrTruncated)
	h.wantSeekFails(l.Line, "b", sessionstore.ErrTruncated)
	h.wantSeekFails(l.Line, "e", sessionstore.ErrTruncated) // 3 or 4 may have had it

	ctx := context.Background()
	for _, wrong := range [][]sessionstore.Record{
		{record(5, "x")},
		{record(4, "x")},
		{record(6, "x"), record(8, "x")},
		{record(6, "x"), record(6, "x")},
	} {
		err := h.Log.Append(ctx, l, time.Time{}, wrong)
		if err == nil || errors.Is(err, sessionstore.ErrFenced) {
			h.Errorf("Append of %d after 5: got %v, want an error of its own", wrong[0].Seq, err)
		}
	}
	h.wantAfter(at(l, 4), 5) // all or nothing
	h.append(l)
	h.append(l, record(6, "f"))
	h.wantAfter(at(l, 4), 5, 6)
	h.wantSeek(l.Line, "f", at(l, 6))

	begun, _ := h.claimKey(logged(2, 1)) // a stream may begin anywhere
	h.append(begun, record(41, "a"))
	h.wantAfter(at(begun, 40), 41)
	h.wantAfterFails(at(begun, 0), sessionstore.ErrTruncated)
}
