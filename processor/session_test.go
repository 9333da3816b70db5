package processor

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/sessionstore"
)

func ask(lines ...string) *request {
	r := newRequest(fields(append([]string{":method: GET", ":authority: example.test"}, lines...)...))
	return &r
}

// Requests share a session exactly if policy, principal and key agree.
func TestSessions(t *testing.T) {
	p := compile(t, `- {name: p}`).All()[0]
	q := compile(t, `- {name: q}`).All()[0]
	seen := map[sessionstore.SessionID]string{}
	for name, r := range map[string]*request{
		"nobody":               ask(":path: /"),
		"key":                  ask(":path: /", "mcp-session-id: a"),
		"other key":            ask(":path: /", "mcp-session-id: b"),
		"key in a cookie":      ask(":path: /", "cookie: x=y; session=a"),
		"key in the query":     ask(":path: /?x=y&session=a"),
		"principal":            ask(":path: /", "authorization: a"),
		"principal and key":    ask(":path: /", "authorization: a", "mcp-session-id: a"),
		"principal, other key": ask(":path: /", "authorization: a", "mcp-session-id: b"),
	} {
		id := identify(p, r)
		s := id.session()
		if other := seen[s]; other != "" {
			t.Errorf("%q and %q share a session", name, other)
		}
		seen[s] = name
		if again := identify(p, r); again.session() != s {
			t.Errorf("%q: not the same twice", name)
		}
		if other := identify(q, r); other.session() == s {
			t.Errorf("%q: the same under another policy", name)
		}
		info := fmt.Sprintf("%+v", id.storeKey(1, false).Info)
		if strings.Contains(info, "Bearer") || strings.Contains(info, " a}") {
			t.Errorf("%q: a credential is shown: %s", name, info)
		}
	}
	one := identify(p, ask(":path: /?x=1"))
	if two := identify(p, ask(":path: /?x=2")); one.line == two.line || one.session() != two.session() {
		t.Error("the query makes a line, not a session")
	}
	split := identify(p, ask(":path: /", "cookie: x=y", "cookie: session=a"))
	whole := identify(p, ask(":path: /", "cookie: x=y; session=a"))
	if split.session() != whole.session() {
		t.Error("a cookie header that HTTP/2 has split is another")
	}
}

func TestRollout(t *testing.T) {
	p := compile(t, `- {name: p, rollout: 20}`).All()[0]
	for name, r := range map[string]func(i int) *request{
		"sessions":           func(i int) *request { return ask(":path: /", fmt.Sprintf("mcp-session-id: %d", i)) },
		"principals":         func(i int) *request { return ask(":path: /", fmt.Sprintf("authorization: %d", i)) },
		"anonymous":          func(i int) *request { return ask(":path: /", fmt.Sprintf("x-request-id: %d", i)) },
		"without request ID": func(int) *request { return ask(":path: /") },
	} {
		in := 0
		const n = 5000
		for i := range n {
			id := identify(p, r(i))
			// Sessions that can be told apart do not depend on chance.
			fallback := digest{byte(i), byte(i >> 8)}.number() ^ hash(fmt.Sprint(i)).number()
			got := id.inRollout(fallback)
			if got {
				in++
			}
			if name != "without request ID" && id.inRollout(fallback+1) != got {
				t.Errorf("%s: %d changes sides", name, i)
			}
		}
		if percent := in * 100 / n; percent < 17 || percent > 23 {
			t.Errorf("%s: %d%% are in, want 20%%", name, percent)
		}
	}
}

// Who is in stays in when the percentage is raised, on every replica: nothing of this
// process is in the choice.
func TestRolloutOnlyGrows(t *testing.T) {
	in := map[int]map[int]bool{}
	percentages := []int{0, 1, 5, 20, 50, 99, 100}
	for _, percent := range percentages {
		p := compile(t, fmt.Sprintf("- {name: p, rollout: %d}", percent)).All()[0]
		in[percent] = map[int]bool{}
		for i := range 2000 {
			id := identify(p, ask(":path: /", fmt.Sprintf("mcp-session-id: %d", i)))
			if id.inRollout(uint64(i)) {
				in[percent][i] = true
			}
		}
		if got := float64(len(in[percent])) / 20; math.Abs(got-float64(percent)) > 3 {
			t.Errorf("at %d%%, %v%% are in", percent, got)
		}
	}
	for n, percent := range percentages[1:] {
		for i := range in[percentages[n]] {
			if !in[percent][i] {
				t.Errorf("session %d is in at %d%% and out at %d%%", i, percentages[n], percent)
			}
		}
	}
}

func TestLines(t *testing.T) {
	var l lines
	var all []*stream
	for i := range 12 {
		st := &stream{line: uint64(i % 2)}
		all = append(all, st)
		l.add(st)
	}
	chain := func(n uint64) (out []*stream) {
		for st := l.shard(n).streams[n]; st != nil; st = st.older {
			out = append(out, st)
		}
		return out
	}
	want := []*stream{all[10], all[8], all[6], all[4], all[2], all[0]}
	for _, i := range []int{2, 4, 0, 0} { // from the middle, the newest and the oldest
		if !slices.Equal(chain(0), want) {
			t.Fatalf("line 0 has %d streams, or out of order", len(chain(0)))
		}
		i = min(i, len(want)-1)
		if i == 4 {
			i = len(want) - 1
		}
		l.remove(want[i])
		l.remove(&stream{line: 0}) // never added
		want = slices.Delete(want, i, i+1)
	}
	for _, st := range want {
		l.remove(st)
	}
	if _, ok := l.shard(0).streams[0]; ok {
		t.Error("an empty line is still known")
	}
	if len(chain(1)) != 6 {
		t.Error("the other line has changed")
	}
}

func TestHistogram(t *testing.T) {
	h := newHistogram("x", "y", 0.001, 0.01)
	h.observe(time.Millisecond, 3)
	h.observe(2*time.Millisecond, 4)
	h.observe(time.Second, 5)
	h.observe(-time.Second, 1)
	h.observe(time.Second, 0)
	reg := prometheus.NewRegistry()
	reg.MustRegister(h)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := families[0].GetMetric()[0].GetHistogram()
	if got.GetSampleCount() != 13 || got.GetBucket()[0].GetCumulativeCount() != 4 || got.GetBucket()[1].GetCumulativeCount() != 8 {
		t.Errorf("%v", got)
	}
	if s := got.GetSampleSum(); s < 5.010 || s > 5.012 {
		t.Errorf("sum %v", s)
	}
}

func TestMetricsRegisteredTwice(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := Options{Policies: compile(t, inline), Store: &badStore{}, Registerer: reg}
	if _, err := NewServer(o); err != nil {
		t.Fatal(err)
	}
	if _, err := NewServer(o); err == nil {
		t.Error("two servers count into one set of metrics")
	}
	if _, err := NewServer(Options{}); err == nil {
		t.Error("a server of nothing")
	}
}

// A replica may be reached by another port, and is the same place.
func TestPlaces(t *testing.T) {
	p := compile(t, inline).All()[0]
	place := func(host, path string) digest {
		r := newRequest(fields(":method: GET", ":authority: "+host, ":path: "+path))
		id := identify(p, &r)
		return id.place
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"example.com", "example.com:8080", true},
		{"example.com:80", "Example.com:8080", true},
		{"[::1]:80", "[::1]", true},
		{"[::1]", "[::2]", false},
		{"a.example.com", "b.example.com", false},
	} {
		if (place(c.a, "/x") == place(c.b, "/x")) != c.same {
			t.Errorf("%s and %s: the same place should be %v", c.a, c.b, c.same)
		}
	}
	if place("a", "/x") == place("a", "/y") {
		t.Error("two paths are one place")
	}
}
