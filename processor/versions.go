package processor

import (
	"context"
	"fmt"
	"net"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/peer"
)

// VersionKey is in the initial_metadata of a filter whose author knows the version
// of its Envoy, like 1.40.0.
const VersionKey = "holdfast-envoy"

// version of an Envoy. The zero value is unknown.
type version struct{ major, minor uint32 }

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

//nolint:gochecknoglobals // constants
var (
	// holdsSince is the first that knows streamed immediate responses.
	holdsSince = version{1, 37}
	// uploadsSince is the first that sends a request's body when it is asked to in
	// the middle of an exchange. Earlier ones answer the client with 500 (seen with
	// 1.36.4, 1.37.0, 1.38.3 and 1.39.3), so it has to be known beforehand.
	uploadsSince = version{1, 40}
)

func parseVersion(s string) (v version) {
	if n, err := fmt.Sscanf(s, "%d.%d", &v.major, &v.minor); n < 2 || err != nil {
		return version{}
	}
	return v
}

// versions knows those of the Envoys that deliver their access log, which say who
// they are. It has one for each address, for what is true of one Envoy need not be
// of the next. The zero value is ready for use.
type versions struct {
	mu sync.RWMutex
	at map[string]version
}

// mostEnvoys bounds what is kept. Whoever has more loses a little time.
const mostEnvoys = 10_000

func (k *versions) learn(ctx context.Context, n *corev3.Node) {
	said := n.GetUserAgentBuildVersion().GetVersion()
	v := version{said.GetMajorNumber(), said.GetMinorNumber()}
	if n.GetUserAgentName() != "envoy" || v == (version{}) {
		return
	}
	at := addressOf(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at == nil || len(k.at) >= mostEnvoys {
		k.at = make(map[string]version)
	}
	k.at[at] = v
}

func (k *versions) of(ctx context.Context) version {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.at[addressOf(ctx)]
}

// addressOf is where an Envoy is. All that come through a socket are one.
func addressOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return ""
	}
	return host
}

// envoy is the version of the Envoy that asks, if that is known.
func (x *exchange) envoy() version {
	if v := parseVersion(x.told(VersionKey)); v != (version{}) {
		return v
	}
	return x.srv.versions.of(x.g.Context())
}
