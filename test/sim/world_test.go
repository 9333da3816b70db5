package sim

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"holdfast/processor"
	"holdfast/processor/config"
	"holdfast/processor/seal"
	"holdfast/sessionstore/memory"
)

// world is everything that runs in one bubble.
type world struct {
	s     *schedule
	start time.Time
	ctx   context.Context
	stop  context.CancelFunc

	origin *origin
	envoy  *envoy
	sealer *seal.Sealer // all processes have one key

	stopped  atomic.Bool // the processor is gone
	reloaded atomic.Bool // the feeds' second policies hold

	mu     sync.Mutex
	procs  []*process
	visits []*visiting
	drain  atomic.Int64 // when it was asked for, a time.Duration; 0: it was not
	faults []fault
	script []line // nil: nobody wants to read it
	told   map[*visiting]int
}

// line is one of the transcript.
type line struct {
	at   time.Duration
	who  string
	what string
}

// result is what came of a run.
type result struct {
	faults []fault
	script []line
	stats  stats
}

// fault is something that must not be.
type fault struct {
	kind string // what, in words that are the same in each run
	text string // and the whole of it
}

// stats are what a run was like, to see that runs are worth something.
type stats struct {
	visits, attempts, events int
	outcomes                 map[string]int
	virtual                  time.Duration
}

// run plays a schedule in a bubble of its own.
func run(t *testing.T, s *schedule, script bool) (res result) {
	var w *world
	defer func() {
		// What is wrong with the bubble is known when it ends.
		if p := recover(); p != nil {
			res.faults = append(res.faults, fault{fmt.Sprint(p), fmt.Sprintf("%v\n%s", p, remains())})
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w = newWorld(s, script)
		w.play()
		w.close()
		res = result{faults: w.faults, script: w.script, stats: w.stats()}
	})
	return res
}

// remains are the goroutines that a bubble has left behind.
func remains() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if head, _, _ := strings.Cut(g, "\n"); strings.Contains(head, "synctest bubble") && strings.Contains(head, "durable") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

func newWorld(s *schedule, script bool) *world {
	w := &world{s: s, start: time.Now(), told: map[*visiting]int{}}
	if script {
		w.script = []line{}
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.sealer = must(seal.New([][]byte{bytes.Repeat([]byte{7}, 32)}))
	w.origin = newOrigin(w)
	w.procs = []*process{w.newProcess(memory.New(memory.Options{}))}
	conn := must(grpc.NewClient("passthrough:memory",
		grpc.WithContextDialer(w.dialExt), grpc.WithTransportCredentials(insecure.NewCredentials())))
	w.envoy = &envoy{
		w: w, ext: extproc.NewExternalProcessorClient(conn), logs: accesslog.NewAccessLogServiceClient(conn),
		relay: transport(w.dialRelay), upstream: transport(w.origin.dial),
	}
	context.AfterFunc(w.ctx, func() {
		w.envoy.relay.CloseIdleConnections()
		w.envoy.upstream.CloseIdleConnections()
		_ = conn.Close()
		w.alive().stop()
		_ = w.origin.http.Close()
	})
	return w
}

// policies are those of the feeds.
func (w *world) policies() *config.Policies {
	cfg := config.Default()
	cfg.Fetch.URL, cfg.Relay.Listen = "unix:/loop", "unix:/relay"
	cfg.Limits = w.s.Limits
	cfg.Policies = nil
	for i := range w.s.Feeds {
		cfg.Policies = append(cfg.Policies, *w.policy(&w.s.Feeds[i]))
	}
	return must(cfg.Compile())
}

// policy is the one of a feed that holds at present.
func (w *world) policy(f *feed) *config.PolicyConfig {
	if w.reloaded.Load() {
		return &f.Later
	}
	return &f.Policy
}

func (w *world) now() time.Duration { return time.Since(w.start) }

func (w *world) drained() time.Duration { return time.Duration(w.drain.Load()) }

// fail takes down a fault.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what := fmt.Sprintf(format, args...)
	w.faults = append(w.faults, fault{format, fmt.Sprintf("at %v: %s", w.now(), what)})
	w.write("FAULT", what)
}

// note is for the transcript.
func (w *world) note(who, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.script == nil {
		return
	}
	w.write(who, fmt.Sprintf(format, args...))
}

func (w *world) write(who, what string) {
	if w.script != nil {
		w.script = append(w.script, line{w.now(), who, sealed.ReplaceAllString(what, "(ours)")})
	}
}

// sealed is an id of ours. What the store calls a log is in there, and that is random.
var sealed = regexp.MustCompile(`\bAf[\w-]{40,}`)

// noteBytes says what has come to a client, block by block: how the bytes were
// cut up on their way is not the same in every run.
func (w *world) noteBytes(v *visiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.script == nil {
		return
	}
	blocks, _ := read(string(v.got))
	for _, b := range blocks[w.told[v]:] {
		raw := b.raw
		if strings.HasSuffix(raw, "\r\n") {
			raw = strings.TrimSuffix(raw, "\n") // which may come by itself
		}
		w.write(v.name, fmt.Sprintf("got %.60q", sealed.ReplaceAllString(raw, "(ours)")))
	}
	w.told[v] = len(blocks)
}

func (w *world) feedNumber(f *feed) int {
	return slices.IndexFunc(w.s.Feeds, func(g feed) bool { return g.Policy.Name == f.Policy.Name })
}

func (w *world) add(v *visiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.visits = append(w.visits, v)
}

func (w *world) visitOf(name string) *visiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.visits {
		if v.name == name {
			return v
		}
	}
	return nil
}

// play lets everybody do what they have in mind, and looks at what came of it.
func (w *world) play() {
	var all sync.WaitGroup
	for i := range w.s.Feeds {
		f := &w.s.Feeds[i]
		for n, visits := range [][]visit{f.Visits, f.Twin} {
			all.Go(func() { w.attend(f, n, visits) })
		}
	}
	for i := range w.s.Tries {
		all.Go(func() { w.try(fmt.Sprintf("try %d", i), &w.s.Tries[i]) })
	}
	w.operate()
	drained := make(chan error, 1)
	if d := w.s.Drain; d.At > 0 {
		go func() {
			if pause(w.ctx, d.At) != nil {
				drained <- nil
				return
			}
			w.note("operator", "drain")
			w.drain.Store(int64(w.now()))
			drained <- w.alive().srv.Drain(w.ctx, processor.DrainOptions{Deadline: d.Deadline, Spread: min(d.Spread, d.Deadline)})
		}()
	} else {
		drained <- nil
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(bound):
		w.fail("not over after %v of virtual time", bound)
	}
	// Whoever has seen a client leave gets a moment to deal with it.
	time.Sleep(3*time.Second + w.s.detached())
	synctest.Wait()
	w.check()
	w.stop()
	if err := <-drained; err != nil && w.drained() > 0 {
		w.note("operator", "drain: %v", err)
	}
}

func (w *world) isDraining() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drained() > 0
}

// bound is more virtual time than any run takes.
const bound = 24 * time.Hour

func (w *world) close() {
	w.stopped.Store(true)
	w.stop()
	synctest.Wait()
}

func (w *world) stats() stats {
	s := stats{visits: len(w.visits), outcomes: map[string]int{}, virtual: w.now()}
	for _, v := range w.visits {
		s.attempts += len(v.seen.attempts)
		s.events += len(events(v.heard()))
	}
	for _, l := range w.said() {
		if l.Message != "stream ended" {
			continue
		}
		s.outcomes[fmt.Sprint(l.ContextMap()["mode"], " ", l.ContextMap()["outcome"])]++
	}
	return s
}

var _ http.Handler = (*origin)(nil)
