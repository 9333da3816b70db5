package processor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A stream asks when it is ahead, waits when it is too far ahead of a client that
// is known to be behind, and stops asking when the client has caught up.
func TestReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r receipts
		p := newPace(1000, 1000)
		limit := p.ahead()
		if limit != 5000 {
			t.Fatalf("it may be %d bytes ahead", limit)
		}
		send := func(n int64) (reports, change bool) {
			t.Helper()
			r.sent += n
			return r.ask(limit)
		}
		r.report(77) // that nobody asked for
		if reports, change := send(1000); reports || change {
			t.Error("it asks before it is ahead")
		}
		if reports, change := send(1000); !reports || !change {
			t.Error("it does not ask although it is ahead")
		}
		if _, change := send(10_000); change {
			t.Error("it asks twice")
		}
		if err := r.wait(t.Context(), limit); err != nil || r.latest.Load().onWire.Load() != 0 {
			t.Errorf("it waits for a report that may never come: %v", err)
		}

		r.report(500)
		over := make(chan error, 1)
		go func() { over <- r.wait(t.Context(), limit) }()
		synctest.Wait()
		r.report(600)
		synctest.Wait()
		select {
		case err := <-over:
			t.Fatalf("it goes on %d bytes ahead of the client: %v", r.behind(), err)
		default:
		}
		r.report(7000) // no more than the limit is missing
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		r.report(11_900)
		if reports, change := send(10); reports || !change {
			t.Error("it asks on although the client has caught up")
		}
		if _, change := send(100); change {
			t.Error("it says so twice")
		}

		r.sent += 10_000
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 { // the first may find a report
			if err := r.wait(ctx, limit); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}

// Reports that cease to come do not stop a stream, those that tell of no progress do.
func TestReceiptsCease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r receipts
		p := newPace(1000, 1000)
		limit := p.ahead()
		r.sent = 2000
		r.ask(limit)
		r.report(1500)
		r.sent = 100_000
		over := make(chan error, 1)
		go func() { over <- r.wait(t.Context(), limit) }()
		for range 60 {
			elapse(2 * time.Second)
			r.report(1500)
		}
		select {
		case err := <-over:
			t.Fatalf("it goes on although the client reads nothing: %v", err)
		default:
		}
		elapse(receiptPatience + time.Second)
		select {
		case err := <-over:
			if err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal("it waits for ever")
		}
		if err := r.wait(t.Context(), limit); err != nil {
			t.Error(err)
		}
		r.report(99_000) // here they are again
		r.sent = 200_000
		go func() { over <- r.wait(t.Context(), limit) }()
		elapse(time.Second)
		r.report(199_000)
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

// Who sets no pace wants none.
func TestReceiptsWithoutPace(t *testing.T) {
	r := receipts{sent: 1 << 40}
	p := newPace(-1, 1000)
	limit := p.ahead()
	if reports, change := r.ask(limit); reports || change {
		t.Error("it asks")
	}
	if err := r.wait(t.Context(), limit); err != nil {
		t.Error(err)
	}
}
