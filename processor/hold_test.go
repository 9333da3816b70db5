package processor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"holdfast/processor/config"
	"holdfast/processor/pass"
	"holdfast/processor/upstream"
)

// holding is a world in which responses can be held: an origin behind a loopback
// listener, and the relay listener, all in memory.
type holding struct {
	*world
	loop, front *bufconn.Listener
	origin      *http.Server
	relay       *http.Server
	dialer      *upstream.Dialer
	client      *http.Client // of the relay listener, as Envoy's cluster
	serve       http.HandlerFunc
}

func h2c() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

// inHolding runs f in a bubble. serve is the origin.
func inHolding(t *testing.T, policies string, serve http.HandlerFunc, f func(h *holding), change ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHolding(t, policies, serve, change...)
		defer h.close()
		f(h)
	})
}

func newHolding(t *testing.T, policies string, serve http.HandlerFunc, change ...func(*Options)) *holding {
	t.Helper()
	h := &holding{loop: bufconn.Listen(1 << 20), front: bufconn.Listen(1 << 20), serve: serve}
	// Like Envoy's loopback listener, it has room for all the uploads that it does not read.
	windows := &http.HTTP2Config{MaxReceiveBufferPerStream: 4<<10 - 1, MaxReceiveBufferPerConnection: 4<<20 - 1}
	h.origin = &http.Server{Protocols: h2c(), HTTP2: windows, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r) })}
	go func() { _ = h.origin.Serve(h.loop) }()
	var err error
	h.dialer, err = upstream.New(upstream.Options{Dial: func(ctx context.Context) (net.Conn, error) { return h.loop.DialContext(ctx) }})
	if err != nil {
		t.Fatal(err)
	}
	change = append([]func(*Options){func(o *Options) { o.Fetch, o.Relay = h.dialer, true }}, change...)
	h.world = newWorld(t, policies, append(change, func(o *Options) { o.Policies = compileHold(t, policies) })...)
	h.relay = h.srv.RelayServer()
	go func() { _ = h.relay.Serve(h.front) }()
	h.client = &http.Client{Transport: &http.Transport{
		Protocols: h2c(), DisableCompression: true,
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return h.front.DialContext(ctx) },
	}}
	return h
}

// compileHold is compile for a configuration that has a way back.
func compileHold(t testing.TB, policies string) *config.Policies {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte("fetch: {url: unix:/loop}\nrelay: {listen: unix:/relay}\npolicies:\n"+policies))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cfg.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (h *holding) close() {
	h.client.CloseIdleConnections()
	_ = h.relay.Close()
	h.dialer.Close()
	_ = h.origin.Close()
	h.world.close()
}

// ticket asks the filter about a request and returns the ticket it was given.
func (h *holding) ticket(method, path string, more ...string) string {
	h.Helper()
	e := h.dial()
	a := e.ask(requestMessage(method, path, more...))
	for _, set := range a.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if set.GetHeader().GetKey() == pass.TicketHeader {
			if !a.GetRequestHeaders().GetResponse().GetClearRouteCache() {
				h.Error("a ticket that changes no route")
			}
			e.wantClosed()
			return string(set.GetHeader().GetRawValue())
		}
	}
	h.Fatalf("no ticket: %v", a)
	return ""
}

// ask sends a request as Envoy would: to the filter, and then with its ticket to
// the relay listener.
func (h *holding) ask(method, path string, body io.Reader, more ...string) *reading {
	h.Helper()
	r := h.request(method, path, body, more...)
	r.Header.Set(pass.TicketHeader, h.ticket(method, path, more...))
	return h.do(r)
}

func (h *holding) request(method, path string, body io.Reader, more ...string) *http.Request {
	h.Helper()
	ctx, leave := context.WithTimeout(h.Context(), 24*time.Hour) // pings would go on for ever
	h.Cleanup(leave)
	r, err := http.NewRequestWithContext(context.WithValue(ctx, leaveKey{}, leave), method, "http://example.test"+path, body)
	if err != nil {
		h.Fatal(err)
	}
	for _, l := range append([]string{"accept: text/event-stream"}, more...) {
		name, value, _ := strings.Cut(l, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r
}

type leaveKey struct{}

// reading is a client's side of a response.
type reading struct {
	*holding
	*http.Response
	leave context.CancelFunc
}

func (h *holding) do(r *http.Request) *reading {
	h.Helper()
	leave, _ := r.Context().Value(leaveKey{}).(context.CancelFunc)
	res, err := h.client.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	return &reading{holding: h, Response: res, leave: leave}
}

// open is ask for an event stream.
func (h *holding) open(path string, more ...string) *reading {
	h.Helper()
	r := h.ask(http.MethodGet, path, nil, more...)
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" {
		h.Fatalf("status %d, %v", r.StatusCode, r.Header)
	}
	return r
}

// want reads exactly these bytes.
func (r *reading) want(s string) {
	r.Helper()
	b := make([]byte, len(s))
	n, err := io.ReadFull(r.Body, b)
	if err != nil || string(b) != s {
		r.Fatalf("got %q, %v, want %q", b[:n], err, s)
	}
}

// wantEnd reads until the clean end.
func (r *reading) wantEnd(s string) {
	r.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil || string(b) != s {
		r.Errorf("got %q, %v, want %q and the end", b, err, s)
	}
}

// wantCut reads until the transfer is aborted.
func (r *reading) wantCut(s string) {
	r.Helper()
	b, err := io.ReadAll(r.Body)
	if err == nil || string(b) != s {
		r.Errorf("got %q, %v, want %q and a cut", b, err, s)
	}
}

// say writes to a response and sends it.
func say(w http.ResponseWriter, format string, args ...any) {
	fmt.Fprintf(w, format, args...)
	w.(http.Flusher).Flush()
}

// reset aborts a response.
func reset() { panic(http.ErrAbortHandler) }

func beginEvents(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
}

const heldOn = `- {name: p, mode: hold}`

func TestRelayUndisturbed(t *testing.T) {
	const text = "\ufeffid: 1\r\ndata: a\r\n\r\n: comment\n\nid: 2\ndata\xff: b\n\ndata: c\n\n"
	inHolding(t, heldOn, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get(pass.TicketHeader) != "" || r.Host != "example.test" {
			t.Errorf("the origin got %v", r.Header)
		}
		w.Header().Set("X-Origin", "1")
		w.Header().Set("Content-Length", "1000")
		w.Header().Del("Date")
		if r.Header.Get("Last-Event-Id") != "" {
			w.WriteHeader(http.StatusNoContent) // it was the end
			return
		}
		beginEvents(w)
		for i := range len(text) {
			say(w, "%s", text[i:i+1])
		}
		w.Header().Set(http.TrailerPrefix+"X-Sum", "7")
	}, func(h *holding) {
		h.serve = strip(h.serve, "Content-Length")
		r := h.open("/events?token=secret", "mcp-session-id: s", "accept-encoding: gzip")
		if r.Header.Get("X-Origin") != "1" {
			t.Errorf("header: %v", r.Header)
		}
		r.wantEnd(text)
		if r.Trailer.Get("X-Sum") != "7" {
			t.Errorf("trailer: %v", r.Trailer)
		}
		line := h.ended()
		if line["mode"] != "hold" || line["path"] != "/events" {
			t.Errorf("%v", line)
		}
		h.wantMetric(0, "streams_active", "hold")
		h.wantMetric(2, "events_total", "p")
		if n := h.srv.live.Len(); n != 0 {
			t.Errorf("%d streams are still known", n)
		}
		if n := h.dialer.Stats().Live; n != 0 {
			t.Errorf("%d fetches are open", n)
		}
	})
}

func strip(next http.HandlerFunc, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { next(stripper{w, name}, r) }
}

type stripper struct {
	http.ResponseWriter
	name string
}

func (s stripper) WriteHeader(code int) { s.Header().Del(s.name); s.ResponseWriter.WriteHeader(code) }
func (s stripper) Flush()               { s.ResponseWriter.(http.Flusher).Flush() }

func TestRelayAsItIs(t *testing.T) {
	tests := map[string]struct {
		method string
		serve  http.HandlerFunc
		status int
		body   string
		header map[string]string
	}{
		"json": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, "{}")
		}, 200, "{}", map[string]string{"Content-Type": "application/json", "Content-Length": "2"}},
		"error": {"GET", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) }, 503, "no\n", nil},
		"redirect": {
			"GET", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/else", http.StatusFound) }, 302, "<a href=\"/else\">Found</a>.\n\n",
			map[string]string{"Location": "/else"},
		},
		"nothing": {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 204, "", nil},
		"not modified": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", "x")
			w.WriteHeader(http.StatusNotModified)
		}, 304, "", map[string]string{"Etag": "x"}},
		"untyped": {"POST", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"], w.Header()["Date"] = nil, nil
			io.WriteString(w, "<html>")
		}, 200, "<html>", map[string]string{"Content-Type": "", "Date": ""}},
		"compressed": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			beginEvents(w)
			say(w, "\x00\x01")
		}, 200, "\x00\x01", nil},
		"stream that is none": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, "data: x")
		}, 500, "data: x", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inHolding(t, heldOn, tt.serve, func(h *holding) {
				h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				r := h.ask(tt.method, "/", nil)
				if r.StatusCode != tt.status {
					t.Errorf("status %d", r.StatusCode)
				}
				for k, v := range tt.header {
					if got := r.Header.Get(k); got != v {
						t.Errorf("%s: %q, want %q", k, got, v)
					}
				}
				r.wantEnd(tt.body)
				if n := len(h.logs.FilterMessage("stream ended").All()); n != 0 {
					t.Error("counted as a stream")
				}
			})
		})
	}
}

func TestRelayStreamsBothWays(t *testing.T) {
	inHolding(t, heldOn, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		if _, err := io.Copy(flushing{w}, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", r.Trailer.Get("X-Up"))
	}, func(h *holding) {
		up, body := io.Pipe()
		q := h.request("POST", "/", up, "content-type: application/grpc")
		q.Trailer = http.Header{"X-Up": nil}
		q.Header.Set(pass.TicketHeader, h.ticket("POST", "/"))
		r := h.do(q)
		for _, s := range []string{"a", "bc", "d"} {
			io.WriteString(body, s)
			r.want(s)
		}
		q.Trailer.Set("X-Up", "0")
		body.Close()
		r.wantEnd("")
		if r.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("trailer %v", r.Trailer)
		}
	})
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

func TestRelayAbortStaysAbort(t *testing.T) {
	inHolding(t, heldOn, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		say(w, "12345")
		reset()
	}, func(h *holding) {
		h.ask("GET", "/", nil).wantCut("12345")
	})
}

func TestRelayInformation(t *testing.T) {
	inHolding(t, heldOn, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.WriteHeader(http.StatusOK)
	}, func(h *holding) {
		q := h.request("GET", "/", nil)
		q.Header.Set(pass.TicketHeader, h.ticket("GET", "/"))
		hints := ""
		q = q.WithContext(httptrace.WithClientTrace(q.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = fmt.Sprint(code, " ", h.Get("Link"))
				return nil
			},
		}))
		if r := h.do(q); r.Header.Get("Link") != "" || hints != "103 </x>; rel=preload" {
			t.Errorf("hints %q, header %v", hints, r.Header)
		}
	})
}

func TestRelayRefusesWithoutTicket(t *testing.T) {
	inHolding(t, heldOn, func(http.ResponseWriter, *http.Request) { t.Error("the request went on") }, func(h *holding) {
		good := h.ticket("GET", "/a")
		for name, tickets := range map[string][]string{
			"none": nil, "forged": {good[:len(good)-1] + "x"}, "of another request": {good}, "two": {good, good},
		} {
			q := h.request("GET", "/b", nil)
			q.Header[ticketHeader] = tickets
			if r := h.do(q); r.StatusCode != http.StatusForbidden {
				t.Errorf("%s: status %d", name, r.StatusCode)
			}
		}
		h.wantMetric(4, "bypassed_total", "no_ticket")
		if n := h.logs.FilterMessageSnippet("without a valid ticket").Len(); n != 1 {
			t.Errorf("%d complaints", n)
		}
	})
}

func TestRelayClientLeaves(t *testing.T) {
	gone := make(chan struct{})
	inHolding(t, heldOn, func(w http.ResponseWriter, r *http.Request) {
		beginEvents(w)
		say(w, "id: 1\ndata: a\n\n")
		<-r.Context().Done()
		close(gone)
	}, func(h *holding) {
		r := h.open("/")
		r.want("id: 1\ndata: a\n\n")
		r.leave()
		<-gone
		h.wantOutcome("client_gone")
		if n := h.dialer.Stats().Live; n != 0 {
			t.Errorf("%d fetches are open", n)
		}
	})
}

func TestRelayReset(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, resume: none}`, func(w http.ResponseWriter, _ *http.Request) {
		beginEvents(w)
		say(w, "data: a\n\ndata: b")
		reset()
	}, func(h *holding) {
		h.open("/").wantCut("data: a\n\ndata: b")
		h.wantOutcome("cut")
	})
}

func TestRelayWithoutWay(t *testing.T) {
	inHolding(t, heldOn, nil, func(h *holding) {
		_ = h.loop.Close()
		h.stream("GET", "/").leave() // runs inline
		h.wantMetric(1, "streams_total", "inline", "client_gone", "p")
		if n := h.logs.FilterMessageSnippet("could not be fetched").Len(); n != 1 {
			t.Errorf("%d complaints", n)
		}
		dials := h.dialer.Stats().Dials
		h.stream("GET", "/").leave() // and is not tried for a while
		elapse(wayLostFor)
		h.stream("GET", "/").leave()
		if n := h.dialer.Stats().Dials; n != dials+1 {
			t.Errorf("dialed %d times, want %d", n, dials+1)
		}
	})
}

// A way that is lost when the request is on it already cannot be made up for.
func TestRelayLosesItsWay(t *testing.T) {
	inHolding(t, heldOn, nil, func(h *holding) {
		r := h.request("GET", "/", nil)
		r.Header.Set(pass.TicketHeader, h.ticket("GET", "/"))
		_ = h.loop.Close()
		_ = h.origin.Close()
		synctest.Wait()
		if res := h.do(r); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d", res.StatusCode)
		}
		h.stream("GET", "/").leave() // runs inline
		if n := h.logs.FilterMessageSnippet("could not be fetched").Len(); n != 1 {
			t.Errorf("%d complaints", n)
		}
	})
}

// Nor does a request wait for a way back that says nothing longer than Envoy waits
// for the answer.
func TestRelayWayIsMute(t *testing.T) {
	inHolding(t, heldOn, nil, func(h *holding) {
		defer h.srv.fetch.Close()
		begun := time.Now()
		h.stream("GET", "/").leave() // runs inline
		if d := time.Since(begun); d != reachWithin {
			t.Errorf("after %v, want %v", d, reachWithin)
		}
	}, func(o *Options) {
		var err error
		o.Fetch, err = upstream.New(upstream.Options{Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
	})
}
