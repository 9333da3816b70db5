package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"holdfast/test/quietport"
)

// fakeEnv makes this test binary play a holdfast that fails in the way its value
// says.
const fakeEnv = "DEMO_FAKE_HOLDFAST"

// fakeHoldfast is a `holdfast run` that holds streams, more or less.
func fakeHoldfast(how string, args []string) int {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	upstream := flags.String("upstream", "", "")
	admin := flags.String("admin", "", "")
	for _, name := range []string{"listen", "envoy"} {
		_ = flags.String(name, "", "")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	if how == "broken" {
		fmt.Fprintln(os.Stderr, "holdfast: the machine is on fire")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	f := &fake{how: how, upstream: *upstream}
	api := http.NewServeMux()
	api.HandleFunc("/api/v1/streams", f.streams)
	gateway, err := quietport.Free(ctx)
	if err != nil {
		return 1
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	var servers []*http.Server
	for addr, h := range map[string]http.Handler{*admin: api, gateway: http.HandlerFunc(f.serve)} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			return 1
		}
		s := &http.Server{Handler: h, Protocols: &protocols}
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
	resumes       atomic.Int64
}

// serve holds a stream, by asking the upstream again for what follows the newest
// event.
func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	newest := r.Header.Get("Last-Event-ID")
	for try := 0; r.Context().Err() == nil; try++ {
		if try > 0 {
			if f.how == "transparent" {
				panic(http.ErrAbortHandler)
			}
			f.resumes.Add(1)
		}
		newest = f.copy(w, r, newest)
	}
}

// copy copies one response of the upstream, without the events up to newest, and
// returns the newest there is now.
func (f *fake) copy(w http.ResponseWriter, r *http.Request, newest string) string {
	up, err := http.NewRequestWithContext(r.Context(), r.Method, f.upstream+r.URL.RequestURI(), http.NoBody)
	if err != nil {
		return newest
	}
	up.Header.Set("Last-Event-ID", newest)
	resp, err := http.DefaultClient.Do(up)
	if err != nil {
		return newest
	}
	defer resp.Body.Close()
	wanted := newest == ""
	var block strings.Builder
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		block.WriteString(in.Text() + "\n")
		if in.Text() != "" {
			continue
		}
		id, isEvent := strings.CutPrefix(strings.SplitN(block.String(), "\n", 2)[0], "id: ")
		if isEvent && wanted {
			times := 1
			switch {
			case f.how == "lossy" && strings.HasSuffix(id, "7"):
				times = 0
			case f.how == "repeating" && strings.HasSuffix(id, "7"):
				times = 2
			}
			_, _ = io.WriteString(w, strings.Repeat(block.String(), times))
			_ = http.NewResponseController(w).Flush()
			newest = id
		}
		wanted = wanted || id == newest
		block.Reset()
	}
	return newest
}

func (f *fake) streams(w http.ResponseWriter, _ *http.Request) {
	resumes := f.resumes.Load()
	if f.how == "idle" {
		resumes = 0
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"streams": []map[string]any{{"mode": "fake", "resumes": resumes}}})
}
