package main

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"

	"holdfast/envoy"
	"holdfast/test/quietport"
)

// stage is what the clients play on.
type stage struct {
	origin, gateway                 *process
	plain                           *plainEnvoy
	originURL, gatewayURL, adminURL string

	originProgram string
	originArgs    []string // without --listen
}

func start(ctx context.Context, o options, dir string) (_ *stage, err error) {
	s := &stage{originProgram: o.origin}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	if _, err := exec.LookPath(o.holdfast); err != nil {
		return nil, fmt.Errorf("%w: `make build` makes bin/holdfast, --holdfast says where else it is", err)
	}
	binary, err := envoy.Find(o.envoy, envoy.Here())
	if err != nil {
		return nil, err
	}
	if s.originProgram == "" {
		s.originProgram = filepath.Join(dir, "origin")
		build := exec.CommandContext(ctx, "go", "build", "-o", s.originProgram, "holdfast/examples/origin")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot build the example origin (run this in the project's directory): %w\n%s", err, out)
		}
	}
	s.originArgs = []string{
		"--events", "1000000", // more than there is time for
		"--rate", strconv.FormatFloat(o.rate, 'g', -1, 64),
		"--over-replay", strconv.Itoa(o.overReplay),
		"--retry", o.retry.String(),
	}
	at, err := quietport.Free(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.startOrigin(ctx, at); err != nil {
		return nil, err
	}
	if s.plain, err = startPlain(ctx, binary.Path, dir, s.originURL); err != nil {
		return nil, err
	}
	admin, err := quietport.Free(ctx)
	if err != nil {
		return nil, err
	}
	s.adminURL = "http://" + admin
	s.gateway, err = startProcess("holdfast run", o.holdfast,
		"run", "--upstream", s.originURL, "--listen", "127.0.0.1:0", "--admin", admin, "--envoy", binary.Path)
	if err != nil {
		return nil, err
	}
	s.gatewayURL, err = s.gateway.await(ctx, "ready ")
	return s, err
}

func (s *stage) startOrigin(ctx context.Context, listen string) (err error) {
	s.origin, err = startProcess("the origin", s.originProgram, append([]string{"--listen", listen}, s.originArgs...)...)
	if err != nil {
		return err
	}
	s.originURL, err = s.origin.await(ctx, "")
	return err
}

// killOrigin ends it without a goodbye, and starts it again where it was.
func (s *stage) killOrigin(ctx context.Context) error {
	at, err := url.Parse(s.originURL)
	if err != nil {
		return err
	}
	s.origin.kill()
	return s.startOrigin(ctx, at.Host)
}

// stop ends what was started, and waits for it.
func (s *stage) stop() {
	if s.gateway != nil {
		s.gateway.stop()
	}
	if s.plain != nil {
		s.plain.stop()
	}
	if s.origin != nil {
		s.origin.stop()
	}
}
