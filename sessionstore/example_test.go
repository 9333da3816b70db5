package sessionstore_test

import (
	"context"
	"fmt"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// A client's stream breaks, and it comes back: the new stream finds what the
// earlier one knew, up to its last Advance.
func Example() {
	ctx := context.Background()
	store := memory.New(memory.Options{Sessions: 1000})
	key := sessionstore.Key{
		Session: sessionstore.SessionID{1},
		Line:    sessionstore.LineID{1},
		Info:    sessionstore.Info{Policy: "default"},
	}

	lease, _, _ := store.Claim(ctx, key)
	_ = store.Save(ctx, lease, &sessionstore.State{Key: [2]uint64{7, 8}})
	_ = store.Advance(ctx, lease, sessionstore.Progress{LastSent: []byte("41"), Seen: []uint64{0xa1}, Events: 1})
	_ = store.Advance(ctx, lease, sessionstore.Progress{LastSent: []byte("42"), Seen: []uint64{0xa2}, Events: 2})

	// The old stream has not ended, as far as anybody knows.
	again, earlier, _ := store.Claim(ctx, key)
	state := earlier[0].State
	fmt.Printf("last sent %s, live %t, window %x\n", state.LastSent, earlier[0].Live, state.Window)

	state.Continues = earlier[0].Lease.Number
	_ = store.Save(ctx, again, &state)

	// An operator drops the session: its streams are told at their next write.
	_ = store.Drop(ctx, key.Session)
	fmt.Println(store.Advance(ctx, again, sessionstore.Progress{}))
	// Output:
	// last sent 42, live true, window [a1 a2]
	// sessionstore: lease lost
}
