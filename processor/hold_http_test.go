package processor

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/processor/pass"
)

// What is too large for the way back through Envoy is not held: it would cost the
// connection, with everybody's streams on it.
func TestLargeHeadersAreNotHeld(t *testing.T) {
	inHolding(t, heldOn, nil, func(h *holding) {
		for _, large := range []struct{ path, header string }{
			{"/", "x-large: " + strings.Repeat("x", 64<<10)},
			{"/" + strings.Repeat("x", 64<<10), "x: y"},
			{"/", "x-many: " + strings.Repeat("x", 50<<10)},
		} {
			more := []string{large.header}
			if strings.HasPrefix(large.header, "x-many") {
				more = append(more, large.header, large.header)
			}
			h.stream("GET", large.path, more...).leave()
			if mode := h.ended()["mode"]; mode != "inline" {
				t.Errorf("%.10s: mode %v", large.header, mode)
			}
		}
		h.ticket("GET", "/", "x: "+strings.Repeat("x", 50<<10))
	})
}

// Uploads that nobody takes, as many as Envoy has on a connection, do not stop another.
func TestRelayUploadsThatStandStill(t *testing.T) {
	inHolding(t, heldOn, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			<-r.Context().Done()
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		say(w, "%d", n)
	}, func(h *holding) {
		ctx, cancel := context.WithCancel(h.Context())
		for range 255 {
			q := h.request("POST", "/stuck", strings.NewReader(strings.Repeat("x", 1<<20))).WithContext(ctx)
			q.Header.Set(pass.TicketHeader, h.ticket("POST", "/stuck"))
			go func() {
				if r, err := h.client.Do(q); err == nil {
					_ = r.Body.Close()
				}
			}()
		}
		synctest.Wait()
		begun := time.Now()
		h.ask("POST", "/", strings.NewReader(strings.Repeat("x", 100<<10))).wantEnd("102400")
		if d := time.Since(begun); d > time.Second {
			t.Errorf("after %v", d)
		}
		cancel()
		synctest.Wait()
	})
}

// Trailers may be announced, and then come as announced.
func TestRelayAnnouncedTrailers(t *testing.T) {
	inHolding(t, heldOn, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum, X-None")
		if r.URL.Path == "/stream" {
			beginEvents(w)
		}
		say(w, "data: a\n\n")
		w.Header().Set("X-Sum", "7")
	}, func(h *holding) {
		for _, path := range []string{"/", "/stream"} {
			r := h.ask("GET", path, nil)
			if _, told := r.Trailer["X-Sum"]; !told || len(r.Trailer) != 2 {
				t.Errorf("%s: announced are %v", path, r.Trailer)
			}
			r.wantEnd("data: a\n\n")
			if got := r.Trailer["X-Sum"]; len(got) != 1 || got[0] != "7" || r.Trailer["X-None"] != nil {
				t.Errorf("%s: trailers %v", path, r.Trailer)
			}
		}
	})
}

// A 304 may tell the length of what it does not send.
func TestRelayNotModified(t *testing.T) {
	inHolding(t, heldOn, notModified, func(h *holding) {
		r := h.ask("GET", "/", nil)
		if r.StatusCode != http.StatusNotModified || r.Header.Get("Content-Length") != "1234" {
			t.Errorf("status %d, %v", r.StatusCode, r.Header)
		}
		// This client misses the body, but it does not see a reset.
		if _, err := io.ReadAll(r.Body); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
	})
}

func notModified(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1234")
	w.WriteHeader(http.StatusNotModified)
}

// What net/http would refuse is not sent to a listener of its: Envoy takes it, and so
// may the origin.
func TestRelayLeavesOutWhatItCannotServe(t *testing.T) {
	inHolding(t, `- {name: p, mode: hold, resume: none}`, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, func(h *holding) {
		for _, path := range []string{"/100%", "/a%zz?b=1"} {
			e := h.stream("GET", path)
			e.end(ev(1))
			e.wantEnd(ev(1))
			if mode := h.ended()["mode"]; mode != "inline" {
				t.Errorf("%s: mode %v", path, mode)
			}
		}
		m := requestMessage("GET", "/")
		for _, f := range m.GetRequestHeaders().GetHeaders().GetHeaders() {
			if f.GetKey() == ":authority" {
				f.RawValue = []byte("user@example.test")
			}
		}
		e := h.dial()
		if a := e.ask(m); a.GetRequestHeaders().GetResponse().GetClearRouteCache() {
			t.Errorf("an authority with user information is sent there: %v", a)
		}
		e.leave()
		if r := h.ask("GET", "/?q=%zz", nil); r.StatusCode != http.StatusTeapot {
			t.Errorf("status %d", r.StatusCode)
		}
	})
}
