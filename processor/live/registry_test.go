package live

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

type fake struct{ id ID }

func (f fake) Snapshot() Stream { return Stream{ID: f.id.String()} }

func TestPages(t *testing.T) {
	var r Registry
	rng := rand.New(rand.NewPCG(1, 2))
	var want []string
	for range 1000 {
		id := ID(rng.Uint64())
		if !r.Add(id, fake{id}) {
			t.Fatalf("%v refused", id)
		}
		want = append(want, id.String())
	}
	slices.Sort(want)
	if r.Len() != len(want) {
		t.Errorf("Len is %d, want %d", r.Len(), len(want))
	}
	var got []string
	for after := ID(0); ; {
		page := r.Snapshot(after, 7)
		for _, s := range page {
			got = append(got, s.ID)
		}
		if len(page) < 7 {
			break
		}
		var err error
		if after, err = ParseID(page[6].ID); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the pages do not make the whole: %d streams of %d, or out of order", len(got), len(want))
	}
	n := 0
	r.Each(func(ID, Source) { n++ })
	if n != len(want) {
		t.Errorf("Each saw %d streams, want %d", n, len(want))
	}
}

func TestAddTwice(t *testing.T) {
	var r Registry
	if !r.Add(5, fake{5}) || r.Add(5, fake{5}) {
		t.Error("an ID was given twice, or not at all")
	}
	if r.Get(5) == nil || r.Get(6) != nil {
		t.Error("Get finds the wrong ones")
	}
	r.Remove(5)
	r.Remove(5)
	if r.Get(5) != nil || r.Len() != 0 || !r.Add(5, fake{5}) {
		t.Error("a removed stream is still there")
	}
}

// blocked is a stream whose Snapshot waits until others have come and gone.
type blocked struct{ until <-chan struct{} }

func (b blocked) Snapshot() Stream { <-b.until; return Stream{} }

func TestSnapshotHoldsNoLock(t *testing.T) {
	var r Registry
	until := make(chan struct{})
	r.Add(1, blocked{until})
	var wg sync.WaitGroup
	wg.Go(func() { r.Snapshot(0, 10) })
	for id := ID(2); id < 1000; id++ { // the same shard
		r.Add(id, fake{id})
		r.Remove(id)
	}
	close(until)
	wg.Wait()
}
