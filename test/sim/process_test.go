package sim

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"holdfast/processor"
	"holdfast/processor/upstream"
	"holdfast/sessionstore/memory"
)

// process is one life of the processor. Several follow each other where a schedule
// kills them; what they have in common is the store.
type process struct {
	w      *world
	srv    *processor.Server
	dialer *upstream.Dialer
	store  *faulty
	reg    *prometheus.Registry
	logs   *observer.ObservedLogs

	grpc  *grpc.Server
	ext   *bufconn.Listener
	relay *wire
	stop  func()

	startedAt time.Duration
	dead      atomic.Bool
	killedAt  time.Duration // if dead
}

// newProcess starts one.
func (w *world) newProcess(store *memory.Store) *process {
	core, logs := observer.New(zapcore.DebugLevel)
	p := &process{w: w, startedAt: w.now(), reg: prometheus.NewRegistry(), logs: logs, ext: bufconn.Listen(64 << 10), relay: newWire()}
	p.store = &faulty{Store: store, faults: w.s.Store, dead: &p.dead}
	p.dialer = must(upstream.New(upstream.Options{Dial: w.origin.dial, StreamWindow: 64 << 10}))
	p.srv = must(processor.NewServer(processor.Options{
		Policies: w.policies(), Store: p.store, Logger: zap.New(core), Registerer: p.reg,
		Random: w.random(), Fetch: p.dialer, Relay: true,
		Sealer: w.sealer, Detached: w.detachable(),
	}))
	p.grpc = grpc.NewServer(processor.ServerOptions()...)
	p.srv.Register(p.grpc)
	go func() { _ = p.grpc.Serve(p.ext) }()
	relay := p.srv.RelayServer()
	go func() { _ = relay.Serve(p.relay) }()
	p.stop = sync.OnceFunc(func() {
		p.grpc.Stop()
		_ = relay.Close()
		p.dialer.Close()
	})
	return p
}

// detachable is how many streams may go on without a client: none if nobody has to
// come back, for MCP's would for a minute.
func (w *world) detachable() int {
	if w.s.detached() > 0 {
		return w.s.Limits.Detached
	}
	return 0
}

// random is the processor's own randomness (SplitMix64).
func (w *world) random() func() uint64 {
	var mu sync.Mutex
	state := w.s.Random + uint64(len(w.procs))
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
}

// kill ends a process as SIGKILL does: nothing that it does from here on reaches
// its store or its log, and its connections break off.
func (p *process) kill() {
	p.killedAt = p.w.now()
	p.dead.Store(true)
	p.stop()
}

// said are the entries of its log from when it was alive.
func (p *process) said() []observer.LoggedEntry {
	all := p.logs.All()
	if !p.dead.Load() {
		return all
	}
	var out []observer.LoggedEntry
	for _, l := range all {
		if l.Time.Sub(p.w.start) < p.killedAt {
			out = append(out, l)
		}
	}
	return out
}

// alive is the process that takes requests at present.
func (w *world) alive() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[len(w.procs)-1]
}

// said is what all of them have logged while they were alive.
func (w *world) said() (all []observer.LoggedEntry) {
	for _, p := range w.procs {
		all = append(all, p.said()...)
	}
	return all
}

// dialExt and dialRelay are Envoy's ways to the processor.
func (w *world) dialExt(ctx context.Context, _ string) (net.Conn, error) {
	if p := w.alive(); !p.dead.Load() {
		return p.ext.DialContext(ctx)
	}
	return nil, errRefused
}

func (w *world) dialRelay(ctx context.Context) (net.Conn, error) {
	if p := w.alive(); !p.dead.Load() {
		return p.relay.dial(ctx)
	}
	return nil, errRefused
}

// operate is what operators do meanwhile: they kill the processor and start another,
// and change its configuration.
func (w *world) operate() {
	if c := w.s.Crash; c.At > 0 {
		go func() {
			if pause(w.ctx, c.At) != nil {
				return
			}
			w.note("operator", "kill -9")
			p := w.alive()
			p.kill()
			if pause(w.ctx, c.Away) != nil {
				return
			}
			w.note("operator", "start")
			next := w.newProcess(p.store.Store)
			w.mu.Lock()
			w.procs = append(w.procs, next)
			w.mu.Unlock()
		}()
	}
	if at := w.s.Reload; at > 0 {
		go func() {
			if pause(w.ctx, at) != nil {
				return
			}
			w.note("operator", "reload")
			w.reloaded.Store(true)
			if err := w.alive().srv.SetPolicies(w.policies()); err != nil {
				w.fail("reload: %v", err)
			}
		}()
	}
}

// struck says whether a visit's processor was killed while it lasted, or while a slow
// store held up what was to be said of it.
func (v *visiting) struck() bool {
	late := time.Duration(0)
	if v.w.unsteady() {
		late = 2 * time.Second
	}
	for _, p := range v.w.procs {
		if p.dead.Load() && v.began <= p.killedAt && p.killedAt <= v.overAt+late {
			return true
		}
	}
	return false
}

// reconnect is how long Envoy takes at most to notice that there is a new one.
const reconnect = 5 * time.Second

// mayFail says whether an exchange may break off, because its processor was killed or
// there is none.
func (v *visiting) mayFail() bool {
	w := v.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.procs {
		switch {
		case p.dead.Load() && (v.began <= p.killedAt || i == len(w.procs)-1):
			return true
		case i > 0 && w.now() < p.startedAt+reconnect:
			return true
		}
	}
	return w.stopped.Load()
}

// unsteady says whether the store has done wrong.
func (w *world) unsteady() bool {
	return slices.ContainsFunc(w.procs, func(p *process) bool { return p.store.struck.Load() })
}

// afterCrash says whether there was one before it.
func (v *visiting) afterCrash() bool {
	p := v.w.procs[0]
	return p.dead.Load() && p.killedAt < v.began
}
