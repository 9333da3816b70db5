package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// fakeEnv makes this test binary play holdfast; its value says how well.
const fakeEnv = "DEMO_FAKE_HOLDFAST"

func TestMain(m *testing.M) {
	if how := os.Getenv(fakeEnv); how != "" {
		os.Exit(fakeHoldfast(how, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// fakeHoldfast is a `holdfast run` without Envoy: it drops every event that it
// has sent before, unless it is to be bad at that.
func fakeHoldfast(how string, args []string) int {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	upstream := flags.String("upstream", "", "")
	admin := flags.String("admin", "", "")
	_ = flags.String("listen", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	if how == "broken" {
		fmt.Fprintln(os.Stderr, "holdfast: no Envoy found")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	f := &fake{how: how, upstream: *upstream, sent: make(map[string]bool)}
	api := http.NewServeMux()
	api.HandleFunc("/api/v1/sessions", f.list)
	api.HandleFunc("/api/v1/sessions/{key}", f.session)
	gateway, err := freePort(ctx)
	if err != nil {
		return 1
	}
	var servers []*http.Server
	for addr, h := range map[string]http.Handler{*admin: api, gateway: http.HandlerFunc(f.relay)} {
		l, err := listenOn(ctx, addr)
		if err != nil {
			return 1
		}
		s := &http.Server{Handler: h}
		servers = append(servers, s)
		go func() { _ = s.Serve(l) }()
	}
	fmt.Println("ready http://" + gateway)
	<-ctx.Done()
	for _, s := range servers {
		_ = s.Close()
	}
	return 0
}

type fake struct {
	how, upstream string

	mu      sync.Mutex
	sent    map[string]bool
	last    string
	dropped int
	events  int
}

func (f *fake) relay(w http.ResponseWriter, r *http.Request) {
	up, err := http.NewRequestWithContext(r.Context(), r.Method, f.upstream+r.URL.RequestURI(), http.NoBody)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	up.Header = r.Header
	resp, err := http.DefaultClient.Do(up)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	var block strings.Builder
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		block.WriteString(in.Text() + "\n")
		if in.Text() != "" {
			continue
		}
		if f.pass(block.String()) {
			_, _ = io.WriteString(w, block.String())
			_ = http.NewResponseController(w).Flush()
		}
		block.Reset()
	}
}

// pass decides on one block.
func (f *fake) pass(block string) bool {
	id, isEvent := strings.CutPrefix(strings.SplitN(block, "\n", 2)[0], "id: ")
	if !isEvent {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events++
	repeat := f.sent[id]
	f.sent[id], f.last = true, id
	if repeat {
		f.dropped++
	}
	switch f.how {
	case "transparent":
		return true
	case "lossy":
		return !repeat && f.events%10 != 0
	default:
		return !repeat
	}
}

func (f *fake) list(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, `{"sessions":[{"key":"ab"}]}`)
}

func (f *fake) session(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last
	if f.how == "forgetful" {
		last = "1"
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"key": "ab", "session": "query:session 12ab", "streams": []map[string]any{
			{"last_sent": last, "duplicates": f.dropped, "trust": "monotonic"}, {"last_sent": "older"},
		},
	})
}

func TestDemo(t *testing.T) {
	origin := filepath.Join(t.TempDir(), "origin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", origin, "holdfast/examples/origin").CombinedOutput(); err != nil {
		t.Fatalf("build the origin: %v\n%s", err, out)
	}
	for _, test := range []struct {
		how       string
		terminal  bool
		wantErr   []string // nil: none
		wantShown []string
	}{
		{how: "good", wantShown: []string{"every event exactly once", "last event id       30", "duplicates dropped  12", "direct: "}},
		{how: "good", terminal: true, wantShown: []string{"every event exactly once", "[####################]", "\x1b[5A\x1b[J"}},
		{how: "transparent", wantErr: []string{"figures are wrong", "through Holdfast 12 repeats arrived"}},
		{how: "lossy", wantErr: []string{"figures are wrong", "of 30 events arrived"}},
		{how: "forgetful", wantErr: []string{"figures are wrong", `"1" as last event id, want 30`}},
		{how: "broken", wantErr: []string{"holdfast run ended", "exit status 1", "no Envoy found"}},
	} {
		t.Run(fmt.Sprint(test.how, " terminal=", test.terminal), func(t *testing.T) {
			t.Setenv(fakeEnv, test.how)
			o, err := parse([]string{
				"--origin", origin, "--holdfast", os.Args[0],
				"--events", "30", "--rate", "0", "--over-replay", "4", "--end-every", "8", "--retry", "5ms",
			}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			var shown strings.Builder
			err = run(t.Context(), o, newScreen(&shown, test.terminal))
			wantError(t, err, test.wantErr...)
			for _, want := range test.wantShown {
				if !strings.Contains(shown.String(), want) {
					t.Errorf("the screen lacks %q:\n%s", want, shown.String())
				}
			}
			if test.wantErr != nil && strings.Contains(shown.String(), "exactly once") {
				t.Errorf("it praised itself although the figures are wrong:\n%s", shown.String())
			}
		})
	}
}

// TestInterrupted stops the demo while the clients run.
func TestInterrupted(t *testing.T) {
	t.Setenv(fakeEnv, "good")
	o, err := parse([]string{"--holdfast", os.Args[0], "--events", "1000", "--rate", "10"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, o, newScreen(in, false))
		in.Close()
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "direct: ") {
			cancel()
		}
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}

func TestMissingHoldfast(t *testing.T) {
	o, err := parse([]string{"--holdfast", filepath.Join(t.TempDir(), "holdfast")}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, run(t.Context(), o, newScreen(io.Discard, false)), "make build", "--holdfast")
}

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--events", "many"}, {"surplus"}, {"--over-replay", "0"}, {"--end-every", "0"}, {"--events", "5", "--end-every", "5"},
	} {
		var said strings.Builder
		if _, err := parse(args, &said); err == nil || said.Len() == 0 {
			t.Errorf("%q: got %v and said %q, want an error that is explained", args, err, said.String())
		}
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if len(parts) == 0 {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}
