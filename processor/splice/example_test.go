package splice_test

import (
	"fmt"
	"time"

	"holdfast/processor/splice"
)

// A driver takes in facts, and carries out what comes back.
func ExampleMachine() {
	policy := &splice.Policy{Heartbeat: 15 * time.Second}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := splice.New(now, policy, splice.Start{Seed: 1, Repeatable: true})

	step := func(in splice.Input) {
		rd := m.Step(now, in)
		fmt.Printf("%q", rd.ToClient)
		for _, c := range rd.Commands {
			if c, ok := c.(splice.Close); ok {
				fmt.Printf(" close %v", c.Outcome)
			}
		}
		fmt.Println()
	}
	step(splice.Opened{Status: 200, EventType: true})
	step(splice.Chunk{Bytes: []byte("id: 1\ndata: one\n\nid: 2\ndata: t")})
	step(splice.Chunk{Bytes: []byte("wo\n\n")})
	now = now.Add(15 * time.Second)
	step(splice.Tick{})
	step(splice.Gone{})

	// Output:
	// ""
	// "id: 1\ndata: one\n\n"
	// "id: 2\ndata: two\n\n"
	// ": keep-alive\n\n"
	// "" close client_gone
}

// The client returns with the id of the last event it got; the origin starts a
// little earlier.
func ExampleStart() {
	policy := &splice.Policy{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first := splice.New(now, policy, splice.Start{Seed: 1})
	first.Step(now, splice.Chunk{Bytes: []byte("id: 1\ndata: one\n\nid: 2\ndata: two\n\nid: 3\ndata: three\n\n")})
	earlier := first.State()

	fmt.Println("knows event 2:", policy.Remembers(&earlier, "2"))
	again := splice.New(now, policy, splice.Start{Seed: 2, HasCursor: true, LastEventID: "2", Earlier: earlier})
	rd := again.Step(now, splice.Chunk{Bytes: []byte("id: 1\ndata: one\n\nid: 2\ndata: two\n\nid: 3\ndata: three\n\n")})
	fmt.Printf("%q\n", rd.ToClient)
	fmt.Println("dropped:", again.Counts().Duplicates)

	// Output:
	// knows event 2: true
	// "id: 3\ndata: three\n\n"
	// dropped: 2
}
