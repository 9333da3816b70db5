package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/test/quietport"
	"holdfast/test/redistest"
)

// stage is what a drill plays on: an origin, Envoy, processors and their store.
type stage struct {
	o     *options
	drill *drill
	dir   string
	tally *returns
	done  int // kills, or what the drill calls one

	origin     *httptest.Server
	redis      *redistest.Server // nil: the store is another
	processors []*processor
	envoy      *envoy
	up         atomic.Pointer[chan struct{}] // closed while all processors serve
	over       atomic.Bool                   // no new stream is begun
}

// stageConfig is a processor's. Pauses are short, for what is gone is soon back.
const stageConfig = `listen: %[1]s
admin: %[2]s
fetch: {url: "http://%[3]s", pass_key_file: %[4]q}
relay: {listen: %[5]q}
seal: {key_file: %[4]q}
store: {%[6]s, flush: %[7]s}
drain: {deadline: 3s, spread: 300ms}
log: {level: warn}
policies:
- {name: immediate, match: {path_prefix: /immediate/}, mode: hold, via: immediate, session: {key: ["header:x-client"]}, backoff: {base: 50ms, max: 500ms, retries: 100}}
- {name: sealed, match: {path_prefix: /relay/sealed/}, mode: hold, via: relay, ids: sealed, session: {key: ["header:x-client"]}, backoff: {base: 50ms, max: 500ms, retries: 100}}
- {name: inline, match: {path_prefix: /inline/}, mode: inline, session: {key: ["header:x-client"]}}
- {name: relay, mode: hold, via: relay, session: {key: ["header:x-client"]}, backoff: {base: 50ms, max: 500ms, retries: 100}}
`

func newStage(ctx context.Context, o *options, d *drill) (s *stage, err error) {
	s = &stage{o: o, drill: d, tally: newReturns(o.repeatsCount(), d.unseen)}
	s.down()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.tails())
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
		return s, err
	}
	if o.store == "redis" {
		if redistest.Program() == "" {
			return s, errors.New("redis-server is not on the PATH: run `make redis`, or name it by HOLDFAST_REDIS")
		}
		// What it has answered for is on disk.
		if s.redis, err = redistest.New("--appendonly", "yes", "--appendfsync", "always"); err != nil {
			return s, err
		}
	}
	s.origin = httptest.NewServer(&steadyOrigin{o: o})
	keys := filepath.Join(s.dir, "keys")
	if err := os.WriteFile(keys, []byte(strings.Repeat("k", 40)+"\n"), 0o600); err != nil {
		return s, err
	}
	ports, err := newPorts(ctx)
	if err != nil {
		return s, err
	}
	for i := range d.processors {
		p := &processor{process: process{name: fmt.Sprintf("processor-%d", i+1), dir: s.dir, settable: d.clock}, program: o.holdfast}
		// As if their name had several addresses.
		host := fmt.Sprintf("127.0.0.%d", i+1)
		p.listen, p.relay, p.admin = net.JoinHostPort(host, ports.listen), net.JoinHostPort(host, ports.relay), net.JoinHostPort(host, ports.admin)
		store := "kind: " + o.store
		switch o.store {
		case "bolt":
			store += ", path: " + filepath.Join(s.dir, "holdfast.db")
		case "redis":
			store += ", url: " + s.redis.URL()
		}
		p.config = fmt.Sprintf(stageConfig, p.listen, p.admin, ports.loopback, keys, p.relay, store, o.flush)
		s.processors = append(s.processors, p)
		if err := p.start(ctx); err != nil {
			return s, err
		}
	}
	if s.envoy, err = startEnvoy(ctx, s, ports); err != nil {
		return s, err
	}
	return s, s.serving(ctx)
}

// ports are those of a processor, the same on each address, and where it finds its
// way back.
type ports struct{ listen, relay, admin, loopback string }

func newPorts(ctx context.Context) (p ports, err error) {
	if p.loopback, err = quietport.Free(ctx); err != nil {
		return p, err
	}
	for _, port := range []*string{&p.listen, &p.relay, &p.admin} {
		address, err := quietport.Free(ctx)
		if err != nil {
			return p, err
		}
		if _, *port, err = net.SplitHostPort(address); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (s *stage) close() {
	if s.envoy != nil {
		s.envoy.kill()
	}
	for _, p := range s.processors {
		p.kill()
	}
	if s.origin != nil {
		s.origin.CloseClientConnections()
		s.origin.Close()
	}
	if s.redis != nil {
		s.redis.Close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// tails are the last words of the processes.
func (s *stage) tails() error {
	var all []error
	for _, p := range s.processors {
		all = append(all, p.tail())
	}
	if s.envoy != nil {
		all = append(all, s.envoy.tail())
	}
	return errors.Join(all...)
}

// pause is a random time in which streams run.
func (s *stage) pause(ctx context.Context) error {
	return sleep(ctx, time.Duration(rand.ExpFloat64()*float64(s.o.deaths)))
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop begins no stream any more.
func (s *stage) stop() { s.over.Store(true) }

func (s *stage) enough() bool { return s.over.Load() }

// down says that a processor is about to be gone.
func (s *stage) down() {
	up := make(chan struct{})
	s.up.Store(&up)
}

// serving waits until Envoy has requests served by all processors, and says so.
func (s *stage) serving(ctx context.Context) error {
	for {
		stats, err := s.envoy.stats(ctx, "^cluster\\.holdfast(-relay)?\\.membership_healthy$")
		if err != nil {
			return err
		}
		if n := len(s.processors); stats["cluster.holdfast.membership_healthy"] == n && stats["cluster.holdfast-relay.membership_healthy"] == n {
			close(*s.up.Load())
			return nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// ok says whether a GET of url is answered 200.
func ok(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}
