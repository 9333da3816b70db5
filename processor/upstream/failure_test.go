package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestUnreachable(t *testing.T) {
	gone := listen(t, "tcp")
	gone.Close()
	for name, url := range map[string]string{
		"refused":   gone.url,
		"no socket": "unix:" + filepath.Join(t.TempDir(), "none"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dialer(t, Options{}, url).Fetch(deadline(t), feedRequest())
			if peer := wantCause(t, err, Refused); !peer.Unprocessed {
				t.Error("what was never sent can be sent again")
			}
			if !strings.Contains(err.Error(), url) || !strings.Contains(err.Error(), "fetch.url") {
				t.Errorf("does not say what to look at: %v", err)
			}
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	d := dialer(t, Options{
		ConnectTimeout: time.Millisecond,
		Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}, "")
	_, err := d.Fetch(deadline(t), feedRequest())
	wantCause(t, err, Refused)
}

// TestListenerSpeaksAnotherProtocol: a port that is not Envoy's, or HTTP/1 only.
func TestListenerSpeaksAnotherProtocol(t *testing.T) {
	l := listen(t, "tcp")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}
	}()
	_, err := dialer(t, Options{}, l.url).Fetch(deadline(t), feedRequest())
	if cause := CauseOf(err); cause != NoAnswer && cause != Refused {
		t.Errorf("%v: cause %v", err, cause)
	}
}

func TestResetBeforeTheResponse(t *testing.T) {
	for name, tt := range map[string]struct {
		play        func(*peer)
		unprocessed bool
		code        uint32
	}{
		"connection cut": {func(p *peer) { p.request() }, false, 0},
		"reset":          {func(p *peer) { p.reset(p.request(), 2); p.linger() }, false, 2},
		"cancel":         {func(p *peer) { p.reset(p.request(), 8); p.linger() }, false, 8},
		"refused stream": {func(p *peer) { p.reset(p.request(), 7); p.linger() }, true, 7},
		"going away, stream not processed": {
			func(p *peer) { p.request(); p.goAway(0, 0); p.linger() }, true, 0,
		},
		"going away, stream perhaps processed": {
			func(p *peer) { p.goAway(p.request(), 0) }, false, 0,
		},
		"going away with an error": {
			func(p *peer) { p.request(); p.goAway(0, 2); p.linger() }, false, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var reached int
			d := script(t, Options{}, func(p *peer) { reached++; tt.play(p) })
			r := feedRequest()
			r.Method, r.Content = "POST", []byte("x")
			_, err := d.Fetch(deadline(t), r)
			peer := wantCause(t, err, NoAnswer)
			if peer.Unprocessed != tt.unprocessed || peer.Code != tt.code || peer.HasCode != (tt.code != 0) {
				t.Errorf("%v: unprocessed %v, code %d (%v)", err, peer.Unprocessed, peer.Code, peer.HasCode)
			}
			d.Close()
			if reached != 1 {
				t.Errorf("sent %d times: to try again is not for the dialer to decide", reached)
			}
		})
	}
}

func TestResetInsideTheResponse(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(p *peer, stream uint32)
		code uint32
	}{
		"connection cut":     {func(*peer, uint32) {}, 0},
		"reset":              {func(p *peer, s uint32) { p.reset(s, 2); p.linger() }, 2},
		"cancel":             {func(p *peer, s uint32) { p.reset(s, 8); p.linger() }, 8},
		"going away and cut": {func(p *peer, s uint32) { p.goAway(s, 0) }, 0},
		"going away, error":  {func(p *peer, s uint32) { p.goAway(0, 2); p.linger() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := script(t, Options{}, func(p *peer) {
				s := p.request()
				p.answer(s, "data: 1\n\nda", false)
				tt.end(p, s)
			})
			res := fetch(t, d, feedRequest())
			body, err := io.ReadAll(res)
			if peer := wantCause(t, err, Reset); peer.Code != tt.code || peer.Unprocessed {
				t.Errorf("%v: code %d, unprocessed %v", err, peer.Code, peer.Unprocessed)
			}
			if string(body) != "data: 1\n\nda" {
				t.Errorf("body %q: what came before counts", body)
			}
		})
	}
}

// TestGracefulGoAway: streams that run go on, new ones get a new connection.
func TestGracefulGoAway(t *testing.T) {
	more := make(chan struct{})
	first := func(p *peer) {
		s := p.request()
		p.answer(s, "one ", false)
		p.goAway(s, 0)
		<-more
		p.write(frameData, flagEndStream, s, "two")
		p.linger()
	}
	second := func(p *peer) {
		p.answer(p.request(), "new", true)
		p.linger()
	}
	d := script(t, Options{}, first, second)
	old := fetch(t, d, feedRequest())
	buf := make([]byte, 4)
	if _, err := io.ReadFull(old, buf); err != nil {
		t.Fatal(err)
	}
	for d.Stats().Dials < 2 { // the GOAWAY may still be on its way
		res, err := d.Fetch(deadline(t), feedRequest())
		if err != nil {
			wantCause(t, err, NoAnswer)
			continue
		}
		if body, err := io.ReadAll(res); string(body) != "new" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		res.Close()
	}
	close(more)
	if body, err := io.ReadAll(old); string(body) != "two" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

func TestCleanEnds(t *testing.T) {
	d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/empty":
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/long":
			w.Header().Set("Content-Length", "4")
			send(w, "body")
		case "/short":
			w.Header().Set("Content-Length", "5")
			send(w, "body")
		}
	})
	for path, body := range map[string]string{"/empty": "", "/none": "", "/long": "body"} {
		r := feedRequest()
		r.Path = path
		res := fetch(t, d, r)
		got, err := io.ReadAll(res)
		if string(got) != body || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if _, err := res.Read(make([]byte, 1)); CauseOf(err) != CleanEnd || err != io.EOF {
			t.Errorf("%s: after the end %v", path, err)
		}
	}
	// Announced, and not delivered.
	r := feedRequest()
	r.Path = "/short"
	_, err := io.ReadAll(fetch(t, d, r))
	wantCause(t, err, Reset)
}

// TestCancelledAtOnce: when the client leaves, the origin learns it.
func TestCancelledAtOnce(t *testing.T) {
	for name, leave := range map[string]func(cancel func(), res *Response){
		"context": func(cancel func(), _ *Response) { cancel() },
		"close":   func(_ func(), res *Response) { res.Close(); res.Close() },
	} {
		for _, when := range []string{"silent", "sending", "before the response"} {
			t.Run(name+" "+when, func(t *testing.T) {
				left, here := make(chan struct{}), make(chan struct{})
				d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
					if when != "before the response" {
						send(w, "data: 1\n\n")
					}
					close(here)
					for when == "sending" && r.Context().Err() == nil {
						send(w, strings.Repeat("x", 1000))
					}
					<-r.Context().Done()
					close(left)
				})
				ctx, cancel := context.WithCancel(deadline(t))
				defer cancel()
				if when == "before the response" {
					go func() { <-here; cancel() }()
					_, err := d.Fetch(ctx, feedRequest())
					wantCause(t, err, Cancelled)
				} else {
					res, err := d.Fetch(ctx, feedRequest())
					if err != nil {
						t.Fatal(err)
					}
					<-here
					began := time.Now()
					leave(cancel, res)
					_, err = io.ReadAll(res)
					wantCause(t, err, Cancelled)
					defer res.Close()
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("took %v", took)
					}
				}
				<-left
			})
		}
	}
}

func TestCancelledBeforeItBegins(t *testing.T) {
	d, l, _ := serve(t, "tcp", Options{}, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Fetch(ctx, feedRequest())
	wantCause(t, err, Cancelled)
	_ = l
}

func TestSlowHeaders(t *testing.T) {
	release := make(chan struct{})
	d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		send(w, "late")
	})
	r := feedRequest()
	r.Path = "/slow"

	r.AnswerWithin = 10 * time.Millisecond
	_, err := d.Fetch(deadline(t), r)
	wantCause(t, err, TimedOut)
	if !errors.Is(err, ErrAnswerTimeout) {
		t.Errorf("%v", err)
	}

	r.AnswerWithin = 0
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = d.Fetch(ctx, r)
	wantCause(t, err, TimedOut)

	// Patience is for the header alone: the body may take as long as it likes.
	r.Path, r.AnswerWithin = "/", 5*time.Second
	res := fetch(t, d, r)
	if body, err := io.ReadAll(res); string(body) != "late" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	r.Path, r.AnswerWithin = "/slow", 0
	close(release)
	fetch(t, d, r)
}

func TestLoops(t *testing.T) {
	hops := make(chan string, 1)
	d, _, _ := serve(t, "tcp", Options{}, func(_ http.ResponseWriter, r *http.Request) { hops <- r.Header.Get(HopsHeader) })
	other := dialer(t, Options{}, d.url)
	r := feedRequest()
	fetch(t, d, r)
	mine := <-hops
	if mine == "" || !d.Looped(mine) || other.Looped(mine) || d.Looped("") {
		t.Fatalf("hops %q", mine)
	}
	// Through another gateway of the kind: fine, and both are named.
	r.Header.Set(HopsHeader, mine)
	fetch(t, other, r)
	both := <-hops
	if !strings.HasPrefix(both, mine+",") || !d.Looped(both) || !other.Looped(both) {
		t.Errorf("hops %q", both)
	}
	r.Header.Set(HopsHeader, both)
	_, err := d.Fetch(deadline(t), r)
	wantCause(t, err, Looped)
	if !errors.Is(err, ErrLoop) || !strings.Contains(err.Error(), "pass_key_file") {
		t.Errorf("%v", err)
	}
	// Each round may meet another replica: the chain is bounded.
	r.Header.Set(HopsHeader, strings.Repeat("x,", maxHops-3)+"x")
	fetch(t, d, r)
	<-hops
	for _, chain := range [][]string{{strings.Repeat("x,", maxHops)}, {"a,b,c,d", "e,f,g,h"}} {
		r.Header[http.CanonicalHeaderKey(HopsHeader)] = chain
		_, err = d.Fetch(deadline(t), r)
		wantCause(t, err, Looped)
	}
}

func TestMalformedRequests(t *testing.T) {
	d, l, _ := serve(t, "tcp", Options{}, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	for name, change := range map[string]func(*Request){
		"connect":         func(r *Request) { r.Method = "CONNECT" },
		"no method":       func(r *Request) { r.Method = "" },
		"odd method":      func(r *Request) { r.Method = "GE T" },
		"no path":         func(r *Request) { r.Path = "" },
		"relative path":   func(r *Request) { r.Path = "feed" },
		"absolute URL":    func(r *Request) { r.Path = "http://example.com/" },
		"blank in path":   func(r *Request) { r.Path = "/a b" },
		"newline in path": func(r *Request) { r.Path = "/a\nb" },
		"no authority":    func(r *Request) { r.Authority = "" },
		"odd authority":   func(r *Request) { r.Authority = "exämple.com" },
		"two bodies":      func(r *Request) { r.Content, r.Body = []byte("x"), http.NoBody },
		"header value":    func(r *Request) { r.Header.Set("X-A", "a\nb") },
		"header name":     func(r *Request) { r.Header["X A"] = []string{"b"} },
	} {
		t.Run(name, func(t *testing.T) {
			r := feedRequest()
			change(&r)
			_, err := d.Fetch(deadline(t), r)
			wantCause(t, err, Malformed)
			if len(err.Error()) > 300 {
				t.Errorf("long: %v", err)
			}
		})
	}
	_ = l
}

func TestWrongURLs(t *testing.T) {
	for url, want := range map[string]string{
		"":                         "neither http nor unix",
		"127.0.0.1:10001":          "no URL",
		"https://127.0.0.1:10001":  "neither http nor unix",
		"http://127.0.0.1":         "needs a host and a port",
		"http://:80":               "needs a host and a port",
		"http://127.0.0.1:1/x":     "more than a host and a port",
		"http://u:p@127.0.0.1:1":   "more than a host and a port",
		"http://127.0.0.1:1?x=1":   "more than a host and a port",
		"unix:":                    "names no socket",
		"unix:///":                 "names no socket",
		"http://127.0.0.1:port/\n": "no URL",
	} {
		_, err := New(Options{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "use http://HOST:PORT or unix:/path") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"http://localhost:1", "http://[::1]:1/", "unix:/s", "unix:s", "unix:///s"} {
		d, err := New(Options{URL: url})
		if err != nil {
			t.Errorf("%q: %v", url, err)
			continue
		}
		d.Close()
	}
	for _, window := range []int{1, 64<<10 - 1, 4 << 20, -1} {
		if _, err := New(Options{URL: "unix:/s", StreamWindow: window}); err == nil {
			t.Errorf("window %d was taken", window)
		}
	}
}

func TestClosedDialer(t *testing.T) {
	d, _, _ := serve(t, "tcp", Options{}, func(w http.ResponseWriter, r *http.Request) {
		send(w, "data: 1\n\n")
		<-r.Context().Done()
	})
	res := fetch(t, d, feedRequest())
	d.Close()
	_, err := io.ReadAll(res)
	if CauseOf(err) != Reset {
		t.Errorf("a fetch that was under way: %v", err)
	}
	_, err = d.Fetch(deadline(t), feedRequest())
	wantCause(t, err, Cancelled)
	if !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	d.Close()
}

func TestCausesOfOtherErrors(t *testing.T) {
	for err, want := range map[error]Cause{nil: CleanEnd, io.EOF: CleanEnd, io.ErrUnexpectedEOF: Reset, errors.New("x"): Reset} {
		if got := CauseOf(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
