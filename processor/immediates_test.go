package processor

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// refuse is what an Envoy does with an answer that it does not know: it resets the
// stream, and has said nothing before that.
func (e *envoy) refuse() { e.cancel() }

func (h *holding) wantComplaints(want int, about string) {
	h.Helper()
	synctest.Wait()
	if n := h.logs.FilterMessageSnippet(about).Len(); n != want {
		h.Errorf("%d complaints with %q, want %d", n, about, want)
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/text" {
		http.Error(w, "no", http.StatusTeapot)
		return
	}
	beginEvents(w)
	<-r.Context().Done()
}

func TestImmediateTooOldEnvoy(t *testing.T) {
	inHolding(t, direct, endless, func(h *holding) {
		const tooOld = "this Envoy is older than 1.37"
		e := h.dial(VersionKey, "")
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.refuse()
		h.wantComplaints(1, tooOld)
		h.dial(VersionKey, "").open("GET", "/").leave() // inline
		elapse(distrust)
		e = h.dial(VersionKey, "")
		e.hold("GET", "/") // tried again
		e.wantHeaders("200")
		e.refuse()
		h.wantComplaints(2, tooOld)
		h.dial(VersionKey, "").open("GET", "/").leave()
	})
}

// Whoever leaves, even in the moment in which the first response of all begins, is
// not taken for an Envoy that is too old.
func TestImmediateFirstClientLeaves(t *testing.T) {
	inHolding(t, direct, endless, func(h *holding) {
		e := h.dial(VersionKey, "")
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.leave()
		synctest.Wait()
		e = h.dial(VersionKey, "")
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.refuse() // now that it is known that Envoy is new enough, nor is anything else
		synctest.Wait()
		e = h.dial(VersionKey, "")
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.leave()
		h.wantComplaints(0, "older")
	})
}

// What has ended before Envoy had a say shows nothing.
func TestImmediateShortAnswers(t *testing.T) {
	inHolding(t, direct, endless, func(h *holding) {
		for _, end := range []func(*envoy){(*envoy).leave, (*envoy).refuse} {
			e := h.dial(VersionKey, "")
			e.hold("GET", "/text")
			e.wantHeaders("418")
			e.wantImmediate("no\n", true)
			end(e)
			h.wantComplaints(0, "older")
		}
		e := h.dial(VersionKey, "")
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.refuse()
		h.wantComplaints(1, "older")
	})
}

// An Envoy that has lived with a response for a while has understood it.
func TestImmediateLasts(t *testing.T) {
	inHolding(t, direct, endless, func(h *holding) {
		for _, lasts := range []time.Duration{tooShort + time.Millisecond, 0} {
			e := h.dial(VersionKey, "")
			e.hold("GET", "/")
			e.wantHeaders("200")
			elapse(lasts)
			e.refuse()
			h.wantComplaints(0, "older")
		}
	})
}

// What an Envoy that does not know immediate responses would do twice is not held
// before it is known that it does.
func TestImmediateEmptyPost(t *testing.T) {
	inHolding(t, direct, endless, func(h *holding) {
		empty := func() *envoy {
			e := h.dial(VersionKey, "")
			m := requestMessage("POST", "/")
			m.GetRequestHeaders().EndOfStream = true
			e.send(m)
			return e
		}
		e := empty()
		if a := e.recv(); a.GetRequestHeaders() == nil {
			t.Errorf("want an answer to the headers, got %v", a)
		}
		e.leave()
		e = h.dial(VersionKey, "")
		e.hold("GET", "/")
		e.wantHeaders("200")
		e.leave()
		synctest.Wait()
		e = empty()
		if a := e.recv(); a.GetOverrideMessageTimeout() == nil {
			t.Errorf("want patience, got %v", a)
		}
		e.wantHeaders("200")
		e.leave()
	})
}

// An Envoy that is known is not asked for what it does not know. Others are not asked
// for what they might answer with an error.
func TestImmediateVersions(t *testing.T) {
	const (
		oldToHold   = "older than 1.37"
		oldToUpload = "older than 1.40"
		unknown     = "has not said what it is"
	)
	for _, c := range []struct {
		version, method string
		reported        bool
		held            bool
		told            string
	}{
		{"1.36.4", "GET", false, false, oldToHold},
		{"1.36.4", "POST", false, false, oldToHold},
		{"1.37.0", "GET", false, true, ""},
		{"1.39.3", "POST", false, false, oldToUpload},
		{"1.40.0", "POST", false, true, ""},
		{"2.0.0", "POST", false, true, ""},
		{"", "GET", false, true, ""},
		{"", "POST", false, false, unknown},
		{"", "POST", true, false, ""}, // it will say so with its access log
		{"new", "GET", false, true, ""},
		{"new", "POST", false, false, unknown},
	} {
		t.Run(c.version+" "+c.method, func(t *testing.T) {
			inHolding(t, direct, endless, func(h *holding) {
				for range 2 {
					md := []string{VersionKey, c.version}
					if c.reported {
						md = append(md, reportedKey, "1")
					}
					e := h.dial(md...)
					m := requestMessage(c.method, "/")
					m.GetRequestHeaders().EndOfStream = c.method == "GET"
					if held := e.ask(m).GetOverrideMessageTimeout() != nil; held != c.held {
						t.Errorf("held: %t, want %t", held, c.held)
					}
					if c.version == "1.37.0" {
						e.wantHeaders("200")
						e.refuse() // whatever that was, it was no refusal
					} else {
						e.leave()
					}
					synctest.Wait()
				}
				for _, what := range []string{oldToHold, oldToUpload, unknown} {
					want := 0
					if what == c.told {
						want = 1
					}
					h.wantComplaints(want, what)
				}
			})
		})
	}
}

// The access log says which Envoy it comes from.
func TestVersionsFromAccessLog(t *testing.T) {
	inHolding(t, direct, endless, func(h *holding) {
		says := func(minor uint32) {
			ctx, cancel := context.WithCancel(h.Context())
			defer cancel()
			g, err := accesslog.NewAccessLogServiceClient(h.conn).StreamAccessLogs(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Send(&accesslog.StreamAccessLogsMessage{Identifier: &accesslog.StreamAccessLogsMessage_Identifier{
				Node: &corev3.Node{UserAgentName: "envoy", UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{
					UserAgentBuildVersion: &corev3.BuildVersion{Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: minor}},
				}},
			}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		held := func(method string) bool {
			e := h.dial(VersionKey, "")
			m := requestMessage(method, "/")
			m.GetRequestHeaders().EndOfStream = method == "GET"
			held := e.ask(m).GetOverrideMessageTimeout() != nil
			e.leave()
			synctest.Wait()
			return held
		}
		if held("POST") {
			t.Error("the body is asked for, of an Envoy that is not known")
		}
		says(40)
		if !held("POST") {
			t.Error("Envoy 1.40 is not asked for the body")
		}
		says(36)
		if held("GET") {
			t.Error("held by an Envoy that is known to be too old")
		}
	})
}

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]version{
		"1.40.0": {1, 40}, "1.40": {1, 40}, "2.0.1-dev": {2, 0},
		"": {}, "1": {}, "new": {}, "v1.40.0": {}, "1.": {}, "-1.2": {},
	} {
		if got := parseVersion(s); got != want {
			t.Errorf("%q is %v, want %v", s, got, want)
		}
	}
}
