package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/test/bench/process"
)

// server is one of the two processes that are compared.
type server struct {
	*process.Process

	filters bool // drops repeats; else it echoes
}

// holdfastConfig is everything at its default but what has to be known here:
// where it listens, that it is quiet, and which events it drops.
const holdfastConfig = `listen: 127.0.0.1:0
admin: ""
drain: {deadline: 1s, spread: 0s}
policies:
- name: bench
  dedup: always
`

func startHoldfast(ctx context.Context, binary, dir string, env []string) (*server, error) {
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w: run make build, or name a program with -holdfast", err)
	}
	file := filepath.Join(dir, "holdfast.yaml")
	if err := os.WriteFile(file, []byte(holdfastConfig), 0o600); err != nil {
		return nil, err
	}
	p, err := process.Start(ctx, process.Command{
		Name: "Holdfast", Program: binary, Args: []string{"serve", "--config", file}, Env: env,
		Find: func(line string) string {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "serving ext_proc" {
				return ""
			}
			return entry.Address
		},
	})
	if err != nil {
		return nil, err
	}
	return &server{Process: p, filters: true}, nil
}

func startEcho(ctx context.Context, env []string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := process.Start(ctx, process.Command{
		Name: "echo", Program: self, Args: []string{echoCommand}, Env: env,
		Find: func(line string) string { return after(line, echoReady) },
	})
	if err != nil {
		return nil, err
	}
	return &server{Process: p}, nil
}

// after is what follows a prefix; "" without the prefix.
func after(line, prefix string) string {
	rest, ok := strings.CutPrefix(line, prefix)
	if !ok {
		return ""
	}
	return rest
}

// of picks what a stream's script expects of this server.
func (s *server) of(x *script) *answer {
	if s.filters {
		return &x.filter
	}
	return &x.echo
}
