// Package console serves the admin port: health, metrics, and what an operator
// may ask about the streams and sessions of this process.
//
// There is no login. On loopback, where that is no excuse for a web page in the
// operator's own browser to look in, the Host of every request is checked, and
// on any address a page of another origin can change nothing.
//
// Nothing here shows a credential: sessions go by their hash, principals and
// session keys arrive shortened, and event IDs are shortened here.
package console

import (
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"holdfast/processor/live"
	"holdfast/sessionstore"
)

// Streams are the streams that run now; *live.Registry is one.
type Streams interface {
	// Len is how many there are.
	Len() int
	// Snapshot returns at most limit streams in the order of their IDs, beginning
	// above after. Fewer than limit is the end.
	Snapshot(after live.ID, limit int) []live.Stream
	// Ended returns at most limit streams that ended lately, the latest first.
	Ended(now time.Time, limit int) []live.Stream
	// Find returns a stream that runs or ended lately, with its timeline.
	Find(now time.Time, id live.ID) (live.History, bool)
}

// Options are what the console shows. Streams, Sessions, Metrics and Config are
// needed; the others' zero values are as described.
type Options struct {
	Streams  Streams
	Sessions sessionstore.Directory
	Metrics  prometheus.Gatherer
	// Config returns the configuration in effect, with secrets hidden, as a value
	// for encoding/json. It is asked at each request, for a reload changes it.
	Config func() any
	// Targets returns the health of upstream hosts. nil: there is none to be shown.
	Targets func() []live.Target
	// Ready says why the process should get no new streams: it drains, or its
	// store is down. The text is shown, so it holds no secret. nil: always ready.
	Ready func() error
	// Trust names sessionstore.State.Trust. nil: it is shown as a number.
	Trust func(verdict uint8) string
	// Loopback says that the port is reached from this machine only. Requests
	// must then name it by a loopback address or as localhost.
	Loopback bool
	// Pprof adds /debug/pprof/. Only for loopback: profiles show memory.
	Pprof bool
	// Version is shown on the index page. Empty: none is.
	Version string
	// Log gets dropped sessions, failures of the store and faults of the console.
	// nil: nothing is logged.
	Log *zap.Logger
}

// console is the handler behind New.
type console struct {
	Options
	watchers chan struct{} // one slot for each client of the watch stream
	camera   camera
	history  history
}

// New returns the handler of the admin port. Its history begins when Serve does.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Trust == nil {
		o.Trust = trustNumber
	}
	if o.Targets == nil {
		o.Targets = func() []live.Target { return nil }
	}
	c := &console{
		Options: o, watchers: make(chan struct{}, maxWatchers),
		camera: camera{streams: o.Streams}, history: history{metrics: o.Metrics},
	}

	mux := http.NewServeMux()
	for _, r := range c.routes() {
		mux.Handle(r.pattern, r.methods)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is nothing at %s: / lists what there is", shorten(r.URL.Path))
	})
	return &handler{Handler: c.recovered(c.guarded(mux)), console: c}
}

// handler is a console that Serve can set going.
type handler struct {
	http.Handler

	console *console
}

// methods are the handlers of one path.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	if h, ok := m[method]; ok {
		h(w, r)
		return
	}
	allow := "GET, HEAD"
	if _, ok := m[http.MethodDelete]; ok {
		allow += ", DELETE"
	}
	w.Header().Set("Allow", allow)
	fail(w, http.StatusMethodNotAllowed, "%s is not for this path: use %s", shorten(r.Method), allow)
}

// route is a path and, for the index page, what it is good for.
type route struct {
	pattern string
	show    string // on the index page; "": not listed
	about   string
	methods methods
}

func get(h http.HandlerFunc) methods { return methods{http.MethodGet: h} }

func (c *console) routes() []route {
	metrics := promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{
		// One collector that fails should not hide the others.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 8,
	})
	rs := []route{
		{"/{$}", "", "", get(c.index)},
		{"/console/{name}", "", "", get(c.asset)},
		{"/livez", "/livez", "200 while the process runs", get(c.livez)},
		{"/readyz", "/readyz", "200 while new streams are welcome, 503 and the reason otherwise", get(c.readyz)},
		{"/metrics", "/metrics", "metrics for Prometheus", get(metrics.ServeHTTP)},
		{"/api/v1/streams", "/api/v1/streams", "the streams that run now; ?policy=, ?mode=, ?upstream= and ?q= choose, ?limit= and ?after= page; with ?state=ended (or all) also those that ended lately, with ?sort= in another order, paged by ?offset=", get(c.streams)},
		{"/api/v1/streams/{id}", "", "", get(c.stream)},
		{"/api/v1/streams/watch", "/api/v1/streams/watch", "the same as an event stream, a change at a time; ?with=summary adds the whole and its history", get(c.watch)},
		{"/api/v1/targets", "/api/v1/targets", "the health of upstream hosts", get(c.targets)},
		{"/api/v1/sessions", "/api/v1/sessions", "the sessions that are kept; ?limit= and ?after= page", get(c.sessions)},
		{"/api/v1/sessions/{key}", "", "", methods{http.MethodGet: c.session, http.MethodDelete: c.dropSession}},
		{"/api/v1/config", "/api/v1/config", "the configuration in effect, secrets hidden", get(c.config)},
	}
	if c.Pprof {
		// cmdline is left out: an upstream's URL on the command line may have a
		// password in it.
		rs = append(rs,
			route{"/debug/pprof/", "/debug/pprof/", "profiles for go tool pprof", get(pprof.Index)},
			route{"/debug/pprof/profile", "", "", get(pprof.Profile)},
			route{"/debug/pprof/trace", "", "", get(pprof.Trace)},
			route{"/debug/pprof/symbol", "", "", get(pprof.Symbol)},
		)
	}
	return rs
}

// recovered keeps a fault of one page from being more than that, and logs it.
func (c *console) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				c.Log.Error("admin request failed", zap.String("path", shorten(r.URL.Path)), zap.Any("fault", v), zap.ByteString("stack", debug.Stack()))
				fail(w, http.StatusInternalServerError, "the console failed; the log has the details")
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func (c *console) livez(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, status{"live"})
}

func (c *console) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := c.Ready(); err != nil {
		fail(w, http.StatusServiceUnavailable, "not ready: %v", err)
		return
	}
	answer(w, http.StatusOK, status{"ready"})
}

type status struct {
	Status string `json:"status"`
}

func (c *console) config(w http.ResponseWriter, r *http.Request) {
	if !noParameters(w, r) {
		return
	}
	answer(w, http.StatusOK, c.Config())
}

// now is the wall clock; tests run in a synctest bubble.
func now() time.Time { return time.Now() }
