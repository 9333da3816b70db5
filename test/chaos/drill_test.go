package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReturnsAreJudged: a client that has to come back may, and may not miss or get
// twice what it acknowledged.
func TestReturnsAreJudged(t *testing.T) {
	whole := stream("s", 1, 6)
	for _, test := range []struct {
		name     string
		group    string
		got      []string // over one connection each
		why      string
		anywhere bool // a client that comes back is no failure
		clean    bool
		ifKnown  bool // clean, unless what origins repeat counts
	}{
		{name: "all", got: []string{whole}, clean: true},
		{name: "in two parts", got: []string{stream("s", 1, 3), stream("s", 4, 6)}, anywhere: true, clean: true},
		{name: "in two parts, unseen", got: []string{stream("s", 1, 3), stream("s", 4, 6)}},
		{name: "half an event at the end of one", got: []string{stream("s", 1, 3) + "id: 4\nda", stream("s", 4, 6)}, anywhere: true, clean: true},
		{name: "sent away", got: []string{stream("s", 1, 3) + "retry: 1200\n\n", stream("s", 4, 6)}, anywhere: true, clean: true},
		{name: "sent away and served on", got: []string{stream("s", 1, 3) + "retry: 1200\n\n" + stream("s", 4, 6)}, anywhere: true},
		{name: "one missing", got: []string{stream("s", 1, 3), stream("s", 5, 6)}, anywhere: true},
		{name: "one again", got: []string{stream("s", 1, 3), stream("s", 3, 6)}, anywhere: true},
		{name: "one again, of an origin that repeats", group: "relay/overlap", got: []string{stream("s", 1, 3), stream("s", 3, 6)}, anywhere: true, ifKnown: true},
		{name: "one missing, of an origin that repeats", group: "relay/overlap", got: []string{stream("s", 1, 3), stream("s", 5, 6)}, anywhere: true},
		{name: "the end missing", got: []string{stream("s", 1, 3)}, why: "nothing new came", anywhere: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			group := "relay/exact"
			if test.group != "" {
				group = test.group
			}
			for _, repeats := range []bool{true, false} {
				c := newComparer("s", 6)
				tl := newReturns(repeats, !test.anywhere)
				for i, part := range test.got {
					if i > 0 {
						tl.broke(group)
					}
					c.broken()
					c.took([]byte(part))
				}
				tl.finished(group, "s", c, test.why)
				if got, want := tl.clean(), test.clean || test.ifKnown && !repeats; got != want {
					t.Errorf("if repeats count (%t): clean %t, want %t; %v", repeats, got, want, tl.words)
				}
			}
		})
	}
	if newReturns(false, false).clean() {
		t.Error("without a stream nothing is proven")
	}
}

func TestDrillsAreChecked(t *testing.T) {
	for _, test := range []struct{ drill, store, want string }{
		{"processor-kill", "", ""},
		{"processor-kill", "redis", ""},
		{"processor-kil", "", "clock-jump, disk-full"},
		{"replica-kill", "bolt", "want redis or memory"},
		{originKills, "redis", "-store is for another"},
	} {
		o := options{drill: test.drill, store: test.store, streams: 1, events: 2, pace: 1, distance: 1, deaths: 1}
		err := o.check("both")
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("-drill %s -store %s: %v, want %q", test.drill, test.store, err, test.want)
		}
		if err == nil && (o.kills != 500 || o.store == "") {
			t.Errorf("-drill %s -store %s: %d kills, store %s", test.drill, test.store, o.kills, o.store)
		}
	}
}

// TestClockOfAProcess: it is set from outside, and nothing else changes for it.
func TestClockOfAProcess(t *testing.T) {
	if os.Getenv("CHAOS_CLOCK") != "" {
		var line [1]byte
		for {
			if n, _ := os.Stdin.Read(line[:]); n == 0 {
				os.Exit(0)
			}
			text, _ := time.Now().MarshalText()
			_, _ = os.Stdout.Write(append(text, '\n'))
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestClockOfAProcess$")
	cmd.Env = append(os.Environ(), "CHAOS_CLOCK=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := startWithClock(cmd)
	if runtime.GOARCH != "amd64" || runtime.GOOS != "linux" {
		if err == nil {
			t.Fatal("it says that it works on a machine it was not made for")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = cmd.Wait()
	}()
	says := func() time.Time {
		t.Helper()
		if _, err := in.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 100)
		n, err := out.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		var at time.Time
		if err := at.UnmarshalText(text[:n-1]); err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, by := range []time.Duration{0, time.Hour, -time.Hour, 0} {
		if err := c.set(by); err != nil {
			t.Fatal(err)
		}
		if off := time.Until(says()) - by; off.Abs() > time.Minute {
			t.Errorf("set by %v, the clock is %v off", by, off)
		}
	}
}

// TestResolved: of a bootstrap only what a drill needs is changed.
func TestResolved(t *testing.T) {
	const bootstrap = `{"clusters": [
		{"type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED", "health_checks": [{"interval": "5s"}],
		 "load_assignment": {"endpoints": [{"lb_endpoints": [{"a": {"address": "name", "port_value": 1}}]}]}},
		{"type": "STRICT_DNS", "load_assignment": {"endpoints": [{"lb_endpoints": [{"a": {"address": "name", "port_value": 2}}]}]}}],
		"routes": [{"name": "main", "route": {}}, {"name": "main", "route": {}, "response_headers_to_add": []}]}`
	const want = `{"clusters":[` +
		`{"health_checks":[{"interval":"0.2s","no_traffic_interval":"0.2s","unhealthy_interval":"0.05s"}],` +
		`"load_assignment":{"endpoints":[{"lb_endpoints":[{"a":{"address":"127.0.0.1","port_value":1}},{"a":{"address":"127.0.0.2","port_value":1}}]}]},"type":"STATIC"},` +
		`{"load_assignment":{"endpoints":[{"lb_endpoints":[{"a":{"address":"127.0.0.1","port_value":2}},{"a":{"address":"127.0.0.2","port_value":2}}]}]},"type":"STATIC"}],` +
		`"routes":[{"name":"main","request_headers_to_add":[{"header":{"key":"x-alone","value":"1"}}],"route":{}},` +
		`{"name":"main","response_headers_to_add":[],"route":{}}]}`
	got, err := resolved([]byte(bootstrap), "name", 2)
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	var other map[string]any
	if err := json.Unmarshal(got, &other); err != nil {
		t.Fatal(err)
	}
	if _, err := resolved(got, "name", 2); err == nil {
		t.Error("what has no name to be resolved passes")
	}
}
