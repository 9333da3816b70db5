package upstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/processor/pass"
)

// Options say where and how to fetch. Zero values are the documented defaults.
type Options struct {
	// URL of the listener: http://HOST:PORT or unix:/path. Required.
	URL string
	// Pass signs every request, for a listener that runs the filter too. nil: no
	// pass is sent.
	Pass *pass.Signer
	// ConnectTimeout bounds the making of one connection to the listener. Zero
	// or less: 60 s. (How long to wait for an answer is Request.AnswerWithin.)
	ConnectTimeout time.Duration
	// Spread is how many streams a connection carries before another one is
	// opened, until there are Conns. Zero or less: 64.
	Spread int
	// Conns is the number of connections to spread streams over. When all are
	// full there are more. Zero or less: 4.
	Conns int
	// StreamWindow is how many bytes of one response are buffered here when
	// nobody reads them, 64 KiB to 4 MiB. Zero: 256 KiB.
	StreamWindow int
	// PingAfter is the silence on a connection after which a ping is sent; a
	// connection that does not answer it within 10 s is given up, and so are its
	// streams. Zero: 15 s. Negative: never.
	PingAfter time.Duration
	// IdleConn is how long a connection without streams is kept. Zero or less:
	// 90 s.
	IdleConn time.Duration
	// Dial makes a connection to the listener in place of URL, for tests.
	Dial func(ctx context.Context) (net.Conn, error)
	// Now tells the time, for passes and for the count of resets. nil: time.Now.
	Now func() time.Time
}

const (
	defaultConnectTimeout = 60 * time.Second
	defaultSpread         = 64
	defaultConns          = 4
	defaultStreamWindow   = 256 << 10
	defaultPingAfter      = 15 * time.Second
	defaultIdleConn       = 90 * time.Second

	pingTimeout = 10 * time.Second
)

// Dialer fetches through Envoy. It is safe for concurrent use. See [New].
type Dialer struct {
	name string // in HopsHeader
	pass *pass.Signer
	now  func() time.Time
	pool pool
	live atomic.Int64
	url  string
}

// New returns a Dialer. It makes no connection before the first Fetch. The error
// says what is wrong with the options.
func New(o Options) (*Dialer, error) {
	dial := o.Dial
	if dial == nil {
		network, address, err := parseURL(o.URL)
		if err != nil {
			return nil, fmt.Errorf("fetch.url %q: %w: use http://HOST:PORT or unix:/path", o.URL, err)
		}
		dial = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	}
	if w := o.StreamWindow; w != 0 && (w < 64<<10 || w >= 4<<20) {
		return nil, fmt.Errorf("stream window of %d bytes: use 64 KiB to less than 4 MiB", w)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	transport := o.transport(dial)
	ctx, stop := context.WithCancel(context.Background())
	return &Dialer{
		name: rand.Text(),
		pass: o.Pass,
		now:  o.Now,
		url:  o.URL,
		pool: pool{
			open: func(ctx context.Context) (*http.ClientConn, error) {
				// The address is for the transport's books only: what is dialed
				// does not depend on it.
				return transport.NewClientConn(ctx, "http", "loopback:80")
			},
			now:    o.Now,
			within: orDefault(o.ConnectTimeout, defaultConnectTimeout),
			spread: orDefault(o.Spread, defaultSpread),
			want:   orDefault(o.Conns, defaultConns),
			ctx:    ctx,
			stop:   stop,
		},
	}, nil
}

func orDefault[T int | time.Duration](v, byDefault T) T {
	if v <= 0 {
		return byDefault
	}
	return v
}

// transport returns what makes connections: HTTP/2 with prior knowledge, over
// whatever dial returns.
func (o Options) transport(dial func(context.Context) (net.Conn, error)) *http.Transport {
	ping := o.PingAfter
	if ping == 0 {
		ping = defaultPingAfter
	}
	window := o.StreamWindow
	if window == 0 {
		window = defaultStreamWindow
	}
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols:          &h2c,
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true, // what is asked for is said in the request
		IdleConnTimeout:    orDefault(o.IdleConn, defaultIdleConn),
		HTTP2: &http.HTTP2Config{
			// The window of the whole connection stays at its default, 1 GiB: a
			// smaller one would be used up by a few streams that nobody reads,
			// and then all others on the connection would stand still.
			MaxReceiveBufferPerStream: window,
			SendPingTimeout:           max(ping, 0),
			PingTimeout:               pingTimeout,
			// Or a peer that reads nothing would block whoever closes a stream.
			WriteByteTimeout: pingTimeout,
		},
	}
}

// parseURL takes the listener's URL apart.
func parseURL(s string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if strings.Trim(path, "/") == "" {
			return "", "", errors.New("it names no socket")
		}
		// Some write the path as that of a URL, with an empty host before it.
		if strings.HasPrefix(path, "///") {
			path = path[2:]
		}
		return "unix", path, nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", "", errors.New("it is no URL")
	case u.Scheme != "http":
		return "", "", errors.New("it begins with neither http nor unix")
	case u.Hostname() == "" || u.Port() == "":
		return "", "", errors.New("it needs a host and a port")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", "", errors.New("it has more than a host and a port")
	}
	return "tcp", u.Host, nil
}

// Reach makes sure that there is a connection to Envoy, which costs nothing where
// there is one. The error says that a Fetch would not get there; whose fault that is
// if ctx has ended, the caller knows.
func (d *Dialer) Reach(ctx context.Context) error { return d.pool.reach(ctx) }

// maxTries bounds the connections on which a request is tried that does not get
// away: one may close, or be told to go away, between the choice and the use.
const maxTries = 3

// Fetch sends a request and returns when the response's header is there, whatever
// its status. It lives as long as ctx and the Response do: when ctx ends, so does
// the body, at once. The error is a *LocalError or a *PeerError.
func (d *Dialer) Fetch(ctx context.Context, r Request) (*Response, error) {
	res, err := d.fetch(ctx, &r)
	if err != nil && r.Body != nil {
		_ = r.Body.Close()
	}
	return res, err
}

func (d *Dialer) fetch(ctx context.Context, r *Request) (*Response, error) {
	if err := r.check(); err != nil {
		return nil, &LocalError{Malformed, err}
	}
	header := outgoing(r.Header)
	if err := d.sign(header, r); err != nil {
		return nil, err
	}
	if err := r.checkSize(header); err != nil {
		return nil, &LocalError{Malformed, err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	inTime := func() bool { return true }
	if r.AnswerWithin > 0 {
		inTime = time.AfterFunc(r.AnswerWithin, func() { cancel(ErrAnswerTimeout) }).Stop
	}
	hr, conn, err := d.try(ctx, r, header)
	if err != nil {
		inTime()
		cancel(err)
		return nil, err
	}
	d.live.Add(1)
	StripHopByHop(hr.Header)
	if len(hr.Trailer) > 0 {
		// The transport has taken the field away; it is the client's to see.
		hr.Header.Set("Trailer", strings.Join(slices.Sorted(maps.Keys(hr.Trailer)), ", "))
	}
	if hr.StatusCode == http.StatusNotModified {
		// "A server MAY send a Content-Length header field in a 304 (Not Modified)
		// response to a conditional GET request", of the body that it does not send:
		// https://www.rfc-editor.org/rfc/rfc9110#section-8.6. The transport would
		// miss that body.
		_ = hr.Body.Close()
		hr.Body, hr.ContentLength = http.NoBody, 0
	}
	res := &Response{
		Status: hr.StatusCode, Header: hr.Header, Length: hr.ContentLength,
		ctx: ctx, cancel: cancel, res: hr, d: d, conn: conn, uploads: r.Body != nil,
	}
	if !inTime() {
		// It came together with the end of our patience, which has already
		// cancelled it.
		_ = res.Close()
		return nil, &LocalError{TimedOut, ErrAnswerTimeout}
	}
	return res, nil
}

// try sends the request on one connection after the other until it gets away.
func (d *Dialer) try(ctx context.Context, r *Request, header http.Header) (*http.Response, *conn, error) {
	for n := 1; ; n++ {
		conn, err := d.pool.take(ctx)
		if err != nil {
			if peer, ok := errors.AsType[*PeerError](err); ok {
				peer.Err = fmt.Errorf("the loopback listener %s: %w; is Envoy there, and does fetch.url name a listener of it?", d.url, peer.Err)
			}
			return nil, nil, err
		}
		hr, up := r.start(ctx, header)
		res, err := conn.RoundTrip(hr)
		local := localError(ctx)
		// Where we gave up, whether the request has left is not known yet: the
		// transport does not wait for its own goroutine. It counts as a reset.
		d.pool.answered(conn, err != nil && local != nil)
		sent := up.sent.Load()
		switch {
		case err == nil:
			return res, conn, nil
		case local != nil:
			return nil, nil, local
		case !sent && conn.Err() == nil && conn.Available() > 0:
			// Nothing is wrong with the connection.
			return nil, nil, &LocalError{Malformed, err}
		case !sent && n < maxTries:
			continue
		}
		peer := peerError(NoAnswer, err)
		peer.Unprocessed = peer.Unprocessed || !sent
		return nil, nil, peer
	}
}

// Stats are numbers for metrics.
type Stats struct {
	Live  int    // responses that are not closed yet
	Conns int    // open connections
	Dials uint64 // connections begun so far, those that failed included
}

// Stats returns the present numbers.
func (d *Dialer) Stats() Stats {
	conns, dials := d.pool.count()
	return Stats{Live: int(d.live.Load()), Conns: conns, Dials: dials}
}

// Close ends all fetches at once and closes all connections. The Dialer cannot be
// used after it.
func (d *Dialer) Close() { d.pool.close() }
