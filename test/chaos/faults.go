package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killOne kills a processor and starts it again.
func killOne(ctx context.Context, s *stage) error {
	p := s.processors[rand.IntN(len(s.processors))]
	s.down()
	p.kill()
	if err := p.start(ctx); err != nil {
		return err
	}
	return s.serving(ctx)
}

// drainOne has a processor end in order, and starts it again.
func drainOne(ctx context.Context, s *stage) error {
	p := s.processors[rand.IntN(len(s.processors))]
	s.down()
	if err := p.drain(ctx); err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	return s.serving(ctx)
}

// outage is for how long a store is away.
func (s *stage) outage(ctx context.Context) error {
	return sleep(ctx, time.Duration(rand.Int64N(int64(time.Second))))
}

// restartRedis kills Redis, and has it come back after a while.
func restartRedis(ctx context.Context, s *stage) error {
	s.redis.Kill()
	if err := s.outage(ctx); err != nil {
		return err
	}
	if err := s.redis.Run(); err != nil {
		return err
	}
	return s.recovered(ctx)
}

// stallRedis stops Redis, which keeps its connections, and has it go on.
func stallRedis(ctx context.Context, s *stage) error {
	s.redis.Stall()
	err := s.outage(ctx)
	s.redis.Resume()
	if err != nil {
		return err
	}
	return s.recovered(ctx)
}

func (s *stage) recovered(ctx context.Context) error {
	for _, p := range s.processors {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// allowedSize is less than what any store of this drill has: hardly a page of it can
// be written.
const allowedSize = 16 << 10

// fillDisk keeps the processor from writing its file, until it says so, and a while
// longer. A disk that is full cannot be had without privileges, but a limit on the size
// of files can, and fails the same calls: with "file too large" in place of "no space
// left on device".
func fillDisk(ctx context.Context, s *stage) error {
	p := s.processors[0]
	if err := p.limitFiles(allowedSize); err != nil {
		return err
	}
	reason := ""
	err := p.until(ctx, "it said that its store fails", func() bool {
		reason = unready(ctx, "http://"+p.admin+"/readyz")
		return reason != ""
	})
	if err == nil && !strings.Contains(reason, "holdfast.db") {
		err = fmt.Errorf("readyz does not name the file that cannot be written: %q", reason)
	}
	if err == nil {
		err = s.outage(ctx)
	}
	if err := errors.Join(err, p.limitFiles(math.MaxUint64)); err != nil {
		return err
	}
	return s.recovered(ctx)
}

// limitFiles bounds the size of the files that the process writes.
func (p *processor) limitFiles(bytes uint64) error {
	var was unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &was); err != nil {
		return fmt.Errorf("limiting the size of %s's files: %w", p.name, err)
	}
	limit := unix.Rlimit{Cur: min(bytes, was.Max), Max: was.Max}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		return fmt.Errorf("limiting the size of %s's files: %w", p.name, err)
	}
	return nil
}

// unready is what a processor says of why it is not ready; empty: it is, or does not
// answer.
func unready(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return ""
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable {
		return ""
	}
	return string(text)
}

// jumpClock sets the processor's clock, as somebody does who corrects it, or a virtual
// machine that was asleep: by up to two hours, in either direction.
func jumpClock(ctx context.Context, s *stage) error {
	p := s.processors[0]
	by := time.Duration((rand.Float64()*2 - 1) * float64(2*time.Hour))
	if err := p.clock.set(by); err != nil {
		return err
	}
	// The server writes what its clock says into every answer.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/livez", http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	says, err := http.ParseTime(res.Header.Get("date"))
	if err != nil {
		return err
	}
	if off := time.Until(says) - by; off.Abs() > 2*time.Second {
		return fmt.Errorf("the clock of %s was to jump by %v, and is %v off", p.name, by, off)
	}
	return s.recovered(ctx)
}
