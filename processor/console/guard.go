package console

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// answerTimeout is how long a client may take to read an answer. The watch
// stream and profiles, which take long by design, have none or their own.
const answerTimeout = 30 * time.Second

// guarded refuses what a browser might be tricked into asking, and marks every
// answer as something no browser should keep, frame or guess about.
func (c *console) guarded(next http.Handler) http.Handler {
	// Changes need a same-origin Sec-Fetch-Site or Origin, or none, as from curl.
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "a page of another origin may not change anything here")
	}))
	inner := crossOrigin.Handler(next)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", contentPolicy(r.URL.Path))

		if c.Loopback && !loopbackHost(r.Host) {
			// A name that its owner points at 127.0.0.1 makes this port same-origin
			// with a foreign page (DNS rebinding); the Host gives that away.
			fail(w, http.StatusForbidden, "the host %s is not this machine's: use localhost or a loopback address", shorten(r.Host))
			return
		}
		if r.ContentLength != 0 {
			h.Set("Connection", "close") // and do not wait for it
			fail(w, http.StatusBadRequest, "no request here has a body: send none")
			return
		}
		if !strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			setWriteDeadline(w, answerTimeout)
		}
		inner.ServeHTTP(w, r)
	})
}

// contentPolicy lets our page load its own files and nothing else, and lets no
// script turn a text into markup. The pages of pprof have styles in them.
func contentPolicy(path string) string {
	const always = "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if strings.HasPrefix(path, "/debug/pprof/") {
		return "default-src 'none'; style-src 'unsafe-inline'" + always
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'" +
		"; require-trusted-types-for 'script'; trusted-types 'none'" + always
}

// loopbackHost says whether a Host header names this machine to itself. Names
// below localhost never leave the machine either
// (https://www.rfc-editor.org/rfc/rfc6761#section-6.3).
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// setWriteDeadline is for the writes from now on. A writer that has no deadline
// (a test's recorder) needs none.
func setWriteDeadline(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(now().Add(d))
}
