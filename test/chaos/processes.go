package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/test/quietport"
)

// origin is a process that serves streams, and dies and rises again.
type origin struct {
	address string
	stop    func()
	mayDie  func() // from now on, and break responses before they have brought an event
}

// startOrigin returns when it serves for the first time.
func startOrigin(ctx context.Context, o *options, number uint64, t *tally) (*origin, error) {
	address, err := quietport.Free(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ready, mortal, over := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			if err := live(ctx, o, address, t, ready, mortal); err != nil {
				select {
				case ready <- err:
				default:
					t.note("the origin %d did not come back: %v", number, err)
				}
				return
			}
		}
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-over
	})
	if err := <-ready; err != nil {
		stop()
		return nil, err
	}
	return &origin{address: address, stop: stop, mayDie: sync.OnceFunc(func() { close(mortal) })}, nil
}

// live is one life of the process, ended by SIGKILL.
func live(ctx context.Context, o *options, address string, t *tally, ready chan<- error, mortal <-chan struct{}) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-origin", address,
		"-events", strconv.Itoa(o.events), "-pace", o.pace.String(), "-distance", strconv.Itoa(o.distance))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // it ends when this end does
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	served := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			if sc.Text() == "ready" {
				close(served)
				continue
			}
			t.told(sc.Text())
		}
	}()
	select {
	case <-served:
		select {
		case ready <- nil:
		default:
		}
	case <-read:
		return fmt.Errorf("the origin ended: %w", cmd.Wait())
	}
	select {
	case <-mortal:
		fmt.Fprintln(in, "anywhere")
		select {
		case <-time.After(time.Duration(rand.ExpFloat64() * float64(o.deaths))):
			t.died()
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	_ = cmd.Process.Kill()
	<-read
	_ = cmd.Wait() // "signal: killed"
	return nil
}

// told reads an origin's line about what it does.
func (t *tally) told(line string) {
	var how, stream string
	var first, last int
	var at int64
	if _, err := fmt.Sscanf(line, "broke %s %s %d %d %d", &how, &stream, &first, &last, &at); err != nil {
		t.note("the origin says %q", line)
		return
	}
	t.broke(breakage(how), stream, first, last, time.Unix(0, at))
}

// gateway is `holdfast run`.
type gateway struct {
	url, admin string
	stop       func()
}

// config is the default one, but for pauses: an origin that comes back in a moment
// is not to be waited for.
const config = `policies:
- name: default
  mode: hold
  via: %s
  backoff: {base: 50ms, max: 500ms, retries: 100}
`

func startGateway(ctx context.Context, o *options, via, upstream string) (*gateway, error) {
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "holdfast.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, via), 0o600); err != nil {
		return nil, err
	}
	admin, err := quietport.Free(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(o.holdfast, "run", "--upstream", upstream, "--listen", "127.0.0.1:0", "--admin", admin,
		"--config", file, "--envoy", o.envoy)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := sync.OnceFunc(func() {
		// The second signal is for streams that nobody reads any more.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		patience := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		defer patience.Stop()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n')
		line <- text
	}()
	select {
	case text := <-line:
		if url, ok := strings.CutPrefix(strings.TrimSpace(text), "ready "); ok {
			return &gateway{url: url, admin: "http://" + admin, stop: stop}, nil
		}
		stop()
		return nil, fmt.Errorf("holdfast did not get ready:\n%s", said.String())
	case <-ctx.Done():
		stop()
		return nil, errors.New("holdfast did not get ready in time")
	}
}
