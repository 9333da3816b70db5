package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/test/quietport"
)

// process is a program that may be started again and again; what it says goes to one
// file.
type process struct {
	name string
	dir  string
	log  string

	cmd    *exec.Cmd // nil: never started
	exited chan struct{}

	settable bool   // its clock can be set
	clock    *clock // if so
}

func (p *process) run(name string, args ...string) error {
	p.log = filepath.Join(p.dir, p.name+".log")
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.settable {
		p.clock, err = startWithClock(cmd)
	} else {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return nil
}

func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// tail is what the process said last.
func (p *process) tail() error {
	text, err := os.ReadFile(p.log)
	if err != nil || len(text) == 0 {
		return nil //nolint:nilerr // then it has said nothing
	}
	const lines = 20
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%s says:\n  %s", p.name, strings.Join(all[max(len(all)-lines, 0):], "\n  "))
}

// until waits for something that has to come while the process lives.
func (p *process) until(ctx context.Context, what string, holds func() bool) error {
	for !holds() {
		if p.gone() {
			return fmt.Errorf("%s ended (%v) before %s", p.name, p.cmd.ProcessState, what)
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("%s: %s: %w", p.name, what, err)
		}
	}
	return nil
}

// processor is `holdfast serve`.
type processor struct {
	process

	program              string
	listen, relay, admin string
	config               string
}

// start returns when the processor says that it is ready.
func (p *processor) start(ctx context.Context) error {
	file := filepath.Join(p.dir, p.name+".yaml")
	if err := os.WriteFile(file, []byte(p.config), 0o600); err != nil {
		return err
	}
	if err := p.run(p.program, "serve", "--config", file); err != nil {
		return err
	}
	return p.ready(ctx)
}

func (p *processor) ready(ctx context.Context) error {
	return p.until(ctx, "it was ready", func() bool { return ok(ctx, "http://"+p.admin+"/readyz") })
}

// drain ends it by SIGTERM, as it ends in a deployment.
func (p *processor) drain(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s: exit code %d after SIGTERM", p.name, code)
	}
	return nil
}

// envoy is Envoy with what `holdfast bootstrap` prints for a name that stands for all
// processors.
type envoy struct {
	process

	url, admin string
}

func startEnvoy(ctx context.Context, s *stage, at ports) (*envoy, error) {
	listen, err := quietport.Free(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := quietport.Free(ctx)
	if err != nil {
		return nil, err
	}
	const name = "localhost"
	cmd := exec.CommandContext(ctx, s.o.holdfast, "bootstrap", "--format", "json",
		"--config", filepath.Join(s.dir, s.processors[0].name+".yaml"), "--upstream", s.origin.URL,
		"--listen", listen, "--envoy-admin", admin,
		"--processor", name+":"+at.listen, "--relay", name+":"+at.relay, "--loopback", at.loopback)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("holdfast bootstrap: %w\n%s", err, complaint.String())
	}
	if text, err = resolved(text, name, len(s.processors)); err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, "envoy.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	e := &envoy{process: process{name: "envoy", dir: s.dir}, url: "http://" + listen, admin: "http://" + admin}
	if err := e.run(s.o.envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "error"); err != nil {
		return nil, err
	}
	return e, e.until(ctx, "it was ready", func() bool { return ok(ctx, e.admin+"/ready") })
}

// resolved gives a name the addresses that it stands for, which without privileges
// no test can have DNS do; has health checks made often, for a drill is not to spend
// its time waiting for Envoy to notice that a processor is back; and has requests that
// nobody holds marked on their way to the origin.
func resolved(bootstrap []byte, name string, processors int) ([]byte, error) {
	var whole map[string]any
	if err := json.Unmarshal(bootstrap, &whole); err != nil {
		return nil, err
	}
	found := 0
	walk(whole, func(m map[string]any) {
		if m["name"] == "main" && m["route"] != nil && m["response_headers_to_add"] == nil {
			m["request_headers_to_add"] = []any{map[string]any{"header": map[string]any{"key": aloneHeader, "value": "1"}}}
			found++
		}
		if m["type"] != "STRICT_DNS" {
			return
		}
		m["type"] = "STATIC"
		delete(m, "dns_lookup_family")
		walk(m["health_checks"], func(m map[string]any) {
			if _, ok := m["interval"]; ok {
				m["interval"], m["no_traffic_interval"], m["unhealthy_interval"] = "0.2s", "0.2s", "0.05s"
			}
		})
		walk(m, func(m map[string]any) {
			if hosts, ok := m["lb_endpoints"].([]any); ok {
				m["lb_endpoints"] = addresses(hosts[0], name, processors)
				found++
			}
		})
	})
	if found != 3 {
		return nil, errors.New("this is not the bootstrap of two clusters of processors and a main route")
	}
	return json.Marshal(whole)
}

// addresses are copies of an endpoint, one for each processor.
func addresses(endpoint any, name string, processors int) (all []any) {
	text, err := json.Marshal(endpoint)
	if err != nil {
		return nil
	}
	for i := range processors {
		var copied any
		address := strconv.Quote(fmt.Sprintf("127.0.0.%d", i+1))
		if json.Unmarshal(bytes.ReplaceAll(text, []byte(strconv.Quote(name)), []byte(address)), &copied) == nil {
			all = append(all, copied)
		}
	}
	return all
}

// walk visits every object in a JSON value.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}

// stats are those of Envoy's counters and gauges whose names match.
func (e *envoy) stats(ctx context.Context, filter string) (map[string]int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.admin+"/stats", http.NoBody)
	if err != nil {
		return nil, err
	}
	q := req.URL.Query()
	q.Set("filter", filter)
	req.URL.RawQuery = q.Encode()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	stats := map[string]int{}
	for line := range strings.Lines(string(page)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.Atoi(value); err == nil {
			stats[name] = n
		}
	}
	return stats, nil
}
