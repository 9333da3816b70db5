package envoy

import (
	"errors"
	"fmt"
	"os"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	metrics "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"holdfast/processor/config"
)

// Names of what the configuration defines; they appear in Envoy's statistics and
// access logs, and in the attributes the processor reads.
const (
	PublicListener   = "public"
	LoopbackListener = "loopback"
	UpstreamCluster  = "upstream"
	ProcessorCluster = "holdfast"
	RelayCluster     = "holdfast-relay"
	MainRoute        = "main"
	SafeRoute        = "safe" // on the loopback listener: methods that only read
	PeekSafeRoute    = "peek-safe"
	PeekRoute        = "peek"  // of these two the processor sees the tries
	TicketRoute      = "relay" // on the public listener: what the processor holds
	// MetadataNamespace is where the processor's dynamic metadata arrives.
	MetadataNamespace = "holdfast"
)

const (
	defaultHeapBytes = 2 << 30
	// unlimited stands for "no breaker": Envoy has no such value, and the defaults
	// of 1024 are reached by the 1025th event stream.
	unlimited = 1_000_000
)

// Options is what Bootstrap builds from.
type Options struct {
	Listen    Address    // where clients come; port 0 lets the kernel choose
	Upstreams []Upstream // hosts of one cluster, all of one scheme; at least one
	// UpstreamCA is the PEM file that https upstreams are checked against; "" takes
	// the system's, and SystemCA tells which that is.
	UpstreamCA string

	Processor    Address    // where the processor serves ext_proc; a name may stand for several
	ProcessorTLS *ClientTLS // nil: clear text

	// Loopback is where Envoy listens for the processor's own requests to the
	// upstreams: a loopback address or a unix socket. Unset: it does not.
	Loopback Address
	// Relay is where the processor serves the responses it holds. Unset: the
	// processor owns none by this way.
	Relay Address
	// Immediate says that responses may be injected on the ext_proc stream, where
	// Envoy has no back pressure: clients that do not read are then given up
	// sooner, and Envoy reports what they have been sent.
	Immediate bool
	// Clients are the parts of a request that tell whose it is. Where Relay stands
	// for several processors, a client's requests go to the same one.
	Clients []config.KeySource

	// Peek puts the filter before each host as well, where the processor can send
	// Envoy to another host as long as nothing of a response has gone out. nil: it
	// is not there.
	Peek *Peek

	// Version of the Envoy that is to be configured. Zero: unknown, and the processor
	// learns it from the access log.
	Version Version

	Admin     Address // Envoy's own admin interface; unset: none
	AccessLog string  // file for one JSON line per request; "": none

	// HeapBytes is the heap at which Envoy refuses new requests, and a little below
	// which it resets the streams that hold the most. Zero: 2 GiB.
	HeapBytes uint64
}

// ClientTLS is how Envoy authenticates the processor and itself.
type ClientTLS struct {
	CA         string // PEM file; "": the system's
	Cert, Key  string // PEM files of Envoy's own certificate; "": none
	ServerName string // the name in the processor's certificate; "": Processor.Host
}

// Bootstrap builds the static configuration and checks it by the rules that are
// part of Envoy's protobufs. Envoy itself checks more: see the --mode validate
// test.
func Bootstrap(o Options) (*bootstrapv3.Bootstrap, error) {
	if o.HeapBytes == 0 {
		o.HeapBytes = defaultHeapBytes
	}
	if len(o.Upstreams) == 0 {
		return nil, errors.New("no upstream; name one with --upstream http://host:port")
	}
	listeners, err := listeners(&o)
	if err != nil {
		return nil, err
	}
	clusters, err := clusters(&o)
	if err != nil {
		return nil, err
	}
	overload, err := overloadManager(o.HeapBytes)
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: "holdfast", Cluster: "holdfast"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: listeners, Clusters: clusters},
		StatsConfig:     statsConfig(),
		OverloadManager: overload,
		Admin:           admin(o.Admin),
	}
	if o.Loopback != (Address{}) {
		b.LayeredRuntime = layeredRuntime()
	}
	if err := b.ValidateAll(); err != nil {
		return nil, fmt.Errorf("the Envoy configuration is not valid: %w", err)
	}
	return b, nil
}

func listeners(o *Options) ([]*listenerv3.Listener, error) {
	public, err := publicListener(o)
	if err != nil || o.Loopback == (Address{}) {
		return []*listenerv3.Listener{public}, err
	}
	loopback, err := loopbackListener(o)
	return []*listenerv3.Listener{public, loopback}, err
}

func clusters(o *Options) ([]*clusterv3.Cluster, error) {
	up, err := upstreamCluster(o)
	if err != nil {
		return nil, err
	}
	proc, err := processorCluster(o)
	if err != nil || o.Relay == (Address{}) {
		return []*clusterv3.Cluster{up, proc}, err
	}
	relay, err := relayCluster(o)
	return []*clusterv3.Cluster{up, proc, relay}, err
}

// admin reaches no further than this user: the interface can stop Envoy and shows
// its configuration.
func admin(a Address) *bootstrapv3.Admin {
	if a == (Address{}) {
		return nil
	}
	addr := a.proto()
	if a.IsUnix() {
		addr = pipe(a.Path, 0o600)
	}
	return &bootstrapv3.Admin{Address: addr}
}

// statsConfig keeps what an operator of streams looks at. Envoy's other trees
// (per-worker watchdogs, the runtime, the file flusher) cost memory in every
// worker and are never read here.
func statsConfig() *metrics.StatsConfig {
	var keep []*matcher.StringMatcher
	for _, prefix := range []string{"cluster.", "http.", "listener.", "overload.", "server."} {
		keep = append(keep, &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: prefix}})
	}
	return &metrics.StatsConfig{StatsMatcher: &metrics.StatsMatcher{
		StatsMatcher: &metrics.StatsMatcher_InclusionList{
			InclusionList: &matcher.ListStringMatcher{Patterns: keep},
		},
	}}
}

// SystemCA finds the machine's certificate authorities: $SSL_CERT_FILE, else the
// first of the usual places. Envoy has no notion of system roots that it could be
// told to use.
func SystemCA() (string, error) {
	if f := os.Getenv("SSL_CERT_FILE"); f != "" {
		return f, nil
	}
	places := []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/ssl/cert.pem",                                 // macOS, BSD
	}
	for _, f := range places {
		if _, err := os.Stat(f); err == nil {
			return f, nil
		}
	}
	return "", errors.New("no system certificates found; install ca-certificates, or name a PEM file")
}

func anyOf(m proto.Message) (*anypb.Any, error) {
	// Any does not look inside itself when it is validated, so this is the place
	// where the rules of what it holds are asked for.
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return nil, fmt.Errorf("the Envoy configuration is not valid: %w", err)
		}
	}
	a := &anypb.Any{}
	// Deterministic: the printed configuration is compared with golden files.
	return a, anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true})
}

func seconds(n int64) *durationpb.Duration { return &durationpb.Duration{Seconds: n} }
func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }
func yes() *wrapperspb.BoolValue           { return wrapperspb.Bool(true) }
func no() *wrapperspb.BoolValue            { return wrapperspb.Bool(false) }
