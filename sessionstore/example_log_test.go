package sessionstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// A client that comes back with an event ID reads what it missed, and then what the
// stream still brings, by asking for page after page.
func ExampleLog() {
	ctx := context.Background()
	store := memory.New(memory.Options{})
	session, line := sessionstore.SessionID{1}, sessionstore.LineID{1}
	lease, _, _ := store.Claim(ctx, sessionstore.Key{
		Session: session, Line: line, Log: sessionstore.LogLimits{Events: 1000},
	})
	send := func(seq uint64, id, data string) {
		_ = store.Append(ctx, lease, time.Now(), []sessionstore.Record{
			{Seq: seq, ID: []byte(id), Wire: []byte("id: " + id + "\ndata: " + data + "\n\n")},
		})
	}
	send(1, "a", "one")
	send(2, "b", "two")
	send(3, "c", "three")

	at, _ := store.Seek(ctx, session, line, "b")
	for {
		page, err := store.After(ctx, at, sessionstore.PageLimits{})
		if err != nil {
			fmt.Println(err) // ErrTruncated: there would be a gap
			return
		}
		for _, r := range page.Records {
			fmt.Printf("%d %q\n", r.Seq, r.Wire)
			at.Seq, at.Token = r.Seq, page.Token
		}
		switch {
		case page.More:
		case page.End == sessionstore.EndComplete:
			fmt.Println("the end")
			return
		case page.Changed == nil:
			return // another process's, or nobody's
		default:
			// The stream goes on; here, because somebody has it do so.
			if at.Seq == 3 {
				send(4, "d", "four")
			} else {
				_ = store.Finish(ctx, lease, sessionstore.EndComplete)
			}
			<-page.Changed
		}
	}
	// Output:
	// 3 "id: c\ndata: three\n\n"
	// 4 "id: d\ndata: four\n\n"
	// the end
}

// Who takes a stream over is the only one who writes it. The process that had it may
// have been paused for an hour, and learns so at its next write.
func ExampleLog_takeover() {
	ctx := context.Background()
	store := memory.New(memory.Options{})
	key := sessionstore.Key{Session: sessionstore.SessionID{1}, Log: sessionstore.LogLimits{Events: 1000}}
	paused, _, _ := store.Claim(ctx, key)
	record := func(seq uint64, by string) []sessionstore.Record {
		return []sessionstore.Record{{Seq: seq, Wire: []byte("data: by the " + by + "\n\n")}}
	}
	_ = store.Append(ctx, paused, time.Now(), record(1, "first"))

	place := sessionstore.Position{Session: key.Session, Line: key.Line, Number: paused.Number}
	lease, known, _ := store.Takeover(ctx, place)
	_ = store.Append(ctx, lease, time.Now(), record(known.Log.Newest+1, "second"))

	err := store.Append(ctx, paused, time.Now(), record(2, "first"))
	fmt.Println(errors.Is(err, sessionstore.ErrFenced))
	page, _ := store.After(ctx, place, sessionstore.PageLimits{})
	for _, r := range page.Records {
		fmt.Printf("%d %q\n", r.Seq, r.Wire)
	}
	// Output:
	// true
	// 1 "data: by the first\n\n"
	// 2 "data: by the second\n\n"
}

// An operator sees sessions in pages, without what only machines read.
func ExampleDirectory() {
	ctx := context.Background()
	store := memory.New(memory.Options{Sessions: 1000})
	for n := range 3 {
		lease, _, _ := store.Claim(ctx, sessionstore.Key{
			Session: sessionstore.SessionID{byte(n + 1)}, Info: sessionstore.Info{Policy: "default", Principal: "8a1f"},
		})
		_ = store.Advance(ctx, lease, sessionstore.Progress{LastSent: []byte("41"), Seen: []uint64{7}, Events: uint64(n)})
	}

	var after sessionstore.SessionID
	for {
		page, _ := store.Sessions(ctx, after, 2)
		for _, s := range page {
			fmt.Printf("%s %s, live streams %d, events %d, window %d\n",
				s.Info.Policy, s.Info.Principal, s.Live, s.Streams[0].State.Events, s.Streams[0].Tracked)
			after = s.ID
		}
		if len(page) < 2 {
			break
		}
	}
	_ = store.Drop(ctx, after)
	fmt.Println(store.Len(), "left")
	// Output:
	// default 8a1f, live streams 1, events 0, window 1
	// default 8a1f, live streams 1, events 1, window 1
	// default 8a1f, live streams 1, events 2, window 1
	// 2 left
}
