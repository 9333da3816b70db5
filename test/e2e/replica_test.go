package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/test/harness"
	"holdfast/test/redistest"
)

// replicas starts processors, each with an Envoy of its own, that share a Redis and a
// key.
func replicas(t *testing.T, origin *harness.Origin, policies string) (another func(t *testing.T) *harness.Standalone) {
	t.Helper()
	server := redistest.Start(t)
	keys := harness.WriteFile(t, "keys", strings.Repeat("k", 40)+"\n")
	return func(t *testing.T) *harness.Standalone {
		t.Helper()
		s := harness.Serve(t, origin.URL, fmt.Sprintf(
			"fetch: {url: \"http://%s\"}\nrelay: {listen: %q}\nseal: {key_file: %q}\nstore: {kind: redis, url: %q}\n%s",
			harness.FreeAddress(t), harness.FreeAddress(t), keys, server.URL(), policies))
		proveImmediate(t, origin, s.Open, func() bool { return s.Metric(t, "holdfast_streams_active") == 0 })
		return s
	}
}

// TestAnotherReplica: the answer to a POST, as language models give it, without any
// ids. Its client loses its connection, or its processor is killed, or both, and comes
// back to another replica: it goes on where it was for as long as there is somebody who
// has the stream, and else gets all that was kept, and is told that it is not all.
func TestAnotherReplica(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	another := replicas(t, origin, kept)
	b := another(t)
	for _, prefix := range []string{"/chat", "/direct"} {
		ask := func(t *testing.T) (a *harness.Standalone, path string, s *harness.Stream, x *harness.Exchange) {
			a = another(t)
			path = origin.Path(prefix)
			s = a.Open(t, path, harness.Request{Method: http.MethodPost, Body: `{"stream":true}`})
			x = origin.Accept(t, path)
			x.Stream("x-model", "m")
			x.Send(bare(1, 3))
			return a, path, s, x
		}
		t.Run(prefix[1:]+", network cut", func(t *testing.T) {
			a, path, s, x := ask(t)
			ids := takeSealed(t, s, "event 3", bare(1, 3))
			s.Close()
			s = b.Get(t, path, "last-event-id", ids[0])
			if got := s.Response(t).Header.Get("x-model"); got != "m" {
				t.Errorf("x-model is %q", got)
			}
			takeSealed(t, s, "event 3", bare(2, 3))
			x.Send(bare(4, 6))
			ids = takeSealed(t, s, "event 6", bare(4, 6))

			// And to the first again, which has it.
			s.Close()
			s = a.Get(t, path, "last-event-id", ids[1])
			takeSealed(t, s, "event 6", bare(6, 6))
			x.Send("data: [DONE]\n\n")
			x.End()
			takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")
			s.WantEnd(t)
			s = b.Get(t, path, "last-event-id", ids[2])
			takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")
			s.WantEnd(t)
			if n := len(origin.Requests(path)); n != 1 {
				t.Errorf("the origin was asked %d times", n)
			}
		})
		for name, leaves := range map[string]bool{"processor killed": false, "both": true} {
			t.Run(prefix[1:]+", "+name, func(t *testing.T) {
				a, path, s, x := ask(t)
				ids := takeSealed(t, s, "event 3", bare(1, 3))
				if leaves {
					s.Close()
					s = b.Get(t, path, "last-event-id", ids[0])
					takeSealed(t, s, "event 3", bare(2, 3))
					x.Send(bare(4, 4))
					takeSealed(t, s, "event 4", bare(4, 4))
					a.KillProcessor(t)
				} else {
					// It is stored as soon as another replica can see it.
					other := b.Get(t, path, "last-event-id", ids[0])
					takeSealed(t, other, "event 3", bare(2, 3))
					other.Close()
					a.KillProcessor(t)
					s.WantAbort(t)
					s = b.Get(t, path, "last-event-id", ids[0])
					takeSealed(t, s, "event 3", bare(2, 3))
				}
				x.WantGone(t)
				s.WantAbort(t)
				// Whoever comes later is told at once.
				s = b.Get(t, path, "last-event-id", ids[1])
				takeSealed(t, s, map[bool]string{false: "event 3", true: "event 4"}[leaves], bare(3, map[bool]int{false: 3, true: 4}[leaves]))
				s.WantAbort(t)
				if n := len(origin.Requests(path)); n != 1 {
					t.Errorf("the origin was asked %d times", n)
				}
			})
		}
	}
	t.Run("an origin that can be asked", func(t *testing.T) {
		a := another(t)
		path := origin.Path("/chat")
		s := a.Get(t, path)
		x := origin.Accept(t, path)
		x.Stream()
		x.Send(events(1, 3))
		ids := takeSealed(t, s, "event 3", bare(1, 3))
		a.KillProcessor(t)
		s.WantAbort(t)
		s = b.Get(t, path, "last-event-id", ids[2])
		x = resumed(t, origin, path, "3")
		x.Stream()
		x.Send(events(4, 5) + "data: [DONE]\n\n")
		x.End()
		takeSealed(t, s, "event 5", bare(4, 5))
		takeSealed(t, s, "[DONE]", "data: [DONE]\n\n")
		s.WantEnd(t)
	})
	b.Stop(t)
}

// TestDrainsLoseNothing: one replica after the other is told to end while clients read.
// Each client is sent away between two events, goes on at the next replica, and gets
// every event once.
func TestDrainsLoseNothing(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	path := origin.Handle("", func(x *harness.Exchange) {
		n, _ := strconv.Atoi(x.Request.Header.Get("last-event-id"))
		x.Stream()
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			n++
			x.Send(events(n, n))
			select {
			case <-x.Gone():
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	})
	another := replicas(t, origin, "drain: {deadline: 5s, spread: 100ms}\npolicies:\n- {name: p, mode: hold, ids: sealed, heartbeat: 150ms}\n- {name: proof, match: {path_prefix: /proof/}, mode: hold, via: immediate, heartbeat: 150ms}\n")
	now := another(t)
	var target atomic.Pointer[string]
	target.Store(&now.URL)
	const clients, drains = 8, 4
	readers := make([]follower, clients)
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() { readers[i].follow(ctx, func() string { return *target.Load() + path }) })
	}
	for range drains {
		next := another(t)
		var had [clients]int64
		for i := range readers {
			had[i] = readers[i].got.Load()
		}
		target.Store(&next.URL)
		now.Processor.Signal(syscall.SIGTERM)
		if code := now.Processor.Wait(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		harness.Eventually(t, "every client to go on", func() bool {
			for i := range readers {
				if readers[i].got.Load() < had[i]+20 {
					return false
				}
			}
			return true
		})
		now = next
	}
	stop()
	all.Wait()
	for i := range readers {
		if r := &readers[i]; r.fault != "" || r.away != drains || r.broken > 0 {
			t.Errorf("client %d: %s, sent away %d times of %d, cut off %d times", i, r.fault, r.away, drains, r.broken)
		}
	}
}

// follower is a client that comes back with the last id that it has got.
type follower struct {
	got    atomic.Int64 // events
	fault  string       // the first event that came out of turn
	away   int          // ends with a word of when to come back
	broken int          // and others
}

func (f *follower) follow(ctx context.Context, url func() string) {
	last := ""
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url(), http.NoBody)
		if err != nil {
			f.fault = err.Error()
			return
		}
		r.Header.Set("Accept", "text/event-stream")
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			continue
		}
		last = f.read(ctx, res.Body, last)
		_ = res.Body.Close()
	}
}

// read takes events until the end, and returns the last id.
func (f *follower) read(ctx context.Context, body io.Reader, last string) string {
	var id, data string
	away := false
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "id":
			id = value
		case name == "data":
			data = value
		case name == "retry":
			away = true
		case name == "" && data != "":
			if want := fmt.Sprint("event ", f.got.Load()+1); data != want && f.fault == "" {
				f.fault = fmt.Sprintf("got %q, want %q", data, want)
			}
			f.got.Add(1)
			last, data = id, ""
		}
	}
	switch {
	case ctx.Err() != nil:
	case away && lines.Err() == nil:
		f.away++
	default:
		f.broken++
	}
	return last
}
