// Package clients runs clients and servers that other people use through the
// built program and a real Envoy: a browser, MCP SDKs, event stream libraries and
// SDKs of language models. What they see through Holdfast has to be what they see
// without it, but for the failures that hold mode keeps from them.
//
// `make clients` installs what they need, at the versions that are locked in
// node/package-lock.json, python/requirements.txt and go.mod. It is a module of
// its own so that nobody who builds Holdfast has to download it.
package clients

import (
	"testing"

	"go.uber.org/goleak"

	"holdfast/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// way is how a client gets to a server.
type way struct {
	name   string
	policy string // of Holdfast in between; "": there is none
}

func (w way) direct() bool { return w.policy == "" }

// holds says whether failures of the server are kept from the client.
func (w way) holds() bool { return w.name == "relay" || w.name == "immediate" }

// mode is what Holdfast calls it.
func (w way) mode() string {
	if w.holds() {
		return "hold"
	}
	return w.name
}

// An origin that is back in a moment is not to be waited for.
const soon = "backoff: {base: 20ms, max: 200ms, retries: 100}"

func ways() []way {
	return []way{
		{"direct", ""},
		{"inline", "{name: default, mode: inline}"},
		{"relay", "{name: default, mode: hold, via: relay, " + soon + "}"},
		{"immediate", "{name: default, mode: hold, via: immediate, " + soon + "}"},
	}
}

// to returns the URL at which clients find the server at upstream, and Holdfast if
// it is in between.
func (w way) to(t *testing.T, upstream string) (string, *harness.Gateway) {
	t.Helper()
	if w.direct() {
		return upstream, nil
	}
	gw := harness.Run(t, upstream, "policies:\n- "+w.policy+"\n")
	return gw.URL, gw
}

// everyWay runs a test for each way.
func everyWay(t *testing.T, test func(t *testing.T, w way)) {
	t.Helper()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}
