package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/processor/live"
	"holdfast/sessionstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streamOf is a live.Source that never changes.
type streamOf live.Stream

func (s streamOf) Snapshot() live.Stream { return live.Stream(s) }

// registry holds n streams with the IDs 1 to n; every other is observed.
func registry(n int) *live.Registry {
	r := &live.Registry{}
	for i := 1; i <= n; i++ {
		id := live.ID(i)
		mode := "inline"
		if i%2 == 0 {
			mode = "observe"
		}
		r.Add(id, streamOf{ID: id.String(), Policy: fmt.Sprintf("p%d", i%3), Mode: mode})
	}
	return r
}

// directory is a sessionstore.Directory over a map.
type directory struct {
	mu       sync.Mutex
	sessions map[sessionstore.SessionID]sessionstore.Session
	err      error // what every call says
}

func directoryOf(ss ...sessionstore.Session) *directory {
	d := &directory{sessions: map[sessionstore.SessionID]sessionstore.Session{}}
	for _, s := range ss {
		d.sessions[s.ID] = s
	}
	return d
}

func (d *directory) Sessions(_ context.Context, after sessionstore.SessionID, limit int) ([]sessionstore.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []sessionstore.Session
	for _, id := range slices.SortedFunc(maps.Keys(d.sessions), func(a, b sessionstore.SessionID) int { return slices.Compare(a[:], b[:]) }) {
		if slices.Compare(id[:], after[:]) > 0 && len(out) < limit {
			out = append(out, d.sessions[id])
		}
	}
	return out, d.err
}

func (d *directory) Session(_ context.Context, id sessionstore.SessionID) (sessionstore.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sessions[id]
	if !ok && d.err == nil {
		return s, fmt.Errorf("fake: %w", sessionstore.ErrNotFound)
	}
	return s, d.err
}

func (d *directory) Drop(ctx context.Context, id sessionstore.SessionID) error {
	_, err := d.Session(ctx, id)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, id)
	return err
}

func (d *directory) Len() int { return len(d.sessions) }

func (d *directory) LogBytes() int64 { return 0 }

// options are a working console with no streams and no sessions.
func options() Options {
	return Options{
		Streams:  &live.Registry{},
		Sessions: directoryOf(),
		Metrics:  prometheus.NewRegistry(),
		Config:   func() any { return map[string]string{"listen": "unix:x"} },
		Loopback: true,
	}
}

// ask sends one request and returns the answer. header is name, value, name, ...
func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, http.NoBody)
	r.Host = "127.0.0.1:9902"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %q", err, w.Body)
	}
	return v
}

// wantError checks that the answer is a JSON error that contains text.
func wantError(t *testing.T, w *httptest.ResponseRecorder, code int, text string) {
	t.Helper()
	got := decode[struct{ Error string }](t, w).Error
	if w.Code != code || !strings.Contains(got, text) || got == "" {
		t.Errorf("got %d %q, want %d and %q", w.Code, got, code, text)
	}
	if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		t.Errorf("the error is %s", ct)
	}
}

func TestHealth(t *testing.T) {
	var reason error
	o := options()
	o.Ready = func() error { return reason }
	h := New(o)

	if w := ask(h, "GET", "/readyz"); w.Code != 200 || !strings.Contains(w.Body.String(), `"ready"`) {
		t.Errorf("ready: %d %s", w.Code, w.Body)
	}
	reason = errors.New("draining")
	wantError(t, ask(h, "GET", "/readyz"), 503, "not ready: draining")
	if w := ask(h, "GET", "/livez"); w.Code != 200 || !strings.Contains(w.Body.String(), `"live"`) {
		t.Errorf("live while draining: %d %s", w.Code, w.Body)
	}
	if w := ask(New(options()), "HEAD", "/readyz"); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestMetrics(t *testing.T) {
	o := options()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_test_total", Help: "For the test."})
	reg.MustRegister(c)
	c.Add(3)
	o.Metrics = reg
	if w := ask(New(o), "GET", "/metrics"); w.Code != 200 || !strings.Contains(w.Body.String(), "holdfast_test_total 3\n") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestConfig(t *testing.T) {
	w := ask(New(options()), "GET", "/api/v1/config")
	if diff := cmp.Diff(map[string]string{"listen": "unix:x"}, decode[map[string]string](t, w)); diff != "" {
		t.Error(diff)
	}
	o := options()
	o.Config = func() any { return func() {} }
	wantError(t, ask(New(o), "GET", "/api/v1/config"), 500, "cannot be shown")
}

func TestIndexListsEveryPage(t *testing.T) {
	o := options()
	o.Pprof, o.Version = true, "v1<2"
	h := New(o)
	w := ask(h, "GET", "/")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Body.String(), "v1&lt;2") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/api/v1/streams", "/api/v1/sessions", "/api/v1/config", "/debug/pprof/"} {
		if !strings.Contains(w.Body.String(), `href="`+path+`"`) {
			t.Errorf("%s is not listed", path)
		}
		if w := ask(h, "GET", path); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestPprofOnlyWhenAsked(t *testing.T) {
	wantError(t, ask(New(options()), "GET", "/debug/pprof/"), 404, "nothing at /debug/pprof/")
	o := options()
	o.Pprof = true
	if w := ask(New(o), "GET", "/debug/pprof/goroutine?debug=1"); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine profile") {
		t.Errorf("%d", w.Code)
	}
	if w := ask(New(o), "GET", "/debug/pprof/cmdline"); w.Code != 404 {
		t.Errorf("the command line, which may hold a password, is shown: %d", w.Code)
	}
}

func TestRefusals(t *testing.T) {
	const key = "/api/v1/sessions/000102030405060708090a0b0c0d0e0f"
	tests := []struct {
		method, target string
		code           int
		text           string
	}{
		{"GET", "/nope", 404, "/ lists what there is"},
		{"GET", "/api/v1/targets?x=1", 400, "there are none here"},
		{"GET", "/api/v1/streams/zz", 400, "16 hex digits"},
		{"GET", "/api/v1/streams/0000000000000001?x=1", 400, "there are none here"},
		{"GET", "/api/v1/streams/0000000000000001", 404, "no such stream: it ended more than 15m0s ago"},
		{"DELETE", "/api/v1/streams/0000000000000001", 405, "use GET, HEAD"},
		{"GET", "/api/v1/streams?sort=size", 400, "write the name of a field"},
		{"GET", "/api/v1/streams?sort=--id", 400, "write the name of a field"},
		{"GET", "/api/v1/streams?state=dead", 400, "write live, ended, all"},
		{"GET", "/api/v1/streams?offset=-1", 400, "how many streams to pass over"},
		{"GET", "/api/v1/streams?offset=1e9", 400, "how many streams to pass over"},
		{"GET", "/api/v1/streams?sort=id&after=0000000000000001", 400, "page by offset"},
		{"GET", "/api/v1/streams/watch?with=everything", 400, "write summary"},
		{"GET", "/" + strings.Repeat("x", 5000), 404, "xxx…"},
		{"POST", "/livez", 405, "use GET, HEAD"},
		{"DELETE", "/api/v1/sessions", 405, "use GET, HEAD"},
		{"PUT", key, 405, "use GET, HEAD, DELETE"},
		{"OPTIONS", key, 405, "OPTIONS is not for this path"},
		{"GET", "/api/v1/streams?limit=0", 400, "write 1 to 1000"},
		{"GET", "/api/v1/streams?limit=1001", 400, "write 1 to 1000"},
		{"GET", "/api/v1/streams?limit=-1", 400, "write 1 to 1000"},
		{"GET", "/api/v1/streams?limit=99999999999999999999", 400, "write 1 to 1000"},
		{"GET", "/api/v1/streams?limit=ten", 400, `"ten"`},
		{"GET", "/api/v1/streams?limit=1&limit=2", 400, "2 times"},
		{"GET", "/api/v1/streams?after=xyz", 400, "16 hex digits"},
		{"GET", "/api/v1/streams?after=1", 400, "16 hex digits"},
		{"GET", "/api/v1/streams?after=00000000000000000000000000000001", 400, "16 hex digits"},
		{"GET", "/api/v1/streams?polcy=chat", 400, "there are limit, after, policy, mode"},
		{"GET", "/api/v1/streams?%zz", 400, "not well formed"},
		{"GET", "/api/v1/streams?a;b", 400, "not well formed"},
		{"GET", "/api/v1/streams/watch?limit=10001", 400, "write 1 to 10000"},
		{"GET", "/api/v1/streams/watch?after=0000000000000001", 400, "unknown parameter"},
		{"GET", "/api/v1/sessions?limit=x", 400, "write 1 to 1000"},
		{"GET", "/api/v1/sessions?after=zz", 400, "32 hex digits"},
		{"GET", "/api/v1/sessions/zz", 400, "32 hex digits"},
		{"GET", "/api/v1/sessions/" + strings.Repeat("z", 32), 400, "32 hex digits"},
		{"GET", "/api/v1/sessions/" + strings.Repeat("0", 1<<15), 400, "32 hex digits"},
		{"DELETE", "/api/v1/sessions/zz", 400, "32 hex digits"},
		{"DELETE", key + "?force=1", 400, "there are none here"},
		{"GET", key, 404, "no such session"},
		{"DELETE", key, 404, "no such session"},
		{"GET", "/api/v1/config?x=1", 400, "there are none here"},
	}
	h := New(options())
	for _, tt := range tests {
		name := tt.method + " " + tt.target
		t.Run(name[:min(len(name), 60)], func(t *testing.T) {
			w := ask(h, tt.method, tt.target)
			wantError(t, w, tt.code, tt.text)
			if allow := w.Header().Get("Allow"); (tt.code == 405) != (allow != "") {
				t.Errorf("Allow is %q", allow)
			}
			if w.Body.Len() > 500 {
				t.Errorf("an answer of %d bytes repeats what was asked", w.Body.Len())
			}
		})
	}
}

func TestBodiesAreRefused(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/livez", strings.NewReader("hello"))
	r.Host = "localhost"
	w := httptest.NewRecorder()
	New(options()).ServeHTTP(w, r)
	wantError(t, w, 400, "send none")
}

func TestFaultOfOnePage(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	o := options()
	o.Log = zap.New(core)
	o.Config = func() any { return []int{}[logs.Len()] }
	h := New(o)
	wantError(t, ask(h, "GET", "/api/v1/config"), 500, "the log has the details")
	if logs.Len() != 1 {
		t.Errorf("%d log lines", logs.Len())
	}
	if w := ask(h, "GET", "/livez"); w.Code != 200 {
		t.Errorf("livez after a fault: %d", w.Code)
	}
}

func TestStreams(t *testing.T) {
	o := options()
	o.Streams = registry(5)
	h := New(o)

	w := ask(h, "GET", "/api/v1/streams")
	all := decode[streamsPage](t, w)
	if len(all.Streams) != 5 || all.Total != 5 || all.Next != "" {
		t.Errorf("%+v", all)
	}
	var got []string
	after := ""
	for range 10 {
		page := decode[streamsPage](t, ask(h, "GET", "/api/v1/streams?limit=2&after="+after))
		for _, s := range page.Streams {
			got = append(got, s.ID[15:])
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if s := strings.Join(got, ""); s != "12345" {
		t.Errorf("pages of two give %s", s)
	}
	for query, want := range map[string]string{
		"mode=observe": "24", "policy=p1": "14", "policy=p1&mode=observe": "4", "mode=hold": "",
		"mode=inline&limit=2": "13",
	} {
		var got strings.Builder
		page := decode[streamsPage](t, ask(h, "GET", "/api/v1/streams?"+query))
		for _, s := range page.Streams {
			got.WriteString(s.ID[15:])
		}
		if got.String() != want || page.Total != 5 || page.Streams == nil {
			t.Errorf("%s: streams %s of %d, want %s of 5", query, got.String(), page.Total, want)
		}
	}
}

func TestFilterFindsStreamsOnLaterPages(t *testing.T) {
	r := registry(3 * maxLimit)
	id := live.ID(1 << 40)
	r.Add(id, streamOf{ID: id.String(), Policy: "rare"})
	o := options()
	o.Streams = r
	page := decode[streamsPage](t, ask(New(o), "GET", "/api/v1/streams?policy=rare"))
	if len(page.Streams) != 1 || page.Streams[0].ID != id.String() {
		t.Errorf("found %d", len(page.Streams))
	}
}

func someSession(n byte) sessionstore.Session {
	return sessionstore.Session{
		ID:      sessionstore.SessionID{n, 15: n},
		Info:    sessionstore.Info{Policy: "chat", Principal: "a1b2c3d4", Session: "cookie:session 99aabbcc"},
		Created: time.Unix(1000, 0).UTC(),
		Used:    time.Unix(2000, 0).UTC(),
		Live:    1,
		Streams: []sessionstore.Stream{{
			Lease: sessionstore.Lease{Number: 7, Line: sessionstore.LineID{1}}, Live: true, Tracked: 3, Saved: time.Unix(1500, 0).UTC(),
			State: sessionstore.State{Acked: "41", LastSent: "0123456789abcdef-secret-tail", Epoch: 1, Trust: 2, Events: 10, Duplicates: 4},
		}, {
			Lease: sessionstore.Lease{Number: 6},
		}},
	}
}

func TestSessions(t *testing.T) {
	d := directoryOf(someSession(1), someSession(2), someSession(3))
	o := options()
	o.Sessions = d
	o.Trust = func(v uint8) string { return []string{"absent", "unique", "monotonic"}[v] }
	core, logs := observer.New(zap.InfoLevel)
	o.Log = zap.New(core)
	h := New(o)

	page := decode[sessionsPage](t, ask(h, "GET", "/api/v1/sessions?limit=2"))
	if len(page.Sessions) != 2 || page.Total != 3 || page.Next != page.Sessions[1].Key {
		t.Errorf("%+v", page)
	}
	page = decode[sessionsPage](t, ask(h, "GET", "/api/v1/sessions?limit=2&after="+page.Next))
	if len(page.Sessions) != 1 || page.Next != "" || page.Sessions[0].Kept != 2 || page.Sessions[0].Streams != nil {
		t.Errorf("%+v", page)
	}

	id := sessionstore.SessionID{1, 15: 1}
	key := hex.EncodeToString(id[:])
	got := decode[sessionView](t, ask(h, "GET", "/api/v1/sessions/"+strings.ToUpper(key)))
	want := sessionView{
		Key: key, Policy: "chat", Principal: "a1b2c3d4", Session: "cookie:session 99aabbcc",
		Created: time.Unix(1000, 0).UTC(), Used: time.Unix(2000, 0).UTC(), Live: 1, Kept: 2,
		Streams: []streamView{{
			Number: 7, Line: "01" + strings.Repeat("0", 30), Live: true, Saved: time.Unix(1500, 0).UTC(),
			Acked: "41", LastSent: "01234567…", Tracked: 3, Epoch: 1, Trust: "monotonic", Events: 10, Duplicates: 4,
		}, {
			Number: 6, Line: strings.Repeat("0", 32), Trust: "absent",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	if w := ask(h, "DELETE", "/api/v1/sessions/"+key); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("DELETE: %d %s", w.Code, w.Body)
	}
	if d.Len() != 2 || logs.FilterField(zap.String("session", key)).Len() != 1 {
		t.Errorf("%d sessions and %d log lines are left", d.Len(), logs.Len())
	}
	wantError(t, ask(h, "DELETE", "/api/v1/sessions/"+key), 404, "no such session")
}

func TestStoreFailure(t *testing.T) {
	d := directoryOf(someSession(1))
	d.err = errors.New("dial redis://:hunter2@r:6379: refused")
	core, logs := observer.New(zap.WarnLevel)
	o := options()
	o.Sessions, o.Log = d, zap.New(core)
	h := New(o)
	key := "/api/v1/sessions/01" + strings.Repeat("0", 28) + "01"
	for i, what := range []string{"GET /api/v1/sessions", "GET " + key, "DELETE " + key} {
		method, target, _ := strings.Cut(what, " ")
		w := ask(h, method, target)
		wantError(t, w, 503, "does not answer")
		if strings.Contains(w.Body.String(), "hunter2") {
			t.Error("the store's address is shown")
		}
		if logs.Len() != i+1 {
			t.Errorf("%d log lines", logs.Len())
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	o := options()
	o.Pprof = true
	h := New(o)
	for _, target := range []string{"/", "/livez", "/nope", "/metrics", "/api/v1/streams", "/debug/pprof/", "/api/v1/streams?limit=x"} {
		for _, w := range []*httptest.ResponseRecorder{ask(h, "GET", target), ask(h, "POST", target), ask(h, "GET", target, "Host", "evil.example")} {
			for name, want := range map[string]string{
				"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
				"Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %s is %q", target, name, got)
				}
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("%s may be read from %s", target, got)
			}
		}
	}
}

func TestHosts(t *testing.T) {
	o := options()
	guarded := New(o)
	o.Loopback = false
	open := New(o)
	for host, local := range map[string]bool{
		"localhost": true, "localhost:9902": true, "LOCALHOST:1": true, "localhost.": true, "box.localhost": true,
		"127.0.0.1": true, "127.0.0.1:9902": true, "127.8.8.8:1": true, "[::1]": true, "[::1]:9902": true,
		"": false, "evil.example": false, "evil.example:9902": false, "localhost.evil.example": false,
		"127.0.0.1.evil.example": false, "10.0.0.1:9902": false, "0.0.0.0:9902": false, "[::2]:1": false, "notlocalhost": false,
	} {
		w := ask(guarded, "GET", "/livez", "Host", host)
		if local && w.Code != 200 {
			t.Errorf("%q: %d %s", host, w.Code, w.Body)
		}
		if !local {
			wantError(t, w, 403, "use localhost or a loopback address")
		}
		if w := ask(open, "GET", "/livez", "Host", host); w.Code != 200 {
			t.Errorf("%q on an open port: %d", host, w.Code)
		}
	}
}

func TestCrossOriginChanges(t *testing.T) {
	key := "/api/v1/sessions/01" + strings.Repeat("0", 28) + "01"
	for _, tt := range []struct {
		name   string
		header []string
		code   int
	}{
		{"curl", nil, 204},
		{"own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:9902"}, 204},
		{"own page, old browser", []string{"Origin", "http://127.0.0.1:9902"}, 204},
		{"foreign page", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"foreign page, old browser", []string{"Origin", "https://evil.example"}, 403},
		{"another port of this machine", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:8080"}, 403},
		{"sandboxed page", []string{"Origin", "null"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, loopback := range []bool{true, false} {
				o := options()
				o.Sessions, o.Loopback = directoryOf(someSession(1)), loopback
				w := ask(New(o), "DELETE", key, tt.header...)
				if w.Code != tt.code {
					t.Errorf("%d %s, want %d", w.Code, w.Body, tt.code)
				}
				if left := o.Sessions.Len(); (left == 0) != (tt.code == 204) {
					t.Errorf("%d sessions are left", left)
				}
			}
		})
	}
}

// Reading stays possible for whoever reaches the port; a foreign page cannot
// see the answer, for no header allows it.
func TestForeignReadIsAnsweredWithoutCORS(t *testing.T) {
	w := ask(New(options()), "GET", "/api/v1/streams", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	body, _ := io.ReadAll(w.Result().Body)
	if w.Code != 200 || len(body) == 0 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
