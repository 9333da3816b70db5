package envoy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"holdfast/processor/config"
)

func withHold(t *testing.T) Options {
	t.Helper()
	o := options(t, "https://api.example")
	o.Loopback = Address{Path: "/run/holdfast/loopback.sock"}
	o.Relay = Address{Path: "/run/holdfast/relay.sock"}
	return o
}

// What comes to the loopback listener is believed, so nobody else may come there.
func TestLoopbackRefuses(t *testing.T) {
	for _, c := range []struct {
		at   Address
		says string
	}{
		{Address{Host: "0.0.0.0", Port: 1}, "could be reached from other machines"},
		{Address{Host: "10.0.0.1", Port: 1}, "use 127.0.0.1, [::1] or unix:/path"},
		{Address{Host: "example.com", Port: 1}, "is not an IP address"},
		{Address{Host: "127.0.0.1", Port: 8080}, "the same address"},
	} {
		o := withHold(t)
		o.Loopback = c.at
		if _, err := Bootstrap(o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("loopback at %s: error %v, want one that says %q", c.at, err, c.says)
		}
	}
	for _, at := range []Address{{Host: "::1", Port: 1}, {Host: "127.0.0.2", Port: 1}, {Host: "localhost", Port: 1}} {
		o := withHold(t)
		o.Loopback = at
		if _, err := Bootstrap(o); err != nil {
			t.Errorf("loopback at %s: %v", at, err)
		}
	}
}

// TestSecondPassChangesNothing: what a listener does to a request it must do on
// both, or a request that is held would arrive differently from one that is not.
func TestSecondPassChangesNothing(t *testing.T) {
	b := build(t, withHold(t))
	var public, loopback hcm.HttpConnectionManager
	for i, m := range []*hcm.HttpConnectionManager{&public, &loopback} {
		chain := b.GetStaticResources().GetListeners()[i].GetFilterChains()[0]
		if err := chain.GetFilters()[0].GetTypedConfig().UnmarshalTo(m); err != nil {
			t.Fatal(err)
		}
	}
	for name, get := range map[string]func(*hcm.HttpConnectionManager) any{
		"normalize_path":                   func(m *hcm.HttpConnectionManager) any { return m.GetNormalizePath().GetValue() },
		"merge_slashes":                    func(m *hcm.HttpConnectionManager) any { return m.GetMergeSlashes() },
		"path_with_escaped_slashes_action": func(m *hcm.HttpConnectionManager) any { return m.GetPathWithEscapedSlashesAction() },
		"server_header_transformation":     func(m *hcm.HttpConnectionManager) any { return m.GetServerHeaderTransformation() },
		"stream_idle_timeout":              func(m *hcm.HttpConnectionManager) any { return m.GetStreamIdleTimeout().AsDuration() },
	} {
		if p, l := get(&public), get(&loopback); p != l {
			t.Errorf("%s is %v on the public listener and %v on the loopback listener", name, p, l)
		}
	}

	direct := public.GetRouteConfig().GetVirtualHosts()[0].GetRoutes()[1]
	for _, back := range loopback.GetRouteConfig().GetVirtualHosts()[0].GetRoutes() {
		got := proto.CloneOf(back)
		got.Name, got.Match, got.ResponseHeadersToAdd = direct.GetName(), direct.GetMatch(), nil
		got.GetRoute().RetryPolicy = nil
		if !proto.Equal(got, direct) {
			t.Errorf("route %s leads elsewhere than the public one:\n%v\n%v", back.GetName(), got, direct)
		}
	}
}

// A request that may have been processed is repeated only if that does no harm.
func TestOnlySafeRequestsAreRepeated(t *testing.T) {
	o := withHold(t)
	all, err := loopbackRoutes(&o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, r := range all.GetVirtualHosts()[0].GetRoutes() {
		for on := range strings.SplitSeq(r.GetRoute().GetRetryPolicy().GetRetryOn(), ",") {
			got[r.GetName()+" on "+on] = true
		}
	}
	if !got[SafeRoute+" on reset"] || got[MainRoute+" on reset"] || got[MainRoute+" on 5xx"] {
		t.Errorf("repeated are %v", got)
	}
	r, err := ticketRoute(&Options{Relay: Address{Path: "/run/holdfast/relay.sock"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.GetRoute().GetRetryPolicy() != nil || r.GetRoute().GetHostRewriteSpecifier() != nil {
		t.Error("a ticket is good for one request as it is")
	}
}

// With peek the processor's mark, and nothing but that, makes Envoy ask another
// host in spite of an answer; and only where the processor has asked to see the
// tries.
func TestPeekIsRetried(t *testing.T) {
	o := withHold(t)
	o.Peek = &Peek{Patience: time.Minute}
	loopback, err := loopbackRoutes(&o)
	if err != nil {
		t.Fatal(err)
	}
	public, err := publicRoutes(&o)
	if err != nil {
		t.Fatal(err)
	}
	for listener, want := range map[string][]string{
		"public":   {TicketRoute, PeekSafeRoute, PeekRoute, MainRoute},
		"loopback": {PeekSafeRoute, PeekRoute, SafeRoute, MainRoute},
	} {
		all := loopback
		if listener == "public" {
			all = public
		}
		var got []string
		for _, r := range all.GetVirtualHosts()[0].GetRoutes() {
			got = append(got, r.GetName())
			p := r.GetRoute().GetRetryPolicy()
			peeks := r.GetName() == PeekSafeRoute || r.GetName() == PeekRoute
			if marked := len(p.GetRetriableHeaders()) == 1 && strings.HasSuffix(p.GetRetryOn(), ",retriable-headers"); marked != peeks {
				t.Errorf("%s route %s retries on %s", listener, r.GetName(), p.GetRetryOn())
			}
			if limited := p.GetPerTryTimeout().AsDuration() == time.Minute; limited != (r.GetName() == PeekSafeRoute) {
				t.Errorf("%s route %s gives a try %v", listener, r.GetName(), p.GetPerTryTimeout().AsDuration())
			}
			if r.GetRoute().GetHedgePolicy() != nil {
				t.Errorf("%s route %s hedges", listener, r.GetName())
			}
			if off := r.GetTypedPerFilterConfig()[PeekFilter] != nil; off == peeks && r.GetName() != TicketRoute {
				t.Errorf("%s route %s has the filter switched off: %v", listener, r.GetName(), off)
			}
			// What marks a request has to reach the filter before the host.
			if kept := !slices.Contains(r.GetRequestHeadersToRemove(), peekHeader); kept != (peeks || r.GetName() == TicketRoute) {
				t.Errorf("%s route %s removes %v", listener, r.GetName(), r.GetRequestHeadersToRemove())
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", listener, diff)
		}
	}
}

// Every host gets a try, within reason.
func TestTries(t *testing.T) {
	for hosts, want := range map[int]uint32{1: 3, 2: 3, 3: 3, 5: 5, 100: 10} {
		if got := tries(&Options{Upstreams: make([]Upstream, hosts)}); got != want {
			t.Errorf("%d hosts: %d tries, want %d", hosts, got, want)
		}
	}
}

// One processor of several that cannot be reached is made up for before anybody
// notices; with one there is nobody else to ask.
func TestReplicas(t *testing.T) {
	o := withHold(t)
	o.Processor = Address{Host: "holdfast.internal", Port: 9901}
	o.Relay = Address{Host: "holdfast.internal", Port: 9903}
	o.Clients = []config.KeySource{{In: config.InHeader, Name: "mcp-session-id"}, {In: config.InCookie, Name: "session"}, {In: config.InQuery, Name: "session"}}
	many := build(t, o)
	for _, c := range many.GetStaticResources().GetClusters() {
		if c.GetName() != ProcessorCluster && c.GetName() != RelayCluster {
			continue
		}
		if len(c.GetHealthChecks()) == 0 {
			t.Errorf("nobody checks the health of %s", c.GetName())
		}
		// A machine that is gone says nothing. Whoever waits for it has to be left
		// the time to ask another within the filter's message timeout.
		if limit := time.Second / 3; c.GetConnectTimeout().AsDuration() > limit {
			t.Errorf("%s waits %v for a connection, more than %v", c.GetName(), c.GetConnectTimeout().AsDuration(), limit)
		}
	}
	r, err := ticketRoute(&o)
	if err != nil {
		t.Fatal(err)
	}
	if on := r.GetRoute().GetRetryPolicy().GetRetryOn(); on != "connect-failure,refused-stream" {
		t.Errorf("the ticket's route retries on %q: what has arrived must not be sent twice", on)
	}
	hash := r.GetRoute().GetHashPolicy()
	if len(hash) != 4 || hash[0].GetHeader().GetHeaderName() != "mcp-session-id" || hash[1].GetCookie().GetName() != "session" ||
		hash[2].GetQueryParameter().GetName() != "session" || !hash[3].GetConnectionProperties().GetSourceIp() {
		t.Errorf("affinity by %v", hash)
	}
}
