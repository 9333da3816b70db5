package processor

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/processor/keyfile"
	"holdfast/processor/seal"
	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// replica is a store as the processes see it that did not begin a stream.
type replica struct {
	*memory.Store
	died *atomic.Bool // the process that writes
	lag  *atomic.Uint64
	read *atomic.Int64 // times that somebody said so
	took *atomic.Bool  // what is in the store is this replica's now
}

func (r replica) After(ctx context.Context, p sessionstore.Position, l sessionstore.PageLimits) (sessionstore.Page, error) {
	page, err := r.Store.After(ctx, p, l)
	if p.Seq > page.Newest-min(page.Newest, r.lag.Load()) && err == nil && r.lag.Load() > 0 {
		return sessionstore.Page{}, sessionstore.ErrAhead
	}
	page.Changed, page.Orphaned = nil, page.Live && r.died.Load() && !r.took.Load()
	return page, err
}

func (r replica) Takeover(ctx context.Context, p sessionstore.Position) (sessionstore.Lease, sessionstore.Stream, error) {
	r.took.Store(true)
	return r.Store.Takeover(ctx, p)
}

func (r replica) Attend(context.Context, sessionstore.Position) error {
	r.read.Add(1)
	return nil
}

func (r replica) Attended(context.Context, sessionstore.Lease) (bool, error) { return false, nil }

// writing is the store of the process that writes.
type writing struct {
	*memory.Store
	read *atomic.Int64
}

func (w writing) Attend(context.Context, sessionstore.Position) error { return nil }

func (w writing) Attended(context.Context, sessionstore.Lease) (bool, error) {
	return w.read.Swap(0) > 0, nil
}

// replicas are two processes that share a store: a begins a stream, whose client comes
// back to b.
type replicas struct {
	a, b *holding
	o    *speaking
	replica
}

// inReplicas runs f in a bubble.
func inReplicas(t *testing.T, policies string, f func(r *replicas)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sealer, err := seal.New([][]byte{keyfile.New()})
		if err != nil {
			t.Fatal(err)
		}
		r := &replicas{replica: replica{memory.New(memory.Options{}), new(atomic.Bool), new(atomic.Uint64), new(atomic.Int64), new(atomic.Bool)}}
		options := func(s sessionstore.Store) func(o *Options) {
			return func(o *Options) { o.Detached, o.Sealer, o.Store = 2, sealer, s }
		}
		r.a = newHolding(t, policies, nil, options(writing{r.Store, r.read}))
		defer r.a.close()
		r.b = newHolding(t, policies, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }, options(r.replica))
		defer r.b.close()
		r.o = newSpeaking(r.a)
		f(r)
	})
}

// A stream that goes on in another process is followed there until its end.
func TestFollowedInAnotherProcess(t *testing.T) {
	inReplicas(t, keptOn, func(r *replicas) {
		c := r.a.ask("POST", "/chat", strings.NewReader("question"))
		r.o.say <- data(1, 3)
		ids := c.takes(data(1, 3))
		c.leave()

		r.lag.Store(1) // what the client has had last is stored a little later
		time.AfterFunc(300*time.Millisecond, func() { r.lag.Store(0) })
		c = r.b.ask("GET", "/chat", nil, "last-event-id: "+ids[2])
		r.o.say <- data(4, 4)
		ids = c.takes(data(4, 4))
		// For as long as somebody follows, the stream goes on.
		elapse(5 * time.Minute)
		r.o.say <- data(5, 5)
		c.takes(data(5, 5))
		other := r.b.ask("GET", "/chat", nil, "last-event-id: "+ids[0])
		other.takes(data(5, 5))
		other.leave()
		close(r.o.say)
		c.wantEnd("")
		if r.o.asks != 1 {
			t.Errorf("the origin was asked %d times", r.o.asks)
		}
		r.b.wantMetric(0, "streams_active", "hold")
	})
}

// Nobody follows any more.
func TestFollowedNoMore(t *testing.T) {
	inReplicas(t, keptOn, func(r *replicas) {
		c := r.a.ask("POST", "/chat", strings.NewReader("question"))
		r.o.say <- data(1, 1)
		ids := c.takes(data(1, 1))
		c.leave()
		elapse(time.Minute)
		c = r.b.ask("GET", "/chat", nil, "last-event-id: "+ids[0])
		elapse(2 * time.Minute)
		c.leave()
		elapse(sessionstore.ReaderLife + 2*time.Minute)
		<-r.o.gone
		r.a.wantMetric(0, "streams_active", "hold")
	})
}

// A stream whose process has died is taken over: what is stored is all there is, its
// end is a cut, and who is taken over writes no more.
func TestInherited(t *testing.T) {
	inReplicas(t, keptOn, func(r *replicas) {
		c := r.a.ask("POST", "/chat", strings.NewReader("question"))
		r.o.say <- data(1, 3)
		ids := c.takes(data(1, 3))
		c.leave()
		c = r.b.ask("GET", "/chat", nil, "last-event-id: "+ids[0])
		c.takes(data(2, 3))
		elapse(4 * time.Second)
		r.died.Store(true)
		c.wantCut("")
		r.b.wantOutcome("cut")
		r.b.wantMetric(1, "store_operations_total", "takeover", "ok")

		// It was only held up, and has nobody to write for.
		r.o.say <- data(4, 4)
		<-r.o.gone
		r.a.wantMetric(0, "streams_active", "hold")

		c = r.b.ask("GET", "/chat", nil, "last-event-id: "+ids[1])
		c.takes(data(3, 3))
		c.wantCut("")
		if c = r.b.ask("GET", "/chat", nil, "last-event-id: "+ids[2]); c.StatusCode != http.StatusTeapot {
			t.Errorf("who has all there is got status %d", c.StatusCode)
		}
	})
}

// Where the origin can be asked for the rest, it is, as soon as its process has died.
func TestInheritedByTheOrigin(t *testing.T) {
	inReplicas(t, `- {name: p, mode: hold, ids: sealed, heartbeat: 0}`, func(r *replicas) {
		header := []string{"mcp-protocol-version: 2025-11-25", "mcp-session-id: s"}
		c := r.a.ask("POST", "/mcp", strings.NewReader("{}"), header...)
		r.o.say <- ev(1, 2)
		ids := c.takes(data(1, 2))
		c.leave()
		synctest.Wait()
		r.died.Store(true)
		r.b.serve = func(w http.ResponseWriter, q *http.Request) {
			if q.Method != http.MethodGet || q.Header.Get("Last-Event-Id") != "1" {
				t.Errorf("%s %v", q.Method, q.Header)
			}
			beginEvents(w)
			say(w, "%s", ev(2, 3))
			<-q.Context().Done()
		}
		c = r.b.ask("GET", "/mcp", nil, append(header, "last-event-id: "+ids[0])...)
		c.takes(data(2, 3))
		c.leave()
		elapse(2 * mcpDetach)
		<-r.o.gone
	})
}
