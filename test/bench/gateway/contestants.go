package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/test/bench/process"
)

// contestant is a way to put a gateway before the origin.
type contestant struct {
	name    string
	shape   shape
	program string // a holdfast; "": a bare gateway
	http2   bool   // its clients speak HTTP/2
	peek    bool   // first events are looked at, before each host
}

// peeking are holdfasts that look at the first event of what they hold.
func peeking(held []contestant) []contestant {
	var all []contestant
	for _, c := range held {
		if c.shape == relay {
			c.peek, c.name = true, c.name+", peek"
			all = append(all, c)
		}
	}
	return all
}

func (b *bench) bare(s shape) contestant {
	return contestant{name: "bare " + string(s), shape: s}
}

// held are the holdfasts, of the given ways to hold a response.
func (b *bench) held(shapes ...shape) []contestant {
	programs := []struct{ name, path string }{{"Holdfast", b.holdfast}}
	if b.rival != "" {
		programs = append(programs, struct{ name, path string }{"rival", b.rival})
	}
	var all []contestant
	for _, p := range programs {
		for _, s := range shapes {
			all = append(all, contestant{name: p.name + " " + string(s), shape: s, program: p.path})
		}
	}
	return all
}

// field are the contestants that are wanted, behind the one that they are compared
// with.
func (b *bench) field(base contestant, others ...contestant) []contestant {
	return append([]contestant{base}, slices.DeleteFunc(others, func(c contestant) bool {
		return !b.gateways.MatchString(c.name)
	})...)
}

// gateway is a contestant that runs.
type gateway struct {
	*process.Process
	contestant

	admin string // URL of a holdfast's admin port
	envoy int    // process id
}

// config is the default one, but for what a bench must not depend on. A stream
// that has to wait for its turn is not to be taken for one that stalls, and an
// origin that comes back in a moment is not to be waited for.
const config = `policies:
- name: bench
  mode: hold
  via: %s
  health: {idle_timeout: 1h}
  backoff: {base: 50ms, max: 500ms, retries: 100}
`

// start starts a gateway before the origin.
func (b *bench) start(ctx context.Context, c contestant) (*gateway, error) {
	upstream := b.origin.address
	command := process.Command{Name: c.name}
	g := &gateway{contestant: c}
	if c.program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command.Program, command.Args = self, []string{bareCommand, string(c.shape), upstream, b.envoy}
	} else {
		file := filepath.Join(b.dir, strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(c.name)+".yaml")
		text := fmt.Appendf(nil, config, c.shape)
		if c.peek {
			text = append(text, "  retry_when: [{event: nothing-is-called-like-this}]\n"...)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, err
		}
		command.Program = c.program
		command.Args = []string{
			"run", "--upstream", "http://" + upstream, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
			"--config", file, "--envoy", b.envoy,
		}
	}
	var admin string
	var once sync.Mutex // lines come on a goroutine that outlives the search
	command.Find = func(line string) string {
		if at, ok := strings.CutPrefix(line, bareReady); ok {
			return at
		}
		var entry struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "admin is up" {
			once.Lock()
			defer once.Unlock()
			admin = entry.Address
		}
		return ""
	}
	p, err := process.Start(ctx, command)
	if err != nil {
		return nil, err
	}
	g.Process = p
	once.Lock()
	g.admin = admin
	once.Unlock()
	if g.envoy, err = findEnvoy(p.PID()); err != nil {
		p.Stop()
		return nil, p.Blame(err)
	}
	return g, nil
}

// findEnvoy looks among a gateway's children, of which one may be a watchdog.
func findEnvoy(pid int) (int, error) {
	children, err := process.Children(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		if program, err := process.Program(child); err == nil && strings.Contains(filepath.Base(program), "envoy") {
			return child, nil
		}
	}
	return 0, errors.New("has no Envoy among its children")
}

// use is what a gateway has used, or uses, of something.
type use[T time.Duration | int64] struct{ envoy, processor T }

func (u use[T]) sum() T { return u.envoy + u.processor }

func (u use[T]) since(before use[T]) use[T] {
	return use[T]{u.envoy - before.envoy, u.processor - before.processor}
}

// cpu is the CPU time so far.
func (g *gateway) cpu() (use[time.Duration], error) { return both(g, process.CPUTime) }

// memory is what is resident now, in bytes.
func (g *gateway) memory() (use[int64], error) { return both(g, process.Resident) }

func both[T time.Duration | int64](g *gateway, of func(pid int) (T, error)) (u use[T], err error) {
	if u.envoy, err = of(g.envoy); err != nil {
		return u, g.Blame(err)
	}
	if u.processor, err = of(g.PID()); err != nil {
		return u, g.Blame(err)
	}
	return u, nil
}

// startAll starts gateways, and stops those that it has started if one fails.
func (b *bench) startAll(ctx context.Context, all []contestant) (gs []*gateway, stop func(), err error) {
	stop = func() {
		for _, g := range gs {
			g.Stop()
		}
	}
	for _, c := range all {
		g, err := b.start(ctx, c)
		if err != nil {
			stop()
			return nil, nil, err
		}
		gs = append(gs, g)
	}
	return gs, stop, nil
}
