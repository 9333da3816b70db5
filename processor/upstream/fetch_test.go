package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/processor/keyfile"
	"holdfast/processor/pass"
)

func TestPathsArriveByteForByte(t *testing.T) {
	got := make(chan [2]string, 1)
	d := script(t, Options{}, func(p *peer) {
		for {
			stream, fields := p.fields()
			if stream == 0 {
				return
			}
			got <- [2]string{fields[":path"], fields[":authority"]}
			p.answer(stream, "", true)
		}
	})
	for _, path := range []string{
		"/", "/feed", "/a%2Fb/%7e/%E4%BD%A0", "/a//b", "//a", "///", "//example.com/x", "/./a/../b", "/a;b=c,d", "/?", "/??", "/?a",
		"/a?b?c=d&&e=%zz&%", "/a?x=http://y/z#", "/a#b", "/%", "/a?q=\"<>|{}^`\\", "/a:b@c", "/\xff\xfe", "/" + strings.Repeat("x", 8000), "*",
	} {
		for _, authority := range []string{"example.com", "Example.COM:8443", "[::1]:80", "a_b.internal"} {
			r := feedRequest()
			r.Path, r.Authority = path, authority
			res, err := d.Fetch(deadline(t), r)
			if err != nil {
				t.Errorf("%.80q: %v", path, err)
				continue
			}
			if at, want := <-got, [2]string{path, authority}; at != want {
				t.Errorf("%.80q arrived", at)
			}
			res.Close()
		}
	}
}

func TestHeadersGoOnAsReceived(t *testing.T) {
	got := make(chan http.Header, 1)
	d, _, _ := serve(t, "tcp", Options{}, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() })
	big := strings.Repeat("v", 10_000)
	r := feedRequest()
	r.Header = http.Header{
		"Accept":            {"text/event-stream"},
		"Authorization":     {"Bearer t"},
		"Cookie":            {"a=1; b=2"},
		"Traceparent":       {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Tracestate":        {"a=1", "b=2"},
		"x-request-id":      {"r1"}, // in any case
		"X-Forwarded-For":   {"203.0.113.7"},
		"X-Big":             {big},
		"X-Twice":           {"1", "2"},
		"X-Empty":           {""},
		"Last-Event-Id":     {"3"},
		"Accept-Encoding":   {"gzip, br"},
		"Connection":        {"keep-alive, X-Of-This-Hop", "x-and-this"},
		"X-Of-This-Hop":     {"1"},
		"X-And-This":        {"1"},
		"Keep-Alive":        {"timeout=5"},
		"Proxy-Connection":  {"keep-alive"},
		"Te":                {"gzip, Trailers"},
		"Transfer-Encoding": {"chunked"},
		"Upgrade":           {"h2c"},
		"Trailer":           {"X-T"},
		"Expect":            {"100-continue"},
		"Host":              {"other.example"},
		"Content-Length":    {"7"},
		":path":             {"/x"},
		"X-Holdfast-Ticket": {"t"},
		"x-holdfast-pass":   {"forged"},
		"X-Holdfast-Other":  {"1"},
	}
	before := r.Header.Clone()
	fetch(t, d, r)
	if diff := cmp.Diff(before, r.Header); diff != "" {
		t.Errorf("the header was changed: %s", diff)
	}
	h := <-got
	if hops := h.Get(HopsHeader); hops != d.name {
		t.Errorf("hops %q", hops)
	}
	h.Del(HopsHeader)
	want := http.Header{
		"Accept": {"text/event-stream"}, "Accept-Encoding": {"identity"}, "Authorization": {"Bearer t"}, "Cookie": {"a=1; b=2"},
		"Traceparent": before["Traceparent"], "Tracestate": {"a=1", "b=2"}, "X-Request-Id": {"r1"}, "X-Forwarded-For": {"203.0.113.7"},
		"X-Big": {big}, "X-Twice": {"1", "2"}, "X-Empty": {""}, "Last-Event-Id": {"3"}, "Te": {"trailers"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

func TestPassOpensTheListener(t *testing.T) {
	signer, err := pass.New([][]byte{keyfile.New()}, pass.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, _, _ := serve(t, "tcp", Options{Pass: signer}, func(w http.ResponseWriter, r *http.Request) {
		policy, err := signer.Verify(time.Now(), pass.Pass, r.Header.Get(pass.PassHeader), pass.Claims{
			Method: r.Method, Authority: r.Host, Path: r.RequestURI,
		})
		if err != nil || len(r.Header.Values(pass.PassHeader)) != 1 {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, policy)
	})
	r := feedRequest()
	r.Policy, r.Path = "default", "//a%2f?x"
	r.Header.Set(pass.PassHeader, "forged")
	for range 3 { // a fresh one each time
		res := fetch(t, d, r)
		if body, _ := io.ReadAll(res); res.Status != 200 || string(body) != "default" {
			t.Errorf("%d %q", res.Status, body)
		}
	}
	r.Policy = strings.Repeat("p", 256)
	_, err = d.Fetch(deadline(t), r)
	wantCause(t, err, Malformed)
}

// closing is a body that tells when it is closed.
type closing struct {
	io.Reader
	once   sync.Once
	closed chan struct{}
}

func newClosing(r io.Reader) *closing { return &closing{Reader: r, closed: make(chan struct{})} }

func (c *closing) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

func TestBodies(t *testing.T) {
	d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %v %v %s", r.ContentLength, err, r.Trailer, body)
	})
	for _, tt := range []struct {
		name    string
		content []byte
		body    io.Reader
		length  int64
		trailer http.Header
		want    string
	}{
		{name: "none", want: "0 <nil> map[] "},
		{name: "collected", content: []byte("hello"), want: "5 <nil> map[] hello"},
		{name: "streamed", body: strings.NewReader("hello"), want: "-1 <nil> map[] hello"},
		{name: "streamed, length known", body: strings.NewReader("hello"), length: 5, want: "5 <nil> map[] hello"},
		{name: "streamed, nothing", body: strings.NewReader(""), want: "-1 <nil> map[] "},
		{name: "trailers", body: strings.NewReader("x"), trailer: header("X-Sum: 7"), want: "-1 <nil> map[X-Sum:[7]] x"},
		{name: "no body", body: http.NoBody, want: "0 <nil> map[] "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := feedRequest()
			r.Method, r.Content, r.Length, r.Trailer = "POST", tt.content, tt.length, tt.trailer
			body := newClosing(tt.body)
			switch tt.body {
			case nil:
				body.Close()
			case http.NoBody:
				body.Close()
				r.Body = http.NoBody
			default:
				r.Body = body
			}
			for range 2 {
				got, err := io.ReadAll(fetch(t, d, r))
				if string(got) != tt.want || err != nil {
					t.Errorf("%q, %v, want %q", got, err, tt.want)
				}
				if tt.content == nil {
					break // only what was collected can be sent again
				}
			}
			<-body.closed
		})
	}
	t.Run("closed on failure", func(t *testing.T) {
		gone := listen(t, "tcp")
		gone.Close()
		for _, path := range []string{"/", "not a path"} {
			body := newClosing(strings.NewReader("x"))
			r := feedRequest()
			r.Method, r.Path, r.Body = "POST", path, body
			if _, err := dialer(t, Options{}, gone.url).Fetch(deadline(t), r); err == nil {
				t.Error("fetched")
			}
			<-body.closed
		}
	})
}

// TestBothWaysAtOnce: the response begins before the request has ended.
func TestBothWaysAtOnce(t *testing.T) {
	d, _, _ := serve(t, "unix", Options{}, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		send(w, "ready ")
		_, _ = io.Copy(w, r.Body)
	})
	in, out := io.Pipe()
	r := feedRequest()
	r.Method, r.Body = "POST", in
	res := fetch(t, d, r)
	buf := make([]byte, 6)
	if _, err := io.ReadFull(res, buf); err != nil || string(buf) != "ready " {
		t.Fatalf("%q, %v", buf, err)
	}
	_, _ = io.WriteString(out, "echo")
	out.Close()
	if body, err := io.ReadAll(res); string(body) != "echo" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

func TestResponsesAreRelayedAsTheyAre(t *testing.T) {
	d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(http.StatusTemporaryRedirect)
		send(w, "\x1f\x8b not really")
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Late", "yes")
	})
	res := fetch(t, d, feedRequest())
	if res.Status != 307 || res.Length != -1 || res.Header.Get("Content-Encoding") != "gzip" || len(res.Header["Set-Cookie"]) != 2 {
		t.Errorf("%d %v", res.Status, res.Header)
	}
	if body, err := io.ReadAll(res); string(body) != "\x1f\x8b not really" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	if diff := cmp.Diff(http.Header{"Grpc-Status": {"0"}, "Late": {"yes"}}, res.Trailer()); diff != "" {
		t.Error(diff)
	}

	d, _, _ = serve(t, "tcp", Options{}, func(w http.ResponseWriter, _ *http.Request) { send(w, "x") })
	res = fetch(t, d, feedRequest())
	if _, err := io.ReadAll(res); err != nil || res.Trailer() != nil {
		t.Errorf("%v, %v", err, res.Trailer())
	}
}

// TestWaitNeedsNoBuffer: it returns when something has come, and takes none.
func TestWaitNeedsNoBuffer(t *testing.T) {
	next := make(chan string)
	d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, _ *http.Request) {
		send(w, "")
		for text := range next {
			send(w, text)
		}
	})
	res := fetch(t, d, feedRequest())
	for _, text := range []string{"data: 1\n\n", "data: 2\n\n"} {
		woken := make(chan error, 1)
		go func() { woken <- res.Wait() }()
		runtime.Gosched()
		select {
		case err := <-woken:
			t.Fatalf("returned with nothing there: %v", err)
		default:
		}
		next <- text
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := res.Read(buf); string(buf[:n]) != text || err != nil {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	close(next)
	if err := res.Wait(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestConnectionIsReused(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		d, l, _ := serve(t, network, Options{}, func(w http.ResponseWriter, _ *http.Request) { send(w, "x") })
		for range 200 {
			res := fetch(t, d, feedRequest())
			if _, err := io.ReadAll(res); err != nil {
				t.Fatal(err)
			}
			res.Close()
		}
		if n := l.made.Load(); n != 1 {
			t.Errorf("%s: %d connections for 200 fetches in turn", network, n)
		}
		if s := d.Stats(); s.Live != 0 || s.Conns != 1 || s.Dials != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// TestManyStreams holds 500 open at once where the listener allows 100 on each
// connection.
func TestManyStreams(t *testing.T) {
	const streams = 500
	all := make(chan struct{})
	var here atomic.Int32
	d, l, _ := serve(t, "unix", Options{}, func(w http.ResponseWriter, r *http.Request) {
		send(w, r.URL.Path+"\n")
		if here.Add(1) == streams {
			close(all)
		}
		<-all
		send(w, r.URL.Path)
	})
	ctx := deadline(t)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			r := feedRequest()
			r.Path = fmt.Sprintf("/%d", i)
			res, err := d.Fetch(ctx, r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Close()
			if body, err := io.ReadAll(res); string(body) != r.Path+"\n"+r.Path || err != nil {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	wg.Wait()
	made := l.made.Load()
	if made < streams/100 || made > streams/100+4 {
		t.Errorf("%d connections", made)
	}
	if s := d.Stats(); s.Live != 0 || s.Dials != uint64(made) {
		t.Errorf("%+v", s)
	}
}

// TestStreamsAreSpread: a few connections share the load before one is full.
func TestStreamsAreSpread(t *testing.T) {
	d, l, _ := serve(t, "tcp", Options{Spread: 4, Conns: 3}, func(w http.ResponseWriter, r *http.Request) {
		send(w, "x")
		<-r.Context().Done()
	})
	for range 60 {
		fetch(t, d, feedRequest())
		d.pool.mu.Lock()
		under := d.pool.under
		d.pool.mu.Unlock()
		if under != nil {
			<-under.done
		}
	}
	if n := l.made.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
	most, least := 0, 1000
	for _, c := range d.pool.conns {
		most, least = max(most, c.InFlight()), min(least, c.InFlight())
	}
	if most-least > 1 {
		t.Errorf("between %d and %d streams on a connection", least, most)
	}
}

// TestClientsThatLeaveSpareTheOthers: no connection sees so many resets that
// Envoy would close it, and with it a stream that is held.
func TestClientsThatLeaveSpareTheOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		leave int // clients
		most  int // resets on a connection that Envoy bears
		path  string
	}{
		"inside the response": {2500, 1000, "/answered"},
		"before the response": {800, 250, "/silent"},
	} {
		t.Run(name, func(t *testing.T) {
			type counter struct{}
			here, finish := make(chan struct{}), make(chan struct{})
			var mu sync.Mutex
			var resets []*int // by connection
			d, _, _ := serve(t, "unix", Options{Conns: 1, Now: func() time.Time { return now }}, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/held":
					send(w, "x")
					<-finish
					send(w, "y")
					return
				case "/answered":
					send(w, "x")
				case "/silent":
					here <- struct{}{}
				}
				<-r.Context().Done()
				mu.Lock()
				*r.Context().Value(counter{}).(*int)++
				mu.Unlock()
			}, func(srv *http.Server) {
				srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
					mu.Lock()
					defer mu.Unlock()
					resets = append(resets, new(int))
					return context.WithValue(ctx, counter{}, resets[len(resets)-1])
				}
			})
			r := feedRequest()
			r.Path = "/held"
			held := fetch(t, d, r)
			r.Path = tt.path
			for range tt.leave {
				ctx, cancel := context.WithCancel(deadline(t))
				if tt.path == "/silent" {
					go func() { <-here; cancel() }()
				}
				res, err := d.Fetch(ctx, r)
				if err == nil {
					res.Close()
				} else {
					wantCause(t, err, Cancelled)
				}
				cancel()
			}
			close(finish)
			if body, err := io.ReadAll(held); string(body) != "xy" || err != nil {
				t.Errorf("the held stream brought %q, %v", body, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if fewest := tt.leave / tt.most; len(resets) <= fewest || len(resets) > fewest+2 {
				t.Errorf("%d connections", len(resets))
			}
			for _, n := range resets {
				if *n > tt.most {
					t.Errorf("%d resets on one connection", *n)
				}
			}
		})
	}
}

// TestResetsAreForgivenInTime: the count recovers as that of Envoy's codec does.
// TestWornConnectionsAreReplaced: one that has borne all it can is used no more, and
// stays for its streams. However many such there are, new streams get another one.
func TestWornConnectionsAreReplaced(t *testing.T) {
	d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
		send(w, "data: 1\n\n")
		<-r.Context().Done()
	})
	for range maxConns + 1 {
		res := fetch(t, d, feedRequest())
		d.pool.mu.Lock()
		res.conn.early = earlyBurst
		d.pool.mu.Unlock()
	}
	if n := d.Stats().Conns; n != maxConns+1 {
		t.Errorf("%d connections", n)
	}
}

func TestResetsAreForgivenInTime(t *testing.T) {
	c := &conn{left: resetBurst, at: now}
	for range resetBurst {
		if !c.bears(0) {
			t.Fatal("fewer than the burst")
		}
		c.left--
	}
	if c.bears(0) {
		t.Error("more than the burst")
	}
	c.refill(now.Add(-time.Hour)) // clocks that disagree change nothing
	c.refill(now)
	if c.bears(0) {
		t.Error("forgiven in no time")
	}
	c.refill(now.Add(time.Second))
	if !c.bears(resetRate-1) || c.bears(resetRate) {
		t.Errorf("%v are forgiven in a second", c.left)
	}
	c.refill(now.Add(time.Hour))
	if !c.bears(resetBurst-1) || c.bears(resetBurst) {
		t.Errorf("%v are left in the end", c.left)
	}
}

// TestListenerRestarts: what was there breaks, what comes next does not.
func TestListenerRestarts(t *testing.T) {
	d, l, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
		send(w, "x")
		<-r.Context().Done()
	})
	for range 20 {
		res := fetch(t, d, feedRequest())
		l.cut()
		_, err := io.ReadAll(res)
		wantCause(t, err, Reset)
		res.Close()
	}
	if s := d.Stats(); s.Live != 0 || s.Conns > 1 {
		t.Errorf("%+v", s)
	}
}

// TestUnreadResponseIsBounded: nobody reads, the origin does not stop sending.
// It is held up by the window, and the other streams of the connection are not.
func TestUnreadResponseIsBounded(t *testing.T) {
	const window = 64 << 10
	var sent atomic.Int64
	d, _, _ := serve(t, "tcp", Options{StreamWindow: window, Conns: 1}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			send(w, "x")
			return
		}
		block := bytes.Repeat([]byte("x"), 1<<10)
		for range 1 << 10 {
			n, err := w.Write(block)
			if err != nil {
				return
			}
			sent.Add(int64(n))
			_ = http.NewResponseController(w).Flush()
		}
	})
	res := fetch(t, d, feedRequest())
	for sent.Load() < window-1<<10 {
		runtime.Gosched()
	}
	for range 50 {
		r := feedRequest()
		r.Path = "/quick"
		if body, err := io.ReadAll(fetch(t, d, r)); string(body) != "x" || err != nil {
			t.Fatalf("%q, %v", body, err)
		}
	}
	if n := sent.Load(); n > 2*window {
		t.Errorf("%d bytes were sent to someone who does not read", n)
	}
	n, err := io.Copy(io.Discard, res)
	if n != 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
