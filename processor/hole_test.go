package processor

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// lossyStore loses records when told to.
type lossyStore struct {
	*memory.Store
	lose atomic.Bool
}

func (s *lossyStore) Append(ctx context.Context, l sessionstore.Lease, now time.Time, recs []sessionstore.Record) error {
	if s.lose.Load() {
		return errors.New("disk full")
	}
	return s.Store.Append(ctx, l, now, recs)
}

// Who reads a log of which the store has lost a part gets what is before that, and no
// end that looks like the origin's. Who is served by the stream itself gets it all.
func TestLogWithAHoleDoesNotLookWhole(t *testing.T) {
	store := &lossyStore{}
	bothWays(t, keptOn, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		c := ask(h, "POST", "/chat", strings.NewReader("question"), "authorization: A")
		o.say <- data(1, 2)
		ids := c.takes(data(1, 2))
		other := ask(h, "GET", "/chat", nil, "authorization: A", "last-event-id: "+ids[0])
		other.takes(data(2, 2))

		store.lose.Store(true)
		o.say <- data(3, 3)
		c.takes(data(3, 3))
		store.lose.Store(false)
		close(o.say)
		c.wantEnd("")
		other.wantCut("")
	}, detached, func(o *Options) {
		store.Store = memory.New(memory.Options{})
		o.Store = store
	})
}

// A client that comes back with the id it came with before has nothing of what has come
// since, also of what has no id: there the same one is in force.
func TestWhatHasNoIDIsNotSkipped(t *testing.T) {
	const named = "id: 6\ndata: named\n\n"
	bothWays(t, `- {name: p, mode: hold, detach: 2m, heartbeat: 0}`, nil, func(h *holding, ask asking) {
		o := newSpeaking(h)
		c := ask(h, "GET", "/feed", nil, "authorization: A", "last-event-id: 5")
		o.say <- data(1, 1)
		c.want(data(1, 1))
		c.leave()
		h.wantOutcome("client_gone")
		o.say <- data(2, 2) + named
		synctest.Wait()
		c = ask(h, "GET", "/feed", nil, "authorization: A", "last-event-id: 5")
		c.want(data(1, 2) + named)
		if o.asks != 1 {
			t.Errorf("the origin was asked %d times", o.asks)
		}
		o.say <- data(3, 3)
		c.want(data(3, 3))
		c.leave()
		c = ask(h, "GET", "/feed", nil, "authorization: A", "last-event-id: 6")
		c.want(data(3, 3))
		close(o.say)
		c.wantEnd("")
	}, detached)
}
